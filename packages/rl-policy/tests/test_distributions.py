"""Distributions: numbers by hand, properties, and the same results from every array library."""

from __future__ import annotations

import itertools
import math
from functools import partial
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy.bounded_dists import SquashedGaussian
from rl_policy.distributions import (
    Bernoulli,
    Categorical,
    Deterministic,
    DiagGaussian,
    MultiCategorical,
)

FIRST, LAST = np.float32(2**-24), np.float32(1 - 2**-24)
"""The outermost uniforms that noise can hold."""
LOW = float(np.finfo(np.float32).min)


def uniforms(count):
    """Evenly spread uniforms: a choice of probability p gets p · count of them, ±1."""
    return ((np.arange(count) + 0.5) / count).astype(np.float32)


def repeat(row, count):
    return np.repeat(np.asarray([row], dtype=np.float32), count, axis=0)


finite = partial(st.floats, width=32)
logit_rows = st.integers(2, 9).flatmap(
    lambda n: arrays(np.float32, (3, n), elements=finite(-20, 20))
)


# Categorical


def test_categorical_by_hand(lib):
    array, plain = lib.array, lib.plain
    dist = Categorical(array(np.log(np.float32([[1, 2, 1]]))))
    uniform = Categorical(array(np.zeros((1, 3), np.float32)))
    actions = array(np.array([1]))
    assert_allclose(plain(dist.logp(actions)), [math.log(0.5)], rtol=1e-6)
    assert_allclose(plain(dist.entropy()), [1.5 * math.log(2)], rtol=1e-6)
    assert_allclose(plain(dist.kl(uniform)), [math.log(3) - 1.5 * math.log(2)], rtol=1e-5)
    assert_allclose(plain(uniform.kl(uniform)), [0], atol=1e-7)
    assert_array_equal(plain(dist.deterministic_sample()), [1])


def test_categorical_samples_by_inverse_cdf(lib):
    array, plain = lib.array, lib.plain
    logits = array(repeat(np.log([1, 2, 1]), 6))
    noise = np.array([FIRST, 0.24, 0.26, 0.74, 0.76, LAST], np.float32)
    actions = plain(Categorical(logits).sample(array(noise)))
    assert_array_equal(actions, [0, 0, 1, 1, 2, 2])
    assert actions.dtype == np.int64


@given(logit_rows)
@settings(max_examples=50, deadline=None)
def test_categorical_frequencies_are_its_probabilities(logits):
    count = 2000
    actions = Categorical(repeat(logits[0], count)).sample(uniforms(count))
    expected = np.exp(logits[0].astype(float) - logits[0].max())
    expected /= expected.sum()
    found = np.bincount(actions, minlength=len(expected)) / count
    assert_allclose(found, expected, atol=1.5 / count)


@given(logit_rows)
@settings(max_examples=50, deadline=None)
def test_categorical_logp_normalises_and_entropy_follows(logits):
    dist = Categorical(logits)
    each = [dist.logp(np.full(3, action)) for action in range(logits.shape[1])]
    probabilities = np.exp(np.stack(each, axis=-1).astype(float))
    assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-5)
    entropy = -(probabilities * np.log(probabilities)).sum(axis=-1)
    assert_allclose(dist.entropy(), entropy, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", [2, 5, 200_000])
def test_masked_choices_are_never_sampled_and_make_no_nan(lib, size):
    array, plain = lib.array, lib.plain
    rng = np.random.default_rng(size)
    legal = rng.random((12, size)) < 0.3
    legal[np.arange(12), rng.integers(0, size, 12)] = True
    legal[:2] = False
    legal[0, 0] = legal[1, -1] = True
    logits = rng.normal(0, 3, (12, size)).astype(np.float32)
    dist = Categorical(array(np.where(legal, logits, np.float32(LOW))))
    rows = np.arange(12)
    for noise in (np.full(12, FIRST), np.full(12, LAST), uniforms(12)):
        actions = plain(dist.sample(array(noise)))
        assert legal[rows, actions].all()
        assert np.isfinite(plain(dist.logp(array(actions)))).all()
    assert legal[rows, plain(dist.deterministic_sample())].all()
    counts = legal.sum(axis=-1)
    entropy = plain(dist.entropy())
    assert (entropy <= np.log(counts) + 1e-3).all()
    assert_allclose(entropy[:2], 0, atol=1e-6)
    assert_allclose(plain(dist.kl(dist)), 0, atol=1e-5)
    same_mask = Categorical(array(np.where(legal, 0, LOW).astype(np.float32)))
    assert_allclose(plain(same_mask.entropy()), np.log(counts), rtol=1e-4, atol=1e-5)
    assert_allclose(plain(dist.kl(same_mask)), np.log(counts) - entropy, rtol=1e-3, atol=2e-3)


@given(
    arrays(np.float32, (1, 6), elements=finite(-100, 100)),
    st.lists(st.booleans(), min_size=6, max_size=6).filter(any),
    st.integers(0, 2**23 - 1),
)
@settings(max_examples=100, deadline=None)
def test_no_noise_reaches_a_masked_choice(logits, legal, bits):
    masked = np.where(legal, logits, np.float32(LOW))
    noise = np.array([(bits + 0.5) * 2**-23], np.float32)
    assert legal[Categorical(masked).sample(noise)[0]]


@pytest.mark.torch
def test_gradients_through_masked_logits_are_finite():
    torch = import_module("torch")
    logits = torch.tensor([[1.0, LOW, 2.0, LOW]], requires_grad=True)
    other = torch.tensor([[0.5, LOW, 0.0, LOW]])
    dist = Categorical(logits)
    loss = dist.logp(torch.tensor([2])) + dist.entropy() + dist.kl(Categorical(other))
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 1] == logits.grad[0, 3] == 0


