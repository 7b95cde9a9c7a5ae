"""When a run ends: goals that it is for, and budgets that it has."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

BUDGETS = (
    "timesteps_total",
    "agent_timesteps_total",
    "training_iteration",
    "time_total_s",
    "episodes_total",
)
"""Stop keys that end a run without being what it is for; all others are goals."""
DEFAULT_STOP = {"timesteps_total": 100_000}
LATER = ("episode_reward_mean", "episode_reward_min", "episode_reward_max")
"""Figures that a result has only once an episode has finished."""


def checked_stop(stop: Mapping[str, Any]) -> dict[str, float]:
    """Stop criteria, each of them a number.

    Raises:
        ValueError: one of them is none.
    """
    for key, target in stop.items():
        if not isinstance(target, Real) or isinstance(target, bool):
            raise ValueError(f"stop: {key!r} is a number to reach, not {target!r}")
    return dict(stop)


def check_keys(stop: Mapping[str, float], result: Mapping[str, Any], evaluates: bool) -> None:
    """Raise ValueError where `stop` names what no result has.

    Args:
        stop: the criteria.
        result: the run's first result.
        evaluates: later results hold figures of an evaluation.
    """
    known = list(dict.fromkeys([*_numbers(result), *LATER]))
    if evaluates:
        known += [f"evaluation/{key}" for key in (*LATER, "episode_len_mean")]
    for key in stop:
        if key not in known and not key.startswith("custom_metrics/"):
            near = difflib.get_close_matches(key, known, n=2)
            plain = [name for name in known if "/" not in name]
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"keys: {plain}"
            if key.startswith("evaluation/") and not evaluates:
                hint = "nothing is evaluated: set evaluation_interval"
            raise ValueError(f"stop key {key!r} is not in a result; {hint}")


def met(result: Mapping[str, Any], stop: Mapping[str, float]) -> list[str]:
    """The keys of `stop` whose value a result has reached."""
    return [key for key, target in stop.items() if value_of(result, key) >= target]


def goals(stop: Mapping[str, float]) -> list[str]:
    """The keys of `stop` that are no budget."""
    return [key for key in stop if key not in BUDGETS]


def reached(result: Mapping[str, Any], stop: Mapping[str, float]) -> bool:
    """Whether a goal was reached, or there was none."""
    wanted = goals(stop)
    return not wanted or any(key in wanted for key in met(result, stop))


def value_of(result: Mapping[str, Any], key: str) -> float:
    """`result[key]`, where `a/b` is `result["a"]["b"]`; −∞ where it is absent.

    A return is absent before the first episode has finished.
    """
    value: Any = result
    for part in (key,) if key in result else key.split("/"):
        value = value.get(part) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, Real) else float("-inf")


def in_words(stop: Mapping[str, float]) -> str:
    """`episode_reward_mean 475 or timesteps_total 100,000`."""
    return " or ".join(f"{key} {value:,}" for key, value in stop.items())


def _numbers(result: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The names of all numbers in a result, `info/learner/…` for nested ones."""
    for key, value in result.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, Real):
            yield f"{prefix}{key}"
