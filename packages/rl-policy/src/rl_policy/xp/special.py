"""The log gamma function and its derivative, which NumPy lacks: Stirling's series after a shift."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any

_SHIFT = 10
"""From here on the series below are exact to rounding in float64."""
_LGAMMA = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
_DIGAMMA = (-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760)


def lgamma(x: Array) -> Array:
    """Compute log Γ(x) for x > 0, in float64, given in the dtype of `x`.

    log Γ(x) = log Γ(x + n) - log x(x + 1)…(x + n - 1), with Stirling's series at x + n ≥ 10
    (Abramowitz & Stegun 6.1.41). The error is below 1e-14, absolute or relative.
    """
    small, high, near = _shifted(x)
    product = np.prod(near, axis=0)
    series = (high - 0.5) * np.log(high) - high + 0.5 * math.log(2 * math.pi)
    series = series + _series(_LGAMMA, 1 / high) / high
    return (series - np.where(small, np.log(product), 0.0)).astype(x.dtype)


def digamma(x: Array) -> Array:
    """Compute d log Γ(x) / dx for x > 0, in float64, given in the dtype of `x`.

    ψ(x) = ψ(x + n) - Σ 1 / (x + k), with the asymptotic series at x + n ≥ 10 (Abramowitz &
    Stegun 6.3.18). The error is below 1e-14, absolute or relative.
    """
    small, high, near = _shifted(x)
    series = np.log(high) - 0.5 / high + _series(_DIGAMMA, 1 / high) / high / high
    return (series - np.where(small, np.sum(1 / near, axis=0), 0.0)).astype(x.dtype)


def _shifted(x: Array) -> tuple[Array, Array, Array]:
    """Give where `x` is small, `x` moved up there, and the numbers it passed on the way."""
    wide = np.asarray(x, np.float64)
    small = wide < _SHIFT
    near = np.where(small, wide, 1.0) + np.arange(_SHIFT).reshape(-1, *[1] * wide.ndim)
    return small, np.where(small, wide + _SHIFT, wide), near


def _series(coefficients: tuple[float, ...], inverse: Array) -> Array:
    """Compute c₀ + c₁ / x² + c₂ / x⁴ + … by Horner's rule, of 1 / x, whose square may be 0."""
    total = 0.0
    for coefficient in reversed(coefficients):
        total = total * inverse * inverse + coefficient
    return total