def test_categorical_takes_further_leading_axes():
    logits = np.zeros((4, 5, 3), np.float32)
    dist = Categorical(logits)
    actions = dist.sample(np.full((4, 5), 0.5, np.float32))
    assert_array_equal(actions, np.ones((4, 5)))
    assert dist.logp(actions).shape == dist.entropy().shape == (4, 5)


# MultiCategorical and Bernoulli


def test_multi_categorical_is_independent_categoricals(lib):
    array, plain = lib.array, lib.plain
    rng = np.random.default_rng(0)
    nvec = (3, 2, 5)
    logits, others = rng.normal(size=(2, 7, 10)).astype(np.float32)
    noise = rng.random((7, 3)).astype(np.float32)
    dist = MultiCategorical(array(logits), nvec=nvec)
    other = MultiCategorical(array(others), nvec=nvec)
    parts = [Categorical(part) for part in np.split(logits, [3, 5], axis=-1)]
    other_parts = [Categorical(part) for part in np.split(others, [3, 5], axis=-1)]
    actions = np.stack([p.sample(noise[:, i]) for i, p in enumerate(parts)], axis=-1)
    assert_array_equal(plain(dist.sample(array(noise))), actions)
    best = np.stack([p.deterministic_sample() for p in parts], axis=-1)
    assert_array_equal(plain(dist.deterministic_sample()), best)
    logp = sum(p.logp(actions[:, i]) for i, p in enumerate(parts))
    assert_allclose(plain(dist.logp(array(actions))), logp, rtol=1e-5)
    assert_allclose(plain(dist.entropy()), sum(p.entropy() for p in parts), rtol=1e-5)
    kl = sum(p.kl(o) for p, o in zip(parts, other_parts, strict=True))
    assert_allclose(plain(dist.kl(other)), kl, rtol=1e-4)


def test_multi_categorical_logp_normalises():
    logits = np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32)
    dist = MultiCategorical(logits, nvec=(2, 3, 3))
    actions = itertools.product(range(2), range(3), range(3))
    total = sum(np.exp(dist.logp(np.array([a]))) for a in actions)
    assert_allclose(total, [1], rtol=1e-5)


def test_multi_categorical_of_a_shape():
    logits = np.float32([[0, 9, 9, 0, 0, 9, 9, 0]])
    dist = MultiCategorical(logits, nvec=(2, 2, 2, 2), shape=(2, 2))
    assert_array_equal(dist.deterministic_sample(), [[[1, 0], [1, 0]]])
    actions = dist.sample(np.full((1, 2, 2), 0.5, np.float32))
    assert_array_equal(actions, [[[1, 0], [1, 0]]])
    assert dist.logp(actions).shape == (1,)


