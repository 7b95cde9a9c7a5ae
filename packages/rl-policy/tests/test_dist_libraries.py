"""Every distribution on every array library: the same numbers, finite whatever comes."""

from __future__ import annotations

import numpy as np
import pytest
from dist_cases import DISTS, SIMPLE, draw_noise
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

TRACED = True

ROWS = 40
LOW = float(np.finfo(np.float32).min)
MASKABLE = [name for name in SIMPLE if DISTS[name].mask_size]


def inputs_of(name, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return (scale * rng.normal(size=(ROWS, DISTS[name].input_size))).astype(np.float32)


def native(lib, tree):
    """NumPy arrays as the library's, nested alike."""
    if isinstance(tree, dict):
        return {key: native(lib, value) for key, value in tree.items()}
    return tuple(native(lib, x) for x in tree) if isinstance(tree, tuple) else lib.array(tree)


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in leaves(value)]
    return [leaf for x in tree for leaf in leaves(x)] if isinstance(tree, tuple) else [tree]


@pytest.mark.parametrize("name", DISTS)
def test_the_same_numbers_in_float32(lib, name):
    """As NumPy in float64, to 1e-5 of their size; actions too, choices exactly."""
    kind, inputs, others = DISTS[name], inputs_of(name, 1), inputs_of(name, 2)
    noise = draw_noise(kind, ROWS)
    exact = kind(inputs.astype(np.float64))
    dist, other = lib.dist(kind, inputs), lib.dist(kind, others)
    actions = kind(inputs).sample(noise)
    taken = native(lib, actions)
    for found, expected in [
        (dist.logp(taken), exact.logp(actions)),
        (dist.entropy(), exact.entropy()),
        (dist.kl(other), exact.kl(kind(others.astype(np.float64)))),
        (dist.sample_with_logp(native(lib, noise))[1], exact.sample_with_logp(noise)[1]),
    ]:
        assert lib.plain(found).dtype == np.float32
        assert_allclose(lib.plain(found), expected, rtol=1e-5, atol=1e-5)
    for found, expected in [
        (dist.sample(native(lib, noise)), actions),
        (dist.sample_with_logp(native(lib, noise))[0], actions),
        (dist.deterministic_sample(), kind(inputs).deterministic_sample()),
    ]:
        for one, other_one in zip(leaves(found), leaves(expected), strict=True):
            assert lib.plain(one).dtype == other_one.dtype
            exactly = other_one.dtype.kind == "i"
            assert_allclose(lib.plain(one), other_one, rtol=0 if exactly else 1e-5, atol=1e-6)


@pytest.mark.parametrize("name", DISTS)
def test_sample_with_logp_is_logp_of_the_sample(name):
    kind = DISTS[name]
    dist, noise = kind(inputs_of(name, 3, 0.3).astype(np.float64)), draw_noise(kind, ROWS)
    actions, logp = dist.sample_with_logp(noise)
    for one, other in zip(leaves(actions), leaves(dist.sample(noise)), strict=True):
        assert (one == other).all()
    assert_allclose(dist.logp(actions), logp, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SIMPLE)
def test_gradients_in_float64_are_those_of_finite_differences(autograd, name):
    kind = DISTS[name]
    inputs, others = (inputs_of(name, seed).astype(np.float64) for seed in (4, 5))
    actions = kind(inputs.astype(np.float32)).sample(draw_noise(kind, ROWS))
    actions = actions.astype(np.float64) if actions.dtype == np.float32 else actions

    def total(inputs, others, actions):
        dist = kind(inputs)
        return dist.logp(actions) + 0.3 * dist.entropy() + 0.7 * dist.kl(kind(others))

    taken = autograd.array(actions)
    grads = autograd.grads(
        lambda a, b: total(a, b, taken), autograd.array(inputs), autograd.array(others)
    )
    ways = np.random.default_rng(6).normal(size=(2, *inputs.shape))
    up = total(inputs + 1e-5 * ways[0], others + 1e-5 * ways[1], actions)
    down = total(inputs - 1e-5 * ways[0], others - 1e-5 * ways[1], actions)
    slopes = sum((g * way).sum(axis=-1) for g, way in zip(grads, ways, strict=True))
    assert_allclose(slopes, (up - down) / 2e-5, rtol=1e-6, atol=1e-6)


REPARAMETRISED = ("DiagGaussian", "SquashedGaussian", "GumbelSoftmax")


@pytest.mark.parametrize("name", [*REPARAMETRISED, "Beta", "Dirichlet"])
def test_gradients_flow_through_samples_but_not_through_rejections(autograd, name):
    kind, xp = DISTS[name], autograd.module
    noise, inputs = autograd.array(draw_noise(kind, ROWS)), autograd.array(inputs_of(name, 7))
    (grad,) = autograd.grads(
        lambda x: xp.sum(xp.square(kind(x).sample(noise))) + 0.0 * xp.sum(x), inputs
    )
    assert np.isfinite(grad).all()
    assert (grad != 0).any() == (name in REPARAMETRISED)


EXTREMES = np.float32([-1e30, -1e4, -300, -88, -1, 0, 1, 88, 300, 1e4, 1e30])


def extremes(name, seed):
    """Inputs of all sizes; a Gaussian's log standard deviation stays where its square is finite."""
    inputs = np.random.default_rng(seed).choice(EXTREMES, (ROWS, DISTS[name].input_size))
    if name in ("DiagGaussian", "SquashedGaussian"):
        half = inputs.shape[1] // 2
        inputs[:, :half] = np.clip(inputs[:, :half], -1e4, 1e4)
        inputs[:, half:] = np.clip(inputs[:, half:], -20, 20)
    return inputs


