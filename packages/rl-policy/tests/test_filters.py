"""The mean-and-deviation filter: by hand, and independent of how its data was split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy.filters import (
    apply_filter,
    check_filter_name,
    empty_stats,
    filter_arrays,
    filter_delta,
    merge_stats,
)
from rl_policy.xp import load_namespace


def test_delta_by_hand():
    delta = filter_delta(np.float32([[1, 10], [3, 10], [5, 10]]))
    assert_allclose(delta["count"], 3)
    assert_allclose(delta["mean"], [3, 10])
    assert_allclose(delta["m2"], [8, 0])
    assert {array.dtype for array in delta.values()} == {np.dtype(np.float64)}


def test_arrays_by_hand():
    stats = merge_stats(empty_stats((2,)), [filter_delta(np.float32([[1, 10], [3, 10], [5, 10]]))])
    got = filter_arrays(stats)
    assert_allclose(got["mean"], [3, 10])
    assert_allclose(got["inv_std"], [0.5, 1e4], rtol=1e-6)  # variance 8 / (3 - 1); none: ε = 1e-8
    assert {array.dtype for array in got.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("rows", [np.zeros((0, 2)), np.float32([[4, 5]])])
def test_fewer_than_two_observations_leave_the_scale_alone(rows):
    got = filter_arrays(merge_stats(empty_stats((2,)), [filter_delta(rows)]))
    assert_array_equal(got["mean"], rows[0] if len(rows) else [0, 0])
    assert_array_equal(got["inv_std"], [1, 1])


@given(
    arrays(np.float32, (12, 2), elements=st.floats(-1e3, 1e3, width=32)),
    st.lists(st.integers(0, 12), max_size=4).map(sorted),
)
@settings(max_examples=100, deadline=None)
def test_merging_parts_equals_the_whole(rows, cuts):
    deltas = [filter_delta(part) for part in np.split(rows, cuts)]
    merged = merge_stats(empty_stats((2,)), deltas)
    exact = rows.astype(np.float64)
    assert merged["count"] == 12
    assert_allclose(merged["mean"], exact.mean(axis=0), rtol=1e-9, atol=1e-9)
    assert_allclose(merged["m2"], exact.var(axis=0) * 12, rtol=1e-9, atol=1e-6)


def test_merging_changes_nothing_in_place():
    stats = filter_delta(np.ones((3, 2)))
    before = {name: array.copy() for name, array in stats.items()}
    merged = merge_stats(stats, [filter_delta(np.zeros((3, 2)))])
    for name, array in before.items():
        assert_array_equal(stats[name], array)
        assert not np.shares_memory(stats[name], merged[name])
    untouched = merge_stats(stats, [])
    assert not np.shares_memory(untouched["mean"], stats["mean"])


def test_large_offsets_lose_no_precision():
    rows = 1e6 + np.random.default_rng(0).normal(size=(1000, 1))
    deltas = [filter_delta(part) for part in np.split(rows, 10)]
    got = filter_arrays(merge_stats(empty_stats((1,)), deltas))
    assert_allclose(got["inv_std"], 1 / rows.std(ddof=1), rtol=1e-6)


def test_filtered_observations_by_hand(lib):
    x, mean, inv_std = map(lib.array, ([[1.0, 5.0], [-99.0, 99.0]], [3.0, 4.0], [0.5, 2.0]))
    got = lib.plain(apply_filter(lib.xp, x, mean, inv_std))
    assert_allclose(got, [[-1, 2], [-10, 10]])
    assert got.dtype == np.float32


def test_images_keep_their_shape():
    rows = np.random.default_rng(0).random((5, 2, 3, 1)).astype(np.float32)
    got = filter_arrays(filter_delta(rows))
    assert got["mean"].shape == (2, 3, 1)
    assert apply_filter(load_namespace("numpy"), rows, **got).shape == rows.shape


def test_names():
    assert check_filter_name("NoFilter") == "NoFilter"
    assert check_filter_name("MeanStdFilter") == "MeanStdFilter"
    with pytest.raises(ValueError, match=r"'meanstd'; did you mean 'MeanStdFilter'"):
        check_filter_name("meanstd")
    with pytest.raises(ValueError, match=r"known: NoFilter, MeanStdFilter"):
        check_filter_name("zzz")
