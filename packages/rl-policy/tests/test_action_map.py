"""From raw actions to the environment's."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy.action_map import make_action_map, make_raw_map, raw_action_space
from rl_policy.spaces import identity

INF = np.inf


@pytest.mark.parametrize(
    "space",
    [
        Discrete(3),
        MultiDiscrete([2, 3]),
        MultiBinary(3),
        Box(-INF, INF, (2,)),
        Dict({"a": Discrete(2), "b": Box(-INF, INF, (1,))}),
    ],
)
def test_nothing_to_do_is_the_identity_object(space):
    assert make_action_map(space) is identity
    assert identity(space) is space


def test_box_without_normalising_and_clipping_is_the_identity_object():
    assert make_action_map(Box(-1, 1, (2,)), normalize_actions=False) is identity


def test_choices_are_counted_from_start():
    env = make_action_map(Discrete(3, start=5))(np.array([0, 2]))
    assert_array_equal(env, [5, 7])
    env = make_action_map(MultiDiscrete([2, 3], start=[10, 20]))(np.array([[0, 2]]))
    assert_array_equal(env, [[10, 22]])
    env = make_action_map(MultiDiscrete([2, 3], dtype=np.int32))(np.array([[0, 2]]))
    assert env.dtype == np.int32


def test_integer_box_is_counted_from_low():
    to_env = make_action_map(Box(-2, 2, (2,), np.int8))
    env = to_env(np.array([[0, 4]]))
    assert_array_equal(env, [[-2, 2]])
    assert env.dtype == np.int8
    wide = Box(np.array([-128], np.int8), np.array([127], np.int8), dtype=np.int8)
    assert_array_equal(make_action_map(wide)(np.array([[0], [255]])), [[-128], [127]])


def test_bounded_numbers_are_scaled_from_minus_one_to_one_and_clipped():
    space = Box(np.float32([0, -4]), np.float32([10, 0]))
    env = make_action_map(space)(np.float32([[-1, -1], [0, 0.5], [1, 3]]))
    assert_allclose(env, [[0, -4], [5, -1], [10, 0]])
    assert env.dtype == np.float32


def test_numbers_bounded_on_one_side_are_only_clipped():
    space = Box(np.float32([0, -1, -INF]), np.float32([INF, 1, INF]))
    env = make_action_map(space)(np.float32([[-3, 3, -7], [5, 0.5, 7]]))
    assert_allclose(env, [[0, 1, -7], [5, 0.5, 7]])


def test_clipping_alone_does_not_scale():
    space = Box(-2, 2, (2,))
    to_env = make_action_map(space, normalize_actions=False, clip_actions=True)
    assert_allclose(to_env(np.float32([[1, 5]])), [[1, 2]])


@given(st.floats(-1e30, 1e30), st.floats(0, 1e30), st.floats(-2, 2))
@settings(max_examples=200, deadline=None)
def test_what_is_sent_is_always_inside_the_space(low, width, action):
    for dtype in (np.float32, np.float64):
        space = Box(np.array([low], dtype), np.array([low + width], dtype), dtype=dtype)
        env = make_action_map(space)(np.float32([[action]]))
        assert space.contains(env[0])


def test_bounds_of_the_whole_float_range_do_not_overflow():
    top = np.finfo(np.float32).max
    env = make_action_map(Box(-top, top, (1,)))(np.float32([[-1], [0], [1]]))
    assert_allclose(env, [[-top], [0], [top]])


def test_nested_actions_are_mapped_leaf_by_leaf():
    space = Dict({"a": Discrete(2, start=1), "b": Tuple([Box(0, 10, (1,)), MultiBinary(2)])})
    raw = {"a": np.array([0, 1]), "b": (np.float32([[-1], [1]]), np.int8([[0, 1], [1, 1]]))}
    env = make_action_map(space)(raw)
    assert_array_equal(env["a"], [1, 2])
    assert_allclose(env["b"][0], [[0], [10]])
    assert env["b"][1] is raw["b"][1]


def test_raw_space():
    space = Dict([("z", Discrete(3, start=5)), ("a", Tuple([Box(-1, 1, (2,), np.float64)]))])
    assert raw_action_space(space) == Dict(
        [("z", Discrete(3)), ("a", Tuple([Box(-INF, INF, (2,), np.float32)]))]
    )
    assert raw_action_space(MultiDiscrete([2, 3], start=[4, 5])) == MultiDiscrete([2, 3])
    assert raw_action_space(Box(-1, 3, (2,), np.int16)) == MultiDiscrete([5, 5])
    assert raw_action_space(Box(-1, 3, (), np.int16)) == Discrete(5)
    assert raw_action_space(MultiBinary([2, 2])) == MultiBinary([2, 2])


def test_integer_boxes_with_too_many_values_are_refused():
    with pytest.raises(TypeError, match="'actions/a' have 4294967296 values per number"):
        raw_action_space(Dict({"a": Box(-(2**31), 2**31 - 1, (1,), np.int32)}))
    with pytest.raises(TypeError, match="'actions' have 18446744073709551616 values"):
        make_action_map(Box(-(2**63), 2**63 - 1, (1,), np.int64))


@pytest.mark.parametrize(
    ("space", "raw"),
    [
        (Discrete(3, start=5), np.array([0, 2])),
        (MultiDiscrete([2, 3], start=[10, 20]), np.array([[0, 2]])),
        (MultiBinary(3), np.array([[0, 1, 1]], np.int8)),
        (Box(-2, 2, (2,), np.int8), np.array([[0, 4]])),
        (Box(np.float32([0, -4]), np.float32([10, 0])), np.float32([[-1, 0.5], [0, 1]])),
        (Box(-INF, INF, (2,)), np.float32([[-7, 0.5]])),
    ],
)
def test_what_the_environment_took_can_be_made_raw_again(space, raw):
    nested = Dict({"a": space, "b": Tuple([space])})
    for where, actions in ((space, raw), (nested, {"a": raw, "b": (raw,)})):
        again = make_raw_map(where)(make_action_map(where)(actions))
        for found in (again,) if where is space else (again["a"], again["b"][0]):
            assert_allclose(found, raw, rtol=1e-6)
            assert found.dtype == raw.dtype
    box = Box(-3.0, 3.0, (1,))
    assert_array_equal(make_raw_map(box, normalize_actions=False)(np.float32([[2]])), [[2]])
