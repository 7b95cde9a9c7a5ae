"""Log probabilities, entropies and divergences against SciPy and against torch.distributions."""

from __future__ import annotations

import math
from functools import partial
from importlib import import_module

import numpy as np
import pytest
from dist_cases import DISTS, NESTED, SCIPY, SIMPLE, draw_noise, torch_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from scipy.special import expit

from rl_policy.simplex_dists import GumbelSoftmax

ROWS = 3


@st.composite
def two_inputs(draw, name):
    """Inputs of two distributions of one kind, float64, in a range where none is degenerate."""
    low, high = {"Dirichlet": (-2.0, 3.0), "SquashedGaussian": (-4.0, 0.69)}.get(name, (-4.0, 2.0))
    shape = (ROWS, DISTS[name].input_size)
    return tuple(draw(arrays(np.float64, shape, elements=st.floats(low, high))) for _ in range(2))


def actions_of(name, inputs, seed):
    """Actions that it samples, off the outermost numbers, where rounding hides them."""
    actions = DISTS[name](inputs.astype(np.float32)).sample(draw_noise(DISTS[name], ROWS, seed))
    if name in ("SquashedGaussian", "Beta"):
        return np.clip(actions.astype(float), -0.999, 0.999)
    return np.maximum(actions, 1e-6) if name in ("Dirichlet", "GumbelSoftmax") else actions


@pytest.mark.parametrize("name", SIMPLE)
@given(st.data())
@settings(max_examples=25)
def test_against_scipy(name, data):
    inputs, others = data.draw(two_inputs(name))
    dist, other = DISTS[name](inputs), DISTS[name](others)
    logp, entropy, kl = SCIPY[name]
    if logp is not None:
        actions = actions_of(name, inputs, data.draw(st.integers(0, 1000)))
        error = 1e-4 if name == "Dirichlet" else 1e-9  # SciPy's shares had to be normalised
        assert_allclose(dist.logp(actions), logp(inputs, actions), rtol=error, atol=error)
    # The entropy of three squashed Gaussians is a quadrature, good to 2e-4 each up to e^0.69.
    error = 6e-4 if name == "SquashedGaussian" else 1e-8
    assert_allclose(dist.entropy(), entropy(inputs), rtol=error, atol=error)
    assert_allclose(dist.kl(other), kl(inputs, others), rtol=1e-7, atol=1e-9)
    assert (dist.kl(other) >= -1e-12).all()
    assert_allclose(dist.kl(dist), 0, atol=1e-12)


@pytest.mark.torch
@pytest.mark.parametrize("name", SIMPLE)
@given(st.data())
@settings(max_examples=25)
def test_against_torch_distributions(name, data):
    torch = import_module("torch")
    inputs, others = map(torch.from_numpy, data.draw(two_inputs(name)))
    actions = actions_of(name, inputs.numpy(), data.draw(st.integers(0, 1000)))
    actions = torch.from_numpy(actions)
    dist, other = DISTS[name](inputs), DISTS[name](others)
    reference, further = torch_reference(name, inputs), torch_reference(name, others)
    kl_divergence = import_module("torch.distributions").kl_divergence
    if isinstance(reference, list):
        each = [r.log_prob(a) for r, a in zip(reference, actions.unbind(-1), strict=True)]
        assert_allclose(dist.logp(actions), sum(each), rtol=1e-9)
        assert_allclose(dist.entropy(), sum(r.entropy() for r in reference), rtol=1e-9)
        kl = sum(kl_divergence(r, f) for r, f in zip(reference, further, strict=True))
        assert_allclose(dist.kl(other), kl, rtol=1e-7, atol=1e-12)
        return
    wide = actions if name in ("coin", "Categorical") else actions.double()
    if name == "Beta":  # the library's is on (0, 1)
        expected = reference.log_prob((1 + wide) / 2) - 3 * math.log(2)
        assert_allclose(dist.entropy(), reference.entropy() + 3 * math.log(2), rtol=1e-8)
    elif name in ("Dirichlet", "GumbelSoftmax"):  # checks that shares add up to 1 in float64
        wide = wide / wide.sum(-1, keepdim=True)
        dist_of_same = dist.logp(wide)
        assert_allclose(dist_of_same, reference.log_prob(wide), rtol=1e-8, atol=1e-8)
        expected = dist.logp(actions)
    else:
        expected = reference.log_prob(wide)
    assert_allclose(dist.logp(actions), expected, rtol=1e-8, atol=1e-8)
    if name not in ("SquashedGaussian", "Beta", "GumbelSoftmax"):
        assert_allclose(dist.entropy(), reference.entropy(), rtol=1e-8, atol=1e-9)
    if name not in ("SquashedGaussian", "GumbelSoftmax"):
        kl = kl_divergence(reference, further)
        assert_allclose(dist.kl(other), kl, rtol=1e-7, atol=1e-9)


@given(st.floats(-2, 2), st.floats(0.4, 3))
@settings(max_examples=20)
def test_the_density_of_relaxed_one_hots_integrates_to_one(logit, temperature):
    logits = np.array([[logit, 0.0]])
    make = partial(GumbelSoftmax, temperature=temperature)

    t = np.linspace(-60, 60, 4001)  # in the logit of the first entry
    y, rest = expit(t), expit(-t)
    logp = make(np.repeat(logits, len(t), axis=0)).logp(np.stack([y, rest], axis=-1))
    assert (np.exp(logp) * y * rest).sum() * (t[1] - t[0]) == pytest.approx(1, abs=1e-6)


def test_a_composite_is_the_sum_of_its_leaves():
    rng = np.random.default_rng(0)
    inputs, others = rng.normal(size=(2, ROWS, DISTS["Composite"].input_size))
    dist, other = DISTS["Composite"](inputs), DISTS["Composite"](others)
    actions = dist.sample(draw_noise(DISTS["Composite"], ROWS))
    assert list(NESTED.spaces) == list(actions) == ["do", "go"]
    choice, bits, gauss = np.split(inputs, [3, 5], axis=-1)
    choice_, bits_, gauss_ = np.split(others, [3, 5], axis=-1)
    leaves = [
        ("Categorical", choice, choice_, actions["do"][0]),
        ("Bernoulli", bits, bits_, actions["do"][1]),
        ("DiagGaussian", gauss, gauss_, actions["go"]),
    ]
    assert_allclose(dist.logp(actions), sum(SCIPY[n][0](x, a) for n, x, _, a in leaves))
    assert_allclose(dist.entropy(), sum(SCIPY[n][1](x) for n, x, _, _ in leaves))
    assert_allclose(dist.kl(other), sum(SCIPY[n][2](x, y) for n, x, y, _ in leaves))
