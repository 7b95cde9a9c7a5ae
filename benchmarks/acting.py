"""What the contenders of acting_latency.py share: spaces, observations and the clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

SPACES = Box(-1.0, 1.0, (4,)), Discrete(2)
"""CartPole's kind of observation and action."""
_BLOCK = 10


def observations(batch: int) -> np.ndarray:
    """[batch, 4] float32."""
    return np.random.default_rng(batch).uniform(-1.0, 1.0, (batch, 4)).astype(np.float32)


def measure_calls(call: Callable[[], Any], seconds: float) -> dict[str, float]:
    """Microseconds of one call: the median over blocks of calls, so that interruptions drop out."""
    for _ in range(_BLOCK):  # graphs are traced, caches fill
        call()
    blocks, end = [], time.perf_counter() + seconds
    while not blocks or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(_BLOCK):
            call()
        blocks.append((time.perf_counter() - start) / _BLOCK)
    return {"us": 1e6 * statistics.median(blocks)}
