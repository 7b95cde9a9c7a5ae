"""Observation filters: running mean and standard deviation, gathered by delta and merged in order.

Workers compute what their fragment adds (`filter_delta`), the learner merges these deltas in
worker order, and what acting needs of the result travels in the weight snapshot
(`filter_arrays`), so a filter is constant between publications.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias

import numpy as np

from rl_sample.protocols import Arrays

Array: TypeAlias = Any
Stats: TypeAlias = dict[str, np.ndarray]

FILTERS = ("NoFilter", "MeanStdFilter")
CLIP = 10.0
"""Filtered observations stay within ±CLIP standard deviations."""
_EPSILON = 1e-8


def check_filter_name(name: str) -> str:
    """Give `name` back if there is such a filter.

    Raises:
        ValueError: there is none; the message gives the nearest.
    """
    if name not in FILTERS:
        near = get_close_matches(str(name), FILTERS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(FILTERS)}"
        raise ValueError(f"there is no observation_filter {name!r}; {hint}")
    return name


def empty_stats(shape: tuple[int, ...]) -> Stats:
    """Give the statistics of no observations of `shape`, float64."""
    return {"count": np.zeros(()), "mean": np.zeros(shape), "m2": np.zeros(shape)}


def filter_delta(encoded: np.ndarray) -> Stats:
    """Give the statistics of observations [B, …] alone: count, mean and Σ(x - mean)², float64."""
    if not len(encoded):
        return empty_stats(encoded.shape[1:])
    # Column by column: NumPy adds up along long columns several times faster than short rows.
    rows = np.array(encoded, np.float64, order="F")
    mean = rows.mean(axis=0)
    rows -= mean
    rows *= rows
    return {"count": np.asarray(float(len(rows))), "mean": mean, "m2": rows.sum(axis=0)}


def merge_stats(stats: Arrays, deltas: Sequence[Arrays]) -> Stats:
    """Add deltas to statistics, in order (Chan, Golub & LeVeque 1979); gives new arrays."""
    count, mean, m2 = (np.asarray(stats[key], np.float64) for key in ("count", "mean", "m2"))
    for delta in deltas:
        total = count + delta["count"]
        if total == 0:
            continue
        shift = delta["mean"] - mean
        share = delta["count"] / total
        m2 = m2 + delta["m2"] + np.square(shift) * (count * share)
        mean = mean + shift * share
        count = total
    return {"count": np.asarray(count), "mean": np.array(mean), "m2": np.array(m2)}


def filter_arrays(stats: Arrays) -> Stats:
    """Give what `apply_filter` takes, float32: the mean and 1 / standard deviation.

    Of fewer than two observations nothing is known of the spread: it counts as 1.
    """
    count = float(stats["count"])
    mean = np.asarray(stats["mean"])
    variance = stats["m2"] / (count - 1) if count > 1 else np.ones_like(mean)
    inv_std = 1 / np.sqrt(variance + _EPSILON)
    return {"mean": mean.astype(np.float32), "inv_std": inv_std.astype(np.float32)}


def apply_filter(xp: Any, x: Array, mean: Array, inv_std: Array) -> Array:
    """Compute (x - mean) · inv_std within ±CLIP, [B, …] float32.

    Without `xp.clip`: this runs once per environment step, where each Python frame counts.
    """
    return xp.minimum(xp.maximum((x - mean) * inv_std, -CLIP), CLIP)
