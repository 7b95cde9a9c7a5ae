"""How well a value net foresaw the returns that came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rl_sample.protocols import Learned


def explain_values(item: tuple[Any, Mapping[str, Learned]]) -> Any:
    """Adds `vf_explained_var`: the part of the targets' variance that the values foresaw.

    1 is perfect, 0 no better than a constant; of the values before the update.
    """
    batches = item[0].as_multi_agent().policy_batches
    for policy_id, learned in item[1].items():
        rows = batches[policy_id]
        if "value_targets" in rows:
            missed = np.var(rows["value_targets"] - rows["vf_preds"])
            spread = max(np.var(rows["value_targets"]), 1e-8)
            learned.stats["vf_explained_var"] = float(1 - missed / spread)
    return item