@pytest.mark.parametrize("name", SIMPLE)
def test_extreme_inputs_stay_finite(lib, name):
    kind, noise = DISTS[name], draw_noise(DISTS[name], ROWS)
    dist = lib.dist(kind, extremes(name, 1))
    actions = dist.sample(native(lib, noise))
    found = [actions, dist.logp(actions), dist.entropy(), dist.deterministic_sample()]
    found += [dist.kl(dist), dist.sample_with_logp(native(lib, noise))[1]]
    for values in found:
        assert np.isfinite(lib.plain(values)).all()


@pytest.mark.parametrize("name", SIMPLE)
def test_gradients_at_extreme_inputs_are_finite(autograd, name):
    kind = DISTS[name]
    inputs = extremes(name, 0)
    actions = autograd.array(kind(inputs).sample(draw_noise(kind, ROWS)))
    old = autograd.array(inputs)

    def total(x):
        dist = kind(x)
        return dist.logp(actions) + dist.entropy() + kind(old).kl(dist)

    assert np.isfinite(autograd.grads(total, old)[0]).all()


def masks_of(name, seed):
    """Random masks; in the first rows one choice is legal, the first or the last."""
    kind, rng = DISTS[name], np.random.default_rng(seed)
    legal = rng.random((ROWS, kind.mask_size)) < 0.5
    start = 0
    for size in {"MultiCategorical": (3, 2, 4)}.get(name, (kind.mask_size,)):
        if name != "Bernoulli":
            part = legal[:, start : start + size]
            part[np.arange(ROWS), rng.integers(0, size, ROWS)] = True
            part[:2] = False
            part[0, 0] = part[1, -1] = True
        start += size
    return legal


def is_legal(name, actions, legal):
    """Whether actions [B, …] are, [B]."""
    if name == "Bernoulli":
        return ((actions == 0) | legal).all(axis=-1)
    if name == "GumbelSoftmax":
        return (legal | (actions == 0)).all(axis=-1)
    columns = actions[:, None] if actions.ndim == 1 else actions + np.array([0, 3, 5])
    return np.take_along_axis(legal, columns, axis=-1).all(axis=-1)


@pytest.mark.parametrize("name", MASKABLE)
def test_masked_choices_are_never_taken(lib, name):
    kind, legal = DISTS[name], masks_of(name, 0)
    for inputs in (inputs_of(name, 8, 3.0), np.clip(extremes(name, 8), -1e4, 1e4)):
        masked = lib.run(kind.mask, lib.array(inputs), lib.array(legal))
        dist = lib.dist(kind, lib.plain(masked))
        for noise in (draw_noise(kind, ROWS), np.full_like(draw_noise(kind, ROWS), 2**-24)):
            for drawn in (noise, 1 - noise):
                actions = dist.sample(lib.array(drawn))
                assert is_legal(name, lib.plain(actions), legal).all()
                assert np.isfinite(lib.plain(dist.logp(actions))).all()
        best = lib.plain(dist.deterministic_sample())
        assert is_legal(name, best, legal).all()
        for values in (dist.entropy(), dist.kl(dist)):
            assert np.isfinite(lib.plain(values)).all()
        assert (lib.plain(dist.entropy()) >= 0).all()
        if name != "Bernoulli":
            assert_allclose(lib.plain(dist.entropy())[:2], 0, atol=1e-6)
            only = lib.plain(dist.logp(dist.deterministic_sample()))
            assert_allclose(only[:2], 0, atol=1e-6)


@pytest.mark.parametrize("name", MASKABLE)
def test_masks_stop_gradients_and_make_no_nan(autograd, name):
    kind, legal = DISTS[name], masks_of(name, 1)
    inputs, others = inputs_of(name, 9), inputs_of(name, 10)
    mask = autograd.array(legal)
    plain = kind.mask(inputs, legal)
    actions = autograd.array(kind(plain).sample(draw_noise(kind, ROWS)))
    old = autograd.array(kind.mask(others, legal))

    def total(x):
        dist = kind(kind.mask(x, mask))
        return dist.logp(actions) + dist.entropy() + kind(old).kl(dist)

    grad = autograd.grads(total, autograd.array(inputs))[0]
    assert np.isfinite(grad).all()
    assert (grad[~legal] == 0).all()
    assert (grad[legal] != 0).any()


@given(
    arrays(np.float32, (1, 9), elements=st.floats(-1e4, 1e4, width=32)),
    st.integers(0, 2**9 - 1),
    st.integers(0, 2**23 - 1),
)
def test_no_noise_reaches_a_masked_choice(logits, bits, draw):
    noise = np.float32((draw + 0.5) * 2.0**-23)
    for name in MASKABLE:
        kind = DISTS[name]
        legal = (bits >> np.arange(kind.mask_size)) % 2 == 1
        for first, size in ((0, 3), (3, 2), (5, 4)) if name == "MultiCategorical" else [(0, 9)]:
            part = legal[first : first + size]
            if name != "Bernoulli" and not part.any():
                part[draw % len(part)] = True
        masked = kind.mask(logits[:, : kind.input_size], legal[None])
        actions = kind(masked).sample(np.full_like(draw_noise(kind, 1), noise))
        assert is_legal(name, actions, legal[None]).all()
