"""Spaces survive the way through JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from rl_policy.space_json import space_from_json, space_to_json

INF = np.inf


def through_json(space):
    return space_from_json(json.loads(json.dumps(space_to_json(space), allow_nan=False)))


@pytest.mark.parametrize(
    "space",
    [
        Discrete(3),
        Discrete(3, start=-5),
        MultiDiscrete([2, 3]),
        MultiDiscrete([[2, 3], [4, 5]], dtype=np.int32, start=[[0, 1], [2, 3]]),
        MultiBinary(4),
        MultiBinary([2, 3]),
        Box(-1, 1, (3,)),
        Box(0, 255, (84, 84, 4), np.uint8),
        Box(-INF, INF, (2,), np.float64),
        Box(np.array([0.1, -INF], np.float32), np.array([INF, 0.7], np.float32)),
        Box(-(2**63), 2**63 - 1, (1,), np.int64),
        Box(-1, 1, ()),
        Dict([("z", Discrete(2)), ("a", Tuple([MultiBinary(2), Dict({"x": Box(0, 1, (1,))})]))]),
    ],
    ids=str,
)
def test_round_trip(space):
    again = through_json(space)
    assert again == space
    assert again.dtype == space.dtype
    if isinstance(space, Dict):
        assert list(again.spaces) == list(space.spaces)


@given(
    array_shapes(max_dims=3, max_side=3).flatmap(
        lambda shape: arrays(np.float32, shape, elements=st.floats(-1e6, 1e6, width=32))
    ),
    st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=50, deadline=None)
def test_bounds_are_exact(low, dtype):
    space = Box(low.astype(dtype), (low + np.float32(1)).astype(dtype), dtype=dtype)
    assert through_json(space) == space


def test_uniform_bounds_are_one_number():
    assert space_to_json(Box(-INF, 1, (2, 2))) == {
        "type": "Box",
        "low": "-inf",
        "high": 1.0,
        "shape": [2, 2],
        "dtype": "float32",
    }


def test_unsupported_spaces_are_refused():
    with pytest.raises(TypeError, match="the space at 'space/a' is a Text"):
        space_to_json(Dict({"a": Text(3)}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "at 'space' stands no description of a space: None"),
        ({"type": "Cube"}, r"expected a dict whose 'type' is one of \['Box', 'Discrete'"),
        ({"type": ["Box"]}, "no description of a space"),
        ({"type": "Discrete"}, r"of a Discrete at 'space' is damaged \(KeyError"),
        ({"type": "Discrete", "n": 0, "start": 0, "dtype": "int64"}, "Discrete at 'space' is"),
        ({"type": "Box", "low": 0, "high": 1, "shape": [2], "dtype": "nofloat"}, "is damaged"),
        ({"type": "Box", "low": [0], "high": 1, "shape": [2], "dtype": "float32"}, "is damaged"),
        ({"type": "Box", "low": "a", "high": 1, "shape": [2], "dtype": "float32"}, "is damaged"),
        ({"type": "Box", "low": 2, "high": 1, "shape": [2], "dtype": "float32"}, "is damaged"),
        ({"type": "MultiBinary", "n": "ab"}, "MultiBinary at 'space' is damaged"),
        ({"type": "Dict", "spaces": [["a"]]}, "Dict at 'space' is damaged"),
        ({"type": "Dict", "spaces": [["a", {"type": "?"}]]}, "at 'space/a' stands no description"),
        ({"type": "Tuple", "spaces": [{"type": "Box"}]}, "a Box at 'space/0' is damaged"),
    ],
)
def test_damaged_descriptions_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        space_from_json(data)
