"""Gaussian distributions, plain and squashed: numbers by hand, integrals and derivatives."""

from __future__ import annotations

import math
from importlib import import_module
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy.bounded_dists import LOG_STD_RANGE, SquashedGaussian
from rl_policy.distributions import DiagGaussian


def normals(count):
    return np.array([NormalDist().inv_cdf(u) for u in (np.arange(count) + 0.5) / count])


def test_diag_gaussian_by_hand(lib):
    array, plain = lib.array, lib.plain
    dist = DiagGaussian(array(np.float32([[1, -1, 0, math.log(2)]])))
    standard = DiagGaussian(array(np.zeros((1, 4), np.float32)))
    noise = array(np.float32([[0.5, -1]]))
    assert_allclose(plain(dist.sample(noise)), [[1.5, -3]], rtol=1e-6)
    assert_allclose(plain(dist.deterministic_sample()), [[1, -1]])
    expected = -0.5 * (0.25 + 1) - math.log(2) - math.log(2 * math.pi)
    assert_allclose(plain(dist.logp(array(np.float32([[1.5, -3]])))), [expected], rtol=1e-6)
    assert_allclose(
        plain(dist.entropy()), [math.log(2 * math.pi * math.e) + math.log(2)], rtol=1e-6
    )
    # KL(N(m, s) || N(0, 1)) = (s² + m² - 1) / 2 - log s: 1/2 and 2 - log 2
    assert_allclose(plain(dist.kl(standard)), [2.5 - math.log(2)], rtol=1e-6)


@given(
    arrays(np.float64, (1, 2), elements=st.floats(-2, 2)),
    arrays(np.float64, (1, 2), elements=st.floats(-2, 2)),
)
@settings(max_examples=30, deadline=None)
def test_diag_gaussian_against_integrals(inputs, other_inputs):
    dist, other = DiagGaussian(inputs), DiagGaussian(other_inputs)
    mean, std = inputs[0, 0], math.exp(inputs[0, 1])
    x = np.linspace(mean - 10 * std, mean + 10 * std, 20001)[:, None]
    logp, logq = dist.logp(x), other.logp(x)
    step = x[1, 0] - x[0, 0]
    assert_allclose(np.exp(logp).sum() * step, 1, rtol=1e-6)
    assert_allclose(dist.entropy(), -(np.exp(logp) * logp).sum() * step, rtol=1e-5, atol=1e-6)
    assert_allclose(
        dist.kl(other), (np.exp(logp) * (logp - logq)).sum() * step, atol=1e-5, rtol=1e-5
    )


def test_gaussian_samples_have_its_moments():
    inputs = np.repeat([[0.3, math.log(0.7)]], 4000, axis=0)
    actions = DiagGaussian(inputs).sample(normals(4000)[:, None])
    assert_allclose([actions.mean(), actions.std()], [0.3, 0.7], rtol=1e-3)
    squashed = SquashedGaussian(inputs).sample(normals(4000)[:, None])
    assert_allclose(np.arctanh(squashed), actions, rtol=1e-9)


@pytest.mark.parametrize("kind", [DiagGaussian, SquashedGaussian])
@pytest.mark.parametrize("shape", [(), (6,), (2, 3)])
def test_gaussians_of_any_shape(lib, kind, shape):
    array, plain = lib.array, lib.plain
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(5, 2 * math.prod(shape))).astype(np.float32)
    noise = rng.normal(size=(5, *shape)).astype(np.float32)
    dist, flat = kind(array(inputs), shape=shape), kind(array(inputs))
    actions = dist.sample(array(noise))
    assert plain(actions).shape == plain(dist.deterministic_sample()).shape == (5, *shape)
    same = flat.sample(array(noise.reshape(5, -1)))
    assert_array_equal(plain(actions).reshape(5, -1), plain(same))
    assert_allclose(plain(dist.logp(actions)), plain(flat.logp(same)))
    assert plain(dist.entropy()).shape == (5,)


# SquashedGaussian


@given(st.floats(-1.5, 1.5), st.floats(-3, 0.5), st.floats(-0.999, 0.999))
@settings(max_examples=100, deadline=None)
def test_squashed_density_is_the_normal_one_over_the_slope_of_tanh(mean, log_std, action):
    inputs = np.array([[mean, log_std]])
    before, step = math.atanh(action), 1e-5
    slope = (math.tanh(before + step) - math.tanh(before - step)) / (2 * step)
    expected = DiagGaussian(inputs).logp(np.array([[before]])) - math.log(slope)
    got = SquashedGaussian(inputs).logp(np.array([[action]]))
    assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@given(st.floats(-3, 3), st.floats(-5, 1), st.floats(-4, 4))
@settings(max_examples=100, deadline=None)
def test_squashed_sample_with_logp_is_exact_far_out(mean, log_std, noise):
    inputs, z = np.array([[mean, log_std]]), np.array([[noise]])
    actions, logp = SquashedGaussian(inputs).sample_with_logp(z)
    before = mean + math.exp(log_std) * noise
    log_slope = -2 * math.log(math.cosh(before))
    expected = -0.5 * (noise**2 + math.log(2 * math.pi)) - log_std - log_slope
    assert_allclose(actions, [[math.tanh(before)]])
    assert_allclose(logp, [expected], rtol=1e-9, atol=1e-9)


def test_squashed_logp_is_finite_at_the_ends(lib):
    array, plain = lib.array, lib.plain
    dist = SquashedGaussian(array(np.float32([[0, 0], [50, -30], [-50, 30]])))
    for end in (-1.0, 1.0):
        assert np.isfinite(plain(dist.logp(array(np.full((3, 1), end, np.float32))))).all()


def test_squashed_keeps_log_std_in_range(lib):
    array, plain = lib.array, lib.plain
    dist = SquashedGaussian(array(np.float32([[0, -30], [0, 30]])))
    assert_allclose(plain(dist.normal.log_std)[:, 0], LOG_STD_RANGE)


@pytest.mark.parametrize(("std", "error"), [(0.5, 1e-6), (1.0, 1e-6), (2.0, 2e-4), (7.0, 0.1)])
def test_squashed_entropy_against_integral(std, error):
    for mean in (0.0, 0.5, 3.0):
        dist = SquashedGaussian(np.array([[mean, math.log(std)]]))
        z = np.linspace(-12, 12, 200_001)
        _, logp = SquashedGaussian(np.repeat([[mean, math.log(std)]], len(z), 0)).sample_with_logp(
            z[:, None]
        )
        weight = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
        assert_allclose(dist.entropy(), [-(weight * logp).sum()], atol=error)


def test_squashed_kl_is_that_of_the_normals(lib):
    array, plain = lib.array, lib.plain
    inputs = [np.random.default_rng(i).normal(size=(4, 6)).astype(np.float32) for i in (0, 1)]
    squashed = [SquashedGaussian(array(x)) for x in inputs]
    gaussian = [DiagGaussian(array(x)) for x in inputs]
    assert_allclose(plain(squashed[0].kl(squashed[1])), plain(gaussian[0].kl(gaussian[1])))


@pytest.mark.torch
def test_samples_and_log_densities_are_differentiable():
    torch = import_module("torch")
    inputs = torch.tensor([[0.2, -0.5]], requires_grad=True)
    actions, logp = SquashedGaussian(inputs).sample_with_logp(torch.tensor([[0.7]]))
    (actions.sum() + logp.sum()).backward()
    assert torch.isfinite(inputs.grad).all()
    assert (inputs.grad != 0).all()
