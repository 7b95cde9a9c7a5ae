"""Noise is a pure function of key and counter, and looks like noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_sample import draw_noise, noise_keys
from rl_sample.protocols import NoiseSpec

SPEC: NoiseSpec = {"action": ("normal", (2,)), "pick": ("uniform", ())}

PICKED = np.float32([0.650404155254364, 0.15456467866897583])
ACTED = [[0.168073, 0.008585558], [-0.1011525, 0.3547296]]


@given(st.integers(0, 2**40), st.integers(1, 9), st.integers(0, 8), st.integers(1, 4))
def test_noise_does_not_depend_on_how_it_is_drawn(
    start: int, length: int, split: int, slots: int
) -> None:
    split = min(split, length)
    keys = noise_keys(3, 1, np.arange(slots))
    counters = start + np.arange(slots)
    whole = draw_noise(SPEC, keys, counters, length)
    first = draw_noise(SPEC, keys, counters, split)
    rest = draw_noise(SPEC, keys, counters + split, length - split)
    alone = draw_noise({"action": ("normal", (2,))}, keys[-1:], counters[-1:], length)
    for name, block in whole.items():
        np.testing.assert_array_equal(block, np.concatenate([first[name], rest[name]], axis=1))
    np.testing.assert_array_equal(whole["action"][-1:], alone["action"])


def test_shapes_and_types() -> None:
    block = draw_noise(SPEC, noise_keys(0, 0, [0, 1, 2]), np.zeros(3, int), 5)
    assert block["action"].shape == (3, 5, 2)
    assert block["pick"].shape == (3, 5)
    assert {array.dtype for array in block.values()} == {np.dtype(np.float32)}
    assert draw_noise({}, noise_keys(0, 0, [0]), np.zeros(1, int), 5) == {}


def test_values_never_change_between_versions() -> None:
    block = draw_noise(SPEC, noise_keys(42, 1, [0, 1], [0, 3]), np.array([0, 7]), 1)
    np.testing.assert_array_equal(block["pick"][:, 0], PICKED)
    np.testing.assert_allclose(block["action"][:, 0], ACTED, rtol=1e-6)


def test_every_part_of_the_key_matters() -> None:
    keys = {
        int(noise_keys(seed, worker, env, agent)[0])
        for seed in (-1, 0, 1, 2**63)
        for worker in range(5)
        for env in range(20)
        for agent in range(5)
    }
    assert len(keys) == 4 * 5 * 20 * 5
    assert noise_keys(0, 0, [1, 2], [1, 2]).tolist() != noise_keys(0, 0, [2, 1], [1, 2]).tolist()


def test_uniforms_are_uniform_and_never_0_or_1() -> None:
    drawn = draw_noise({"u": ("uniform", (4,))}, noise_keys(0, 0, np.arange(50)), np.zeros(50), 500)
    u = drawn["u"].astype(np.float64).ravel()
    assert u.min() > 0
    assert u.max() < 1
    assert ((u * 2**23) % 1 == 0.5).all()
    counts, _ = np.histogram(u, 20, (0, 1))
    assert ((counts - 5000) ** 2 / 5000).sum() < 43.8  # chi-squared, 19 degrees, p = 0.001


def test_normals_are_normal() -> None:
    drawn = draw_noise({"z": ("normal", (4,))}, noise_keys(1, 0, np.arange(50)), np.zeros(50), 500)
    z = drawn["z"].astype(np.float64).ravel()
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / z.size)
    assert 3.5 < np.abs(z).max() < 7.6


def test_rows_slots_elements_and_names_are_independent() -> None:
    spec: NoiseSpec = {"a": ("uniform", (2,)), "b": ("uniform", (2,))}
    drawn = draw_noise(spec, noise_keys(0, 0, np.arange(64)), np.zeros(64), 400)
    a, b = (drawn[name].astype(np.float64) - 0.5 for name in "ab")
    bound = 4 / 12 / np.sqrt(63 * 399)
    pairs: list[tuple[Any, Any]] = [
        (a[:, 1:], a[:, :-1]), (a[1:], a[:-1]), (a[..., 0], a[..., 1]), (a, b)
    ]  # fmt: skip
    for x, y in pairs:
        assert abs((x * y).mean()) < bound


def test_unknown_kinds_are_named() -> None:
    spec: Any = {"action": ("gumbel", ())}
    with pytest.raises(ValueError, match="noise 'action' is of the kind 'gumbel'.*'uniform' and"):
        draw_noise(spec, noise_keys(0, 0, [0]), np.zeros(1, int), 1)
