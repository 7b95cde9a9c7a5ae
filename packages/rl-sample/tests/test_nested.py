"""Nested values become flat columns and come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_sample import flatten_nested, unflatten_nested

KEYS = st.text("abc_.", min_size=1, max_size=4)
ARRAYS = st.integers(0, 9).map(lambda n: np.full((2,), n))
NESTED = st.recursive(
    ARRAYS,
    lambda inner: (
        st.dictionaries(KEYS, inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=1, max_size=12).map(tuple)
    ),
    max_leaves=15,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    return isinstance(b, np.ndarray) and np.array_equal(a, b)


def test_names_join_with_slashes() -> None:
    x, y, z = np.zeros(2), np.ones((2, 3)), np.arange(2)
    flat = flatten_nested("obs", {"a": x, "b": (y, z)})
    assert list(flat) == ["obs/a", "obs/b/0", "obs/b/1"]
    assert flat["obs/b/1"] is z


def test_plain_array_and_list_are_one_column() -> None:
    x = np.zeros((2, 3))
    assert flatten_nested("obs", x)["obs"] is x
    assert flatten_nested("obs", [[1, 2], [3, 4]])["obs"].shape == (2, 2)


@given(NESTED)
def test_round_trip(value: Any) -> None:
    assert same(value, unflatten_nested("obs", flatten_nested("obs", value)))


def test_tuples_longer_than_ten_keep_their_order() -> None:
    value = tuple(np.full(1, i) for i in range(12))
    assert [int(a[0]) for a in unflatten_nested("x", flatten_nested("x", value))] == list(range(12))


def test_only_columns_of_that_name_are_read() -> None:
    flat = {"obs/a": np.zeros(1), "obsolete": np.ones(1), "new_obs/a": np.ones(1)}
    assert list(unflatten_nested("obs", flat)) == ["a"]
    with pytest.raises(KeyError, match="no column 'ob'; there are .*obsolete"):
        unflatten_nested("ob", flat)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a/b": np.zeros(1)}, "'obs' has the key 'a/b'.*without '/', which joins the parts"),
        ({"in": {"": np.zeros(1)}}, "'obs/in' has the key ''.*not empty"),
        ({1: np.zeros(1)}, "has the key 1: a key of a nested column is a string"),
        ({"0": np.zeros(1)}, "may not be all digits, because 'obs/0' names an item of a tuple"),
        ({}, "'obs' is an empty dict"),
        ({"a": ()}, "'obs/a' is an empty tuple.*leave the column out"),
        ([[1, 2], [3]], "'obs' does not form an array, its items differ in shape"),
    ],
)
def test_errors_teach(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flatten_nested("obs", value)
