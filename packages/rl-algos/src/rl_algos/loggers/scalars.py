"""What of a result can be written down: as JSON, as columns, as curves in tidy groups."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

LISTS = ("hist_stats", "config")
"""Parts of a result that hold no figures of their own."""
REPEATED = ("counters", "num_env_steps_sampled", "num_agent_steps_sampled")
"""Parts that other keys say as well."""


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON of anything: NaN and infinities are null, foreign objects their name or repr."""
    try:
        return json.dumps(value, allow_nan=False, indent=indent)
    except (TypeError, ValueError):
        return json.dumps(jsonable(value), allow_nan=False, indent=indent)


def jsonable(value: Any) -> Any:
    """The same in dicts with str keys, lists, finite numbers, strings, booleans and None."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Real):
        number = int(value) if isinstance(value, Integral) else float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): jsonable(inner) for key, inner in value.items()}
    if hasattr(value, "_asdict"):  # a NamedTuple, such as PolicySpec
        return jsonable(value._asdict())
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(inner) for inner in value]
    qualname = getattr(value, "__qualname__", None)
    return repr(value) if qualname is None else f"{value.__module__}:{qualname}"


def flatten(result: Mapping[str, Any]) -> dict[str, float]:
    """Its finite numbers, `{"info/learner/default_policy/learner_stats/kl": 0.01, …}`."""
    return dict(_numbers(result, "", LISTS))


def curves(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers worth a curve, once each, in groups: `{"learner/kl": 0.01, …}`.

    Groups are `episode`, `steps`, `time`, `timers`, `learner` (`learner/<policy>` where there are
    several policies), `policy_reward_mean`, `custom_metrics`, `evaluation`, and one for every other
    part of a result that is a dict.
    """
    found: dict[str, float] = {}
    for key, value in result.items():
        if key == "info":
            found.update(_learner(value.get("learner", {})))
        elif key not in REPEATED and not (key[:4] == "num_" and key[-10:] == "_this_iter"):
            group = f"{key}/" if isinstance(value, Mapping) else f"{_group(key)}/"
            part = value if isinstance(value, Mapping) else {key: value}
            found.update(_numbers(part, group, LISTS))
    if result.get("time_this_iter_s") and "num_env_steps_sampled_this_iter" in result:
        rate = result["num_env_steps_sampled_this_iter"] / result["time_this_iter_s"]
        found["time/env_steps_per_s"] = rate
    return found


def _group(key: str) -> str:
    """The group of a figure that stands alone."""
    if key.startswith("episode"):
        return "episode"
    if key.startswith("time_"):
        return "time"
    return "steps" if "steps" in key else "training"


def _learner(policies: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for policy_id, learned in policies.items():
        group = "learner/" if len(policies) == 1 else f"learner/{policy_id}/"
        yield from _numbers(learned.get("learner_stats", {}), group)


def _numbers(
    tree: Mapping[Any, Any], prefix: str, skipped: tuple[str, ...] = ()
) -> Iterator[tuple[str, float]]:
    """(path, number) of each finite number, in order; strings and lists are passed over."""
    for key, value in tree.items():
        if type(value) is float or type(value) is int:  # nearly all; the ABCs below are slow
            if math.isfinite(value):
                yield f"{prefix}{key}", value
        elif isinstance(value, Mapping):
            if key not in skipped:
                yield from _numbers(value, f"{prefix}{key}/", skipped)
        elif isinstance(value, Real) and math.isfinite(value):
            number = int(value) if isinstance(value, Integral) else float(value)
            yield f"{prefix}{key}", number
