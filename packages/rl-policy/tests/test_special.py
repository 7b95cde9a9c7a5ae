"""log Γ and its derivative against SciPy, over the whole range of both float types."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import special

from rl_policy.xp import load_namespace

TRACED = True

REFERENCE = {"lgamma": special.gammaln, "digamma": special.digamma}


def points(dtype):
    """Numbers above 0 of all sizes, and many around 1 and 2, where log Γ is 0."""
    top = 36 if dtype == "float32" else 300
    return np.concatenate(
        [np.logspace(-top, top, 2000), np.linspace(0.01, 30, 3000), 1 + np.logspace(-7, 0, 50)]
    ).astype(dtype)


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize(("dtype", "error"), [("float32", 4e-6), ("float64", 2e-14)])
def test_against_scipy(lib, name, dtype, error):
    x = points(dtype)
    found = lib.plain(getattr(lib.xp, name)(lib.array(x)))
    assert found.dtype == dtype
    expected = REFERENCE[name](x.astype(np.float64))
    assert_allclose(found, expected, rtol=error, atol=error)


@given(st.floats(1e-300, 1e300))
def test_of_numpy_in_float64_and_below(x):
    xp = load_namespace("numpy")
    for name, reference in REFERENCE.items():
        function, wide = getattr(xp, name), np.array([[x]])
        assert_allclose(function(wide), reference(wide), rtol=1e-14, atol=1e-14)
        narrow = np.float32([np.clip(x, 1e-36, 1e36)])
        expected = reference(narrow.astype(np.float64))
        assert_allclose(function(narrow), expected, rtol=1.2e-7, atol=1e-14)


def test_by_hand():
    xp = load_namespace("numpy")
    assert_allclose(xp.lgamma(np.array([1.0, 2.0, 5.0])), np.log([1, 1, 24]), atol=1e-14)
    euler = 0.5772156649015329
    assert_allclose(xp.digamma(np.array([1.0, 2.0])), [-euler, 1 - euler], rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_digamma_and_trigamma(autograd, dtype):
    x = np.linspace(0.05, 60, 500).astype(dtype)
    for name, order in (("lgamma", 0), ("digamma", 1)):
        (slope,) = autograd.grads(getattr(autograd.module, name), autograd.array(x))
        expected = special.polygamma(order, x.astype(np.float64))
        error = 2e-5 if dtype == "float32" else 1e-9
        assert_allclose(slope, expected, rtol=error, atol=error)