def test_bernoulli_by_hand(lib):
    array, plain = lib.array, lib.plain
    odds = np.log(np.float32([[1 / 3, 1]]))  # probabilities 1/4 and 1/2
    dist, fair = Bernoulli(array(odds)), Bernoulli(array(np.zeros((1, 2), np.float32)))
    for noise, expected in [((0.24, 0.49), (1, 1)), ((0.26, 0.51), (0, 0))]:
        bits = plain(dist.sample(array(np.float32([noise]))))
        assert_array_equal(bits, [expected])
        assert bits.dtype == np.int8
    assert_allclose(plain(dist.logp(array(np.int8([[1, 0]])))), [math.log(1 / 8)], rtol=1e-6)
    entropy = -(math.log(1 / 4) / 4 + math.log(3 / 4) * 3 / 4) + math.log(2)
    assert_allclose(plain(dist.entropy()), [entropy], rtol=1e-6)
    assert_allclose(plain(dist.kl(fair)), [2 * math.log(2) - entropy], rtol=1e-5)
    assert_array_equal(plain(dist.deterministic_sample()), [[0, 0]])


def test_bernoulli_with_impossible_bits(lib):
    array, plain = lib.array, lib.plain
    dist = Bernoulli(array(np.float32([[LOW, 2.0]])))
    assert_array_equal(plain(dist.sample(array(np.float32([[FIRST, FIRST]])))), [[0, 1]])
    one = Bernoulli(array(np.float32([[2.0]])))
    assert_allclose(plain(dist.entropy()), plain(one.entropy()), rtol=1e-6)
    off, on = array(np.int8([[0, 1]])), array(np.int8([[1]]))
    assert_allclose(plain(dist.logp(off)), plain(one.logp(on)), rtol=1e-6)
    assert_allclose(plain(dist.kl(dist)), [0], atol=1e-7)


@given(arrays(np.float32, (1, 3), elements=finite(-15, 15)))
@settings(max_examples=50, deadline=None)
def test_bernoulli_logp_normalises(logits):
    dist = Bernoulli(logits)
    each = [np.exp(dist.logp(np.array([bits]))) for bits in itertools.product((0, 1), repeat=3)]
    assert_allclose(sum(each), [1], rtol=1e-5)


# Deterministic, and all of them


def test_deterministic(lib):
    array, plain = lib.array, lib.plain
    dist = Deterministic(array(np.float32([[1, 2], [3, 4]])))
    assert_array_equal(plain(dist.sample(None)), [[1, 2], [3, 4]])
    assert_array_equal(plain(dist.deterministic_sample()), [[1, 2], [3, 4]])
    assert_array_equal(plain(dist.logp(dist.sample())), [0, 0])
    assert_array_equal(plain(dist.entropy()), [0, 0])
    with pytest.raises(TypeError, match="a Deterministic action has no KL divergence"):
        dist.kl(dist)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("make", "size", "noise_shape"),
    [
        (Categorical, 5, ()),
        (partial(MultiCategorical, nvec=(3, 2, 4)), 9, (3,)),
        (Bernoulli, 4, (4,)),
        (DiagGaussian, 6, (3,)),
        (SquashedGaussian, 6, (3,)),
        (Deterministic, 3, (3,)),
    ],
)
def test_torch_agrees_with_numpy(make, size, noise_shape):
    torch = import_module("torch")
    rng = np.random.default_rng(0)
    inputs, others = rng.normal(size=(2, 300, size)).astype(np.float32)
    noise = rng.random((300, *noise_shape)).astype(np.float32)
    ours = make(inputs)
    theirs = make(torch.from_numpy(inputs))
    actions = ours.sample(noise)
    assert_allclose(theirs.sample(torch.from_numpy(noise)).numpy(), actions, rtol=1e-5, atol=1e-6)
    assert_allclose(theirs.deterministic_sample().numpy(), ours.deterministic_sample(), rtol=1e-6)
    for got, expected in [
        (theirs.logp(torch.from_numpy(actions)), ours.logp(actions)),
        (theirs.entropy(), ours.entropy()),
        (theirs.sample_with_logp(torch.from_numpy(noise))[1], ours.sample_with_logp(noise)[1]),
    ]:
        assert got.dtype == torch.float32
        assert expected.dtype == np.float32
        assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-5)
    if make is not Deterministic:
        kl = theirs.kl(make(torch.from_numpy(others))).numpy()
        assert_allclose(kl, ours.kl(make(others)), rtol=1e-3, atol=1e-5)
