"""Observations of every space: columns, batches, checks and codes."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import (
    Box,
    Dict,
    Discrete,
    Graph,
    MultiBinary,
    MultiDiscrete,
    Sequence,
    Text,
    Tuple,
)
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy.space_tree import leaf_spaces, nest, pick
from rl_policy.spaces import (
    batch_obs,
    check_obs,
    encoded_shape,
    find_images,
    identity,
    make_batcher,
    make_encoder,
    space_columns,
)
from rl_policy.xp import array_namespace, load_namespace

NESTED = Dict(
    [
        ("where", Box(-1, 1, (2,))),
        ("parts", Tuple([Discrete(3, start=1), MultiBinary(2)])),
        ("eye", Box(0, 255, (2, 2, 1), np.uint8)),
    ]
)
SPACES = [
    Discrete(4, start=-1),
    MultiDiscrete([[2, 3], [4, 5]]),
    MultiBinary([2, 2]),
    Box(-1, 1, (3,)),
    Box(-1, 1, (), np.float64),
    Box(-5, 5, (2, 2), np.int16),
    Box(0, 255, (4, 4, 3), np.uint8),
    NESTED,
]


@pytest.mark.parametrize(
    ("space", "obs", "code"),
    [
        (Discrete(3), [2, 0], [[0, 0, 1], [1, 0, 0]]),
        (Discrete(3, start=5), [5, 7], [[1, 0, 0], [0, 0, 1]]),
        (MultiDiscrete([2, 3]), [[1, 2]], [[0, 1, 0, 0, 1]]),
        (MultiDiscrete([2, 3], start=[10, -1]), [[10, 0]], [[1, 0, 0, 1, 0]]),
        (MultiDiscrete([[2], [2]]), [[[0], [1]]], [[1, 0, 0, 1]]),
        (MultiBinary(3), [[1, 0, 1]], [[1, 0, 1]]),
        (MultiBinary([2, 2]), [[[1, 0], [0, 1]]], [[1, 0, 0, 1]]),
        (Box(-1, 1, (2,)), [[0.5, -0.25]], [[0.5, -0.25]]),
        (Box(-1, 1, (2,), np.float64), [[0.5, -0.25]], [[0.5, -0.25]]),
        (Box(-9, 9, (2,), np.int16), [[3, -9]], [[3, -9]]),
        (Box(-1, 1, ()), [0.5, 1.0], [[0.5], [1]]),
        (Box(0, 255, (2,), np.uint8), [[0, 255]], [[0, 255]]),
        (Box(-1, 1, (2, 2)), [[[1, 0], [0.5, 1]]], [[1, 0, 0.5, 1]]),
    ],
)
def test_codes_by_hand(lib, space, obs, code):
    array, plain = lib.array, lib.plain
    rows = np.asarray(obs, dtype=space.dtype)
    got = make_encoder(space)(array(rows))
    assert_allclose(plain(got), code, rtol=1e-6)
    assert plain(got).dtype == np.float32
    assert plain(got).shape == (len(rows), *encoded_shape(space))


def test_nested_spaces_are_joined_in_their_order(lib):
    """The picture is no part of the vector."""
    array, plain = lib.array, lib.plain
    obs = {
        "where": array(np.float32([[0.5, -1]])),
        "parts": (array(np.array([3])), array(np.int8([[0, 1]]))),
        "eye": array(np.uint8([[[[0], [51]], [[102], [255]]]])),
    }
    code = make_encoder(NESTED)(obs)
    assert_allclose(plain(code), [[0.5, -1, 0, 0, 1, 0, 1]], rtol=1e-6)
    assert encoded_shape(NESTED) == (7,)
    flat = make_encoder(NESTED, "flat")(obs)
    assert_allclose(plain(flat), [[0.5, -1, 0, 0, 1, 0, 1, 0, 51, 102, 255]], rtol=1e-6)
    assert encoded_shape(NESTED, "flat") == (11,)


def test_nothing_but_images_leaves_an_empty_vector(lib):
    space = Tuple([Box(0, 255, (2, 2, 1), np.uint8), Box(0, 255, (3, 2, 1), np.uint8)])
    obs = (lib.array(np.zeros((5, 2, 2, 1), np.uint8)), lib.array(np.zeros((5, 3, 2, 1), np.uint8)))
    code = lib.plain(make_encoder(space)(obs))
    assert (code.shape, code.dtype) == ((5, 0), np.float32)
    assert encoded_shape(space) == (0,)


def test_float32_vectors_and_images_are_not_touched():
    assert make_encoder(Box(-1, 1, (4,))) is identity
    assert make_encoder(Box(-1, 1, (4, 4, 3))) is identity
    assert make_encoder(Box(0, 255, (84, 84), np.uint8)) is identity
    assert make_encoder(Box(-1, 1, (4, 4, 3)), "flat") is not identity


def test_a_mask_is_no_input_of_networks(lib):
    space = Dict({"a": Box(-1, 1, (1,)), "action_mask": MultiBinary(2)})
    obs = {"a": lib.array([[0.5]]), "action_mask": lib.array(np.int8([[1, 0]]))}
    assert_allclose(lib.plain(make_encoder(space)(obs)), [[0.5]])
    assert encoded_shape(space) == (1,)
    assert encoded_shape(Dict({"action_mask": MultiBinary(2)})) == (2,)
    assert encoded_shape(Dict({"a": Dict({"action_mask": MultiBinary(2)})})) == (2,)


@pytest.mark.parametrize(
    ("shape", "axes", "seen"),
    [
        ((84, 84, 4), (0, 1, 2), (84, 84, 4)),
        ((4, 84, 84), (1, 2, 0), (84, 84, 4)),
        ((3, 60, 80), (1, 2, 0), (60, 80, 3)),
        ((60, 80, 3), (0, 1, 2), (60, 80, 3)),
        ((17, 19, 19), (1, 2, 0), (19, 19, 17)),
        ((19, 19, 17), (0, 1, 2), (19, 19, 17)),
        ((8, 8, 111), (0, 1, 2), (8, 8, 111)),
        ((9, 10, 14), (0, 1, 2), (9, 10, 14)),
        ((3, 3, 3), (0, 1, 2), (3, 3, 3)),
        ((10, 12), (0, 1), (10, 12, 1)),
        ((9, 12), None, None),
        ((4, 96, 96, 3), (1, 2, 0, 3), (96, 96, 12)),
        ((4, 3, 96, 96), (2, 3, 0, 1), (96, 96, 12)),
        ((12,), None, None),
    ],
)
def test_which_boxes_are_images_and_in_which_order(shape, axes, seen):
    found = find_images(Box(0, 255, shape, np.uint8))
    if axes is None:
        assert found == ()
        return
    (image,) = found
    assert (image.name, image.path) == ("obs", ())
    assert (image.axes, image.shape) == (axes, seen)
    assert image.scale == 1 / 255
    assert find_images(Box(0, 255, shape, np.uint8), "flat") == ()


def test_the_order_of_axes_may_be_given():
    space = Box(0, 1, (9, 10, 14))
    (last,), (first,) = find_images(space, "HWC"), find_images(space, "CHW")
    assert (last.shape, first.shape) == ((9, 10, 14), (10, 14, 9))
    assert (last.scale, first.scale) == (1.0, 1.0)


def test_integers_without_sign_are_scaled_by_their_bound():
    assert find_images(Box(0, 1, (10, 10, 4), np.uint8))[0].scale == 1.0
    assert find_images(Box(0, 10, (7, 7, 3), np.uint8))[0].scale == 0.1
    assert find_images(Box(0, 65535, (20, 20), np.uint16))[0].scale == 1 / 65535
    assert find_images(Box(0, 1, (10, 10, 4), np.bool_))[0].scale == 1.0


def test_images_are_found_in_nested_spaces():
    (eye,) = find_images(NESTED)
    assert (eye.name, eye.path, eye.shape) == ("obs/eye", ("eye",), (2, 2, 1))


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_samples_of_every_space_pass_through(space):
    space.seed(0)
    samples = [space.sample() for _ in range(5)]
    for sample in samples:
        check_obs(space, sample)
    columns = batch_obs(space, samples)
    assert {k: (v.shape[1:], v.dtype) for k, v in columns.items()} == space_columns("obs", space)
    leaves = leaf_spaces(space, "obs")
    for leaf in leaves:
        for row, sample in zip(columns[leaf.name], samples, strict=True):
            assert_allclose(row, pick(sample, leaf.path), rtol=1e-6)
    batched = nest(space, iter([columns[leaf.name] for leaf in leaves]))
    check_obs(space, batched, batch_size=5)
    code = make_encoder(space, "flat")(batched)
    assert array_namespace(code) is load_namespace("numpy")
    assert (code.shape, code.dtype) == ((5, *encoded_shape(space, "flat")), np.float32)


def test_columns_have_flat_names_and_no_float64():
    assert space_columns("obs", NESTED) == {
        "obs/where": ((2,), np.float32),
        "obs/parts/0": ((), np.int64),
        "obs/parts/1": ((2,), np.int8),
        "obs/eye": ((2, 2, 1), np.uint8),
    }
    assert space_columns("obs", Box(-1, 1, (3,), np.float64)) == {"obs": ((3,), np.float32)}


def test_batches_are_copies():
    obs = np.zeros(2, np.float32)
    batch = make_batcher(Box(-1, 1, (2,)), "new_obs")([obs, obs])["new_obs"]
    obs[:] = 7
    assert_array_equal(batch, np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("space", "obs", "message"),
    [
        (Box(-1, 1, (2,)), np.zeros(3), r"'obs' has shape \(3,\), expected \(2,\) as of Box"),
        (Box(-1, 1, (2,)), [[1], [1, 2]], "'obs' does not make one array"),
        (Box(0, 9, (2,), np.uint8), np.zeros(2), "'obs' has dtype float64, expected uint8"),
        (Box(-1, 1, (1,)), np.array(["a"]), "'obs' has dtype <U1, expected float32"),
        (Discrete(3), 1.5, "'obs' has dtype float64, expected int64"),
        (Discrete(3, start=1), 0, r"'obs' holds 0, which is no value of Discrete\(3, start=1\)"),
        (MultiDiscrete([2, 3]), [1, 3], "'obs' holds 3, which is no value"),
        (MultiBinary(2), [0, 2], "'obs' holds 2, which is no value"),
        (Dict({"a": Discrete(2)}), [1], r"'obs' should be a dict, got list: \[1\]"),
        (
            Dict({"a": Discrete(2), "b": Discrete(2)}),
            {"a": 1, "c": 1},
            r"'obs' should hold \['a', 'b'\]; missing: \['b'\], unexpected: \['c'\]",
        ),
        (Tuple([Discrete(2)]), (1, 1), r"should hold \[0\]; missing: \[\], unexpected: \[1\]"),
        (Dict({"a": Tuple([Discrete(2)])}), {"a": (5,)}, "'obs/a/0' holds 5"),
    ],
)
def test_wrong_observations_are_named(space, obs, message):
    with pytest.raises(ValueError, match=message):
        check_obs(space, obs)


def test_a_batch_is_checked_for_its_size():
    with pytest.raises(ValueError, match=r"'obs' has shape \(2,\), expected \(3,\)"):
        check_obs(Discrete(2), np.zeros(2, int), batch_size=3)


@pytest.mark.parametrize(
    ("space", "error", "message"),
    [
        (Text(3), TypeError, "the space at 'obs' is a Text"),
        (Dict({"a": Sequence(Discrete(2))}), TypeError, "the space at 'obs/a' is a Sequence"),
        (Tuple([Graph(Discrete(2), None)]), TypeError, "the space at 'obs/0' is a Graph"),
        (Dict({"a/b": Discrete(2)}), ValueError, "key 'a/b' of the Dict space at 'obs'"),
        (Dict({"0": Discrete(2)}), ValueError, "key '0' of the Dict space at 'obs'"),
        (Dict({"a": Tuple([])}), ValueError, "the Tuple space at 'obs/a' is empty"),
        (Box(-1, 1, (0,)), ValueError, "the space at 'obs' holds no numbers"),
    ],
)
def test_spaces_without_an_array_form_are_refused(space, error, message):
    for function in (make_encoder, encoded_shape, make_batcher):
        with pytest.raises(error, match=message):
            function(space)
