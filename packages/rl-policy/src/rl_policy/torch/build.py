"""What `rl_policy.build` asks of torch: the models' base, their seed, the catalogue's nets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rl_policy.layout import NetLayout
from rl_policy.torch.model import FeedForward, Recurrent, TorchModel

MODEL = TorchModel


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw a model's first weights from `seed`; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def make_catalogue_model(
    observation_space: Any, action_space: Any, layout: NetLayout, base: TorchModel | None = None
) -> TorchModel:
    """The network of `layout`, its weights zero; over a custom `base` whose outputs are features.

    A `base` keeps its weights, under the name `base`.
    """
    if layout.config.cell is not None:
        return Recurrent(observation_space, action_space, layout, "catalogue", base)
    return FeedForward(observation_space, action_space, layout, "catalogue")
