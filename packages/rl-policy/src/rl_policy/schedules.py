"""Coefficients that change with the environment steps trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

Schedule = Callable[[int], Any]
"""From lifetime env steps to a number."""


def piecewise_linear(name: str, points: Any) -> Schedule:
    """A function of lifetime env steps that joins `points` by straight lines.

    Args:
        name: config key, for the error.
        points: `[[env step, value], …]` with rising steps; constant before the first and after
            the last.

    Raises:
        ValueError: `points` is no such list.
    """
    try:
        steps = [float(step) for step, _ in points]
        values = [float(value) for _, value in points]
    except (TypeError, ValueError):
        steps = values = []
    if not steps or any(a >= b for a, b in pairwise(steps)):
        raise ValueError(
            f"{name} must be a list of [env step, value] with rising steps, such as "
            f"[[0, 0.001], [100000, 0.0]]; got {points!r}"
        )
    return partial(np.interp, xp=steps, fp=values)


def coefficient_schedules(config: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Schedule]:
    """The schedules that `config` gives as `<name>_schedule`."""
    return {
        name: piecewise_linear(key, config[key])
        for name in names
        if config.get(key := f"{name}_schedule") is not None
    }
