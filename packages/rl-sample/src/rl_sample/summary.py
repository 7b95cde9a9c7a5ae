"""A batch as text: one line for each column with shape, dtype and range."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def summarize(arrays: Mapping[str, np.ndarray]) -> str:
    """One line per column, sorted by name, in the form the field knows."""
    lines = [f"{name!r}: {_describe(arrays[name])}" for name in sorted(arrays)]
    return "{" + ",\n ".join(lines) + "}"


def _describe(array: np.ndarray) -> str:
    kind = f"np.ndarray({array.shape}, dtype={array.dtype}"
    if not array.size:
        return kind + ")"
    if array.dtype.kind not in "biuf":
        return f"{kind}, head={array.flat[0]!r})"
    low, high, mean = float(array.min()), float(array.max()), float(array.mean(dtype=np.float64))
    return f"{kind}, min={round(low, 3)}, max={round(high, 3)}, mean={round(mean, 3)})"
