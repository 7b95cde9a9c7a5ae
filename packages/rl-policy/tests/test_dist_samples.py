"""Samples against the distributions they are drawn from: Kolmogorov-Smirnov and χ², fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest
from dist_cases import DISTS, draw_noise
from numpy.testing import assert_allclose
from scipy import special, stats

from rl_policy.gamma_draws import GAMMA_NOISE, log_gamma_draw
from rl_policy.simplex_dists import SMALLEST_SHARE
from rl_policy.xp import numpy_xp

ROWS = 20_000
LEAST = 1e-3
"""The p-value that tests with a fixed seed have to reach."""


def rows_of(name, inputs, seed=0):
    """`ROWS` samples of one row of inputs, and their distribution."""
    dist = DISTS[name](np.repeat(np.float32([inputs]), ROWS, axis=0))
    return dist.sample(draw_noise(DISTS[name], ROWS, seed)), dist


def chi_square(choices, probabilities):
    return stats.chisquare(np.bincount(choices, minlength=len(probabilities)), probabilities * ROWS)


@pytest.mark.parametrize(
    "logits", [[0.3, -0.5], [0, 1, -1, 0.5, -2], [3, -3, 0, 2, 1]], ids=["coin", "mild", "steep"]
)
def test_choices(logits):
    actions, _ = rows_of("coin" if len(logits) == 2 else "Categorical", logits)
    assert chi_square(actions, special.softmax(logits)).pvalue > LEAST


def test_several_choices_and_bits_are_independent():
    logits = [0, 1, -1, 0.5, -0.5, 0, 1, 2, -1]
    actions, _ = rows_of("MultiCategorical", logits)
    first, second, third = (special.softmax(logits[a:b]) for a, b in ((0, 3), (3, 5), (5, 9)))
    joint = (first[:, None, None] * second[:, None] * third).ravel()
    assert chi_square(np.ravel_multi_index(actions.T, (3, 2, 4)), joint).pvalue > LEAST
    bits, _ = rows_of("Bernoulli", [0, 1, -1])
    on = special.expit([0.0, 1.0, -1.0])
    each = [np.array([1 - p, p]) for p in on]
    joint = (each[0][:, None, None] * each[1][:, None] * each[2]).ravel()
    assert chi_square(np.ravel_multi_index(bits.T, (2, 2, 2)), joint).pvalue > LEAST


def test_gaussians():
    inputs = [0.3, -2, 5, -1, 0, 1]
    actions, dist = rows_of("DiagGaussian", inputs)
    squashed, _ = rows_of("SquashedGaussian", [0.3, -1, 0, -1, 0, 0.5], seed=1)
    for i in range(3):
        normal = stats.norm(inputs[i], np.exp(inputs[3 + i]))
        assert stats.kstest(actions[:, i], normal.cdf).pvalue > LEAST
        normal = stats.norm([0.3, -1, 0][i], np.exp([-1, 0, 0.5][i]))
        found = np.arctanh(squashed[:, i].astype(float))
        assert stats.kstest(found, normal.cdf).pvalue > LEAST
    assert_allclose(-dist.logp(actions).mean(), dist.entropy()[0], rtol=0.01)


@pytest.mark.parametrize("inputs", [[-4, 0, 3, -4, 2, -2], [100, 1e4, 1, 300, 10, 1e4]])
def test_beta(inputs):
    actions, dist = rows_of("Beta", inputs)
    for i in range(3):
        beta = stats.beta(dist.alpha[0, i], dist.beta[0, i])
        assert stats.kstest((1 + actions[:, i].astype(float)) / 2, beta.cdf).pvalue > LEAST
    assert_allclose(-dist.logp(actions).mean(), dist.entropy()[0], rtol=0.02)


@pytest.mark.parametrize("inputs", [[0, 0, 0, 0], [-1, 0.5, 2, -0.2], [3, 5, -1.5, 7]])
def test_dirichlet(inputs):
    shares, dist = rows_of("Dirichlet", inputs)
    each = dist.concentration[0]
    for i in range(4):
        beta = stats.beta(each[i], each.sum() - each[i])
        assert stats.kstest(shares[:, i].astype(float), beta.cdf).pvalue > LEAST
    pair = shares[:, 0] / (shares[:, 0] + shares[:, 1])
    assert stats.kstest(pair.astype(float), stats.beta(each[0], each[1]).cdf).pvalue > LEAST
    assert_allclose(shares.sum(axis=-1), 1, atol=3e-7)
    assert shares.min() >= np.float32(SMALLEST_SHARE)
    assert_allclose(-dist.logp(shares).mean(), dist.entropy()[0], rtol=0.02)


@pytest.mark.parametrize("logits", [[0, 0, 0, 0], [1, -1, 2, 0.5]])
def test_relaxed_one_hots(logits):
    relaxed, _ = rows_of("GumbelSoftmax", logits)
    assert chi_square(relaxed.argmax(axis=-1), special.softmax(logits)).pvalue > LEAST
    assert_allclose(relaxed.sum(axis=-1), 1, atol=3e-7)
    # τ (log y_i - log y_j) - (l_i - l_j) is a difference of Gumbel variates: logistic.
    logs = np.log(relaxed.astype(float))
    gap = 0.7 * (logs[:, 0] - logs[:, 1]) - (logits[0] - logits[1])
    assert stats.kstest(gap, stats.logistic.cdf).pvalue > LEAST


@pytest.mark.parametrize("concentration", [0.1, 0.5, 0.999, 1.0, 1.5, 10.0, 1e4])
def test_gamma_variates(concentration):
    noise = np.random.default_rng(1).standard_normal((ROWS, GAMMA_NOISE))
    logs = log_gamma_draw(numpy_xp, np.full(ROWS, concentration), noise)
    # In the logarithm, for at 0.1 some are too small for a float64.
    cdf = stats.loggamma(concentration).cdf
    assert stats.kstest(logs, cdf).pvalue > LEAST


def test_what_no_proposal_gives_is_taken_at_the_peak():
    refused = np.zeros((1, GAMMA_NOISE))
    refused[:, :6] = -50.0  # (1 + c z)³ is negative
    logs = log_gamma_draw(numpy_xp, np.array([3.0]), refused)
    assert_allclose(np.exp(logs), [3 - 1 / 3])
    late = refused.copy()
    late[:, 4:6] = 0.25, -0.25  # the fifth proposal is the first to be accepted
    late[:, 6:18] = 1.0
    expected = (3 - 1 / 3) * (1 + 0.25 / np.sqrt(9 * (3 - 1 / 3))) ** 3
    assert_allclose(np.exp(log_gamma_draw(numpy_xp, np.array([3.0]), late)), [expected])
