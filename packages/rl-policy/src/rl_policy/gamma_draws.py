"""Gamma variates as a pure function of a fixed number of normals, the same on every backend."""

from __future__ import annotations

from typing import Any, TypeAlias

Array: TypeAlias = Any

_PROPOSALS = 6
GAMMA_NOISE = 3 * _PROPOSALS + 2
"""Normals that one variate takes."""


def log_gamma_draw(xp: Any, concentration: Array, noise: Array) -> Array:
    """Map normals to logarithms of variates from Gamma(concentration, 1).

    Marsaglia & Tsang (2000): v = (1 + c z)³ with d = α - 1/3, c = 1 / √(9 d) makes d v a variate
    where log u < z²/2 + d (1 - v + log v); the first of six proposals that is accepted counts. For
    α < 1 it is a variate for α + 1 times u^(1/α). The uniforms u are made of two more normals,
    -log u = (z₁² + z₂²) / 2. That all proposals fail has a probability below 1.3e-8 (at α = 1;
    4e-11 at 2): the variate is then d, where the density of v has its peak.

    Args:
        xp: the arrays' namespace.
        concentration: [..., N] above 0, float64.
        noise: [..., N, GAMMA_NOISE] standard normals, float64.

    Returns:
        [..., N] float64.
    """
    normals = noise[..., : 3 * _PROPOSALS]
    z, first, second = xp.split(normals, [_PROPOSALS] * 3, axis=-1)
    small = concentration < 1.0
    d = xp.where(small, concentration + 1.0, concentration) - 1.0 / 3.0
    wide = d[..., None]
    base = 1.0 + z / xp.sqrt(9.0 * wide)
    log_v = 3.0 * xp.log(xp.where(base > 0.0, base, 1.0))
    bound = 0.5 * z * z + wide * (1.0 - xp.exp(log_v) + log_v)
    accepted = (base > 0.0) & (-0.5 * (first * first + second * second) < bound)
    index = xp.argmax(accepted, axis=-1)[..., None]
    picked = xp.take_along_axis(log_v, index, axis=-1)[..., 0]
    log_v = xp.where(xp.sum(accepted, axis=-1) > 0, picked, 0.0)
    boost = -0.5 * xp.sum(xp.square(noise[..., 3 * _PROPOSALS :]), axis=-1) / concentration
    return xp.log(d) + log_v + xp.where(small, boost, 0.0)
