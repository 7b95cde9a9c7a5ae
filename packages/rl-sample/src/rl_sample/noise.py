"""Noise as data: random numbers that are a pure function of a key and a row counter.

The same (seed, worker, env, agent, row) gives the same numbers whatever the batch size, the
backend or the process, and after a restart. The generator is SplitMix64 (Steele, Lea and Flood,
2014: "Fast splittable pseudorandom number generators"), one stream for each key, name and element.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rl_sample.protocols import NoiseSpec

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_GAMMA_64 = np.uint64(_GAMMA)
_MUL_1, _MUL_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


def _mix(bits: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, in place on a uint64 array of at least one dimension."""
    bits ^= bits >> _30
    bits *= _MUL_1
    bits ^= bits >> _27
    bits *= _MUL_2
    bits ^= bits >> _31
    return bits


def _text_bits(text: str) -> int:
    """64 bits of a text: FNV-1a."""
    bits = 0xCBF29CE484222325
    for byte in text.encode():
        bits = ((bits ^ byte) * 0x100000001B3) & _MASK
    return bits


def noise_keys(seed: int, worker: int, env: Any, agent: Any = 0) -> np.ndarray:
    """Key of each slot's noise.

    Args:
        seed: the run's seed, an integer (taken modulo 2^64).
        worker: index of the worker.
        env: [S] integers, index of each slot's sub-environment (when serving: the episode id).
        agent: [S] integers or one, index of each slot's agent in its environment.

    Returns:
        [S] uint64.
    """
    envs, agents = np.broadcast_arrays(np.atleast_1d(env), np.atleast_1d(agent))
    keys = np.full(envs.shape, seed & _MASK, np.uint64)
    for part in (np.full(envs.shape, worker & _MASK, np.uint64), envs, agents):
        keys = _mix(_mix(keys + _GAMMA_64) ^ part.astype(np.uint64))
    return keys


def draw_noise(
    spec: NoiseSpec, keys: np.ndarray, counters: np.ndarray, length: int
) -> dict[str, np.ndarray]:
    """Noise of `length` consecutive rows of each slot.

    Row t of slot s uses the counter `counters[s] + t`, so that a block of 10 rows equals two
    blocks of 5. Uniforms are (k + 1/2) / 2^23, hence exact in float32 and never 0 or 1; normals
    are made from 64 bits by the transform of Box and Muller (|z| < 7.6).

    Args:
        spec: {name: ("uniform" | "normal", shape)}.
        keys: [S] uint64, from `noise_keys`.
        counters: [S] integers >= 0, each slot's row count.
        length: rows to draw.

    Returns:
        {name: [S, length, *shape] float32}.

    Raises:
        ValueError: a kind that is neither "uniform" nor "normal".
    """
    counters = np.asarray(counters).astype(np.uint64)
    steps = (counters[:, None] + np.arange(1, length + 1, dtype=np.uint64)) * _GAMMA_64
    drawn = {}
    for name, (kind, shape) in spec.items():
        if kind not in _TRANSFORMS:
            raise ValueError(
                f"noise {name!r} is of the kind {kind!r}: the kinds are 'uniform' and 'normal'"
            )
        size = math.prod(shape)
        elements = _mix(np.arange(size, dtype=np.uint64) * _GAMMA_64 + np.uint64(_text_bits(name)))
        streams = _mix(np.asarray(keys, np.uint64)[:, None] ^ elements)
        bits = _mix(streams[:, None, :] + steps[:, :, None])
        drawn[name] = _TRANSFORMS[kind](bits).reshape(len(keys), length, *shape)
    return drawn


def _uniform(bits: np.ndarray) -> np.ndarray:
    values: np.ndarray = (bits >> np.uint64(41)).astype(np.float32)
    values += np.float32(0.5)
    values *= np.float32(2.0**-23)
    return values


def _normal(bits: np.ndarray) -> np.ndarray:
    radius: np.ndarray = (bits >> np.uint64(24)).astype(np.float64)
    radius += 0.5
    radius *= 2.0**-40
    np.log(radius, out=radius)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    angle = (bits & np.uint64((1 << 24) - 1)).astype(np.float64)
    angle *= 2.0 * math.pi * 2.0**-24
    np.cos(angle, out=angle)
    radius *= angle
    return radius.astype(np.float32)


_TRANSFORMS = {"uniform": _uniform, "normal": _normal}
