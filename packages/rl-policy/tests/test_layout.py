from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from rl_policy.layout import ConvLayer, NetLayout, initial_weights, orthogonal
from rl_policy.model_config import ModelConfig
from rl_policy.spaces import Image


def shapes(layout):
    return {name: shape for name, (shape, _) in layout.weights().items()}


def test_a_vector_net_has_two_towers():
    assert shapes(NetLayout(ModelConfig(fcnet_hiddens=(8, 5)), 4, 2)) == {
        "policy/hidden_0/w": (4, 8),
        "policy/hidden_0/b": (8,),
        "policy/hidden_1/w": (8, 5),
        "policy/hidden_1/b": (5,),
        "value/hidden_0/w": (4, 8),
        "value/hidden_0/b": (8,),
        "value/hidden_1/w": (8, 5),
        "value/hidden_1/b": (5,),
        "policy/out/w": (5, 2),
        "policy/out/b": (2,),
        "value/out/w": (5, 1),
        "value/out/b": (1,),
    }


def test_shared_layers_leave_only_the_value_head():
    layout = NetLayout(ModelConfig(fcnet_hiddens=(8,), vf_share_layers=True), 4, 2)
    assert [n for n in layout.weights() if n.startswith("value")] == ["value/out/w", "value/out/b"]


def test_an_lstm_reads_features_and_history():
    config = ModelConfig(fcnet_hiddens=(8,), use_lstm=True, lstm_cell_size=3)
    table = shapes(NetLayout(config, 4, 2, prev_size=3))
    assert table["lstm/kernel"] == (11, 12)
    assert table["lstm/recurrent"] == (3, 12)
    assert table["policy/out/w"] == (3, 2)
    assert table["value/out/w"] == (3, 1)
    assert not any(name.startswith("value/hidden") for name in table)


def test_a_gru_has_three_gates_and_two_biases():
    layout = NetLayout(ModelConfig(fcnet_hiddens=(8,), use_gru=True, lstm_cell_size=3), 4, 2)
    table = shapes(layout)
    cell = {name: shape for name, shape in table.items() if name.startswith("gru/")}
    assert cell == {
        "gru/kernel": (8, 9),
        "gru/recurrent": (3, 9),
        "gru/b": (9,),
        "gru/rb": (9,),
    }
    assert layout.state == ((3,),)


@pytest.mark.parametrize(("cell", "states"), [("lstm", 4), ("gru", 2)])
def test_a_separate_value_has_a_cell_of_its_own(cell, states):
    config = ModelConfig(
        fcnet_hiddens=(8,), lstm_cell_size=3, vf_share_layers=False, **{f"use_{cell}": True}
    )
    layout = NetLayout(config, 4, 2)
    table = shapes(layout)
    assert table[f"value/{cell}/kernel"] == table[f"{cell}/kernel"]
    assert table["value/hidden_0/w"] == (4, 8)
    assert layout.state == ((3,),) * states


def test_free_log_std_halves_the_head():
    table = shapes(NetLayout(ModelConfig(free_log_std=True), 4, 6))
    assert table["policy/out/w"] == (64, 3)
    assert table["log_std"] == (3,)


def test_gains_are_sqrt2_001_1_and_biases_zero():
    """facts: Engstrom et al. 2020; Huang et al. 2022."""
    weights = initial_weights(NetLayout(ModelConfig(), 4, 2), seed=0)
    for name, array in weights.items():
        gain = {"policy/out/w": 0.01, "value/out/w": 1.0}.get(name, np.sqrt(2))
        if name.endswith("/b"):
            assert not array.any()
        else:
            norms = np.linalg.norm(array, axis=0 if array.shape[0] >= array.shape[1] else 1)
            assert_allclose(norms, gain, rtol=1e-5)


def test_the_lstm_starts_orthogonal_with_gain_1():
    config = ModelConfig(use_lstm=True, lstm_cell_size=4)
    weights = initial_weights(NetLayout(config, 4, 2), seed=0)
    recurrent = weights["lstm/recurrent"]
    assert_allclose(recurrent @ recurrent.T, np.eye(4), atol=1e-6)
    assert not weights["lstm/b"].any()


def test_first_weights_depend_on_the_seed_alone():
    layout = NetLayout(ModelConfig(), 4, 2)
    one, same, other = (initial_weights(layout, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["policy/hidden_0/w"], other["policy/hidden_0/w"])


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 9), columns=st.integers(1, 9), gain=st.floats(0.01, 3.0))
def test_orthogonal_is_orthogonal(rows, columns, gain):
    matrix = orthogonal((rows, columns), gain, np.random.default_rng(0)).astype(np.float64)
    small = matrix if rows <= columns else matrix.T
    assert_allclose(small @ small.T, gain**2 * np.eye(len(small)), atol=1e-5)


def image(*shape, path=(), scale=1.0):
    return Image("/".join(["obs", *path]), path, (0, 1, 2), shape, scale)


def seen(*shape, **config):
    """A layout for one image."""
    return NetLayout(ModelConfig(**config), 0, 2, images=(image(*shape),))


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 130), width=st.integers(1, 130), channels=st.integers(1, 4))
def test_every_image_has_a_stack_that_ends_in_one_row_or_column(height, width, channels):
    layers = seen(height, width, channels).convs(0)
    assert min(layers[-1].output[:2]) == 1
    assert layers[0].input == (height, width, channels)
    if height == width:
        assert layers[-1].output[:2] == (1, 1)


@pytest.mark.parametrize(
    ("shape", "outputs"),
    [
        ((84, 84, 4), [(21, 21, 16), (11, 11, 32), (1, 1, 256)]),
        ((42, 42, 1), [(21, 21, 16), (11, 11, 32), (1, 1, 256)]),
        ((10, 10, 3), [(5, 5, 16), (3, 3, 32), (1, 1, 64)]),
        ((96, 96, 3), [(48, 48, 16), (24, 24, 32), (12, 12, 64), (6, 6, 64), (1, 1, 256)]),
        ((60, 80, 3), [(30, 40, 16), (15, 20, 32), (8, 10, 64), (1, 3, 256)]),
        ((7, 7, 3), [(1, 1, 256)]),
    ],
)
def test_stacks_by_hand(shape, outputs):
    assert [layer.output for layer in seen(*shape).convs(0)] == outputs


def test_rllibs_filters_for_84_pixels():
    table = shapes(seen(84, 84, 4))
    assert table["policy/conv_2/w"] == (11, 11, 32, 256)
    assert "policy/hidden_0/w" not in table
    assert table["policy/out/w"] == (256, 2)


def test_padding_is_tensorflows():
    """3 pixels, kernel 2, stride 2: one zero after them; kernel 4, stride 1: one before, two after.

    TensorFlow's rule: (ceil(3 / 2) - 1) * 2 + 2 - 3 = 1 and (3 - 1) * 1 + 4 - 3 = 3.
    """
    assert ConvLayer("c", (3, 3, 1), 1, 2, 2, True).padding == ((0, 1), (0, 1))
    assert ConvLayer("c", (3, 3, 1), 1, 4, 1, True).padding == ((1, 2), (1, 2))
    assert ConvLayer("c", (3, 3, 1), 1, 3, 1, False).padding == ((0, 0), (0, 0))


def test_images_and_vector_are_joined():
    """5x5 leaves 1x1x256, 6x9 leaves 1x4x256, and 7 numbers: 1287."""
    images = (image(5, 5, 1, path=("a",)), image(6, 9, 2, path=("b",)))
    layout = NetLayout(ModelConfig(fcnet_hiddens=(8,)), 7, 2, images=images)
    table = shapes(layout)
    assert table["policy/image_0/conv_0/w"] == (5, 5, 1, 256)
    assert table["value/image_1/conv_0/w"] == (6, 6, 2, 256)
    assert table["policy/hidden_0/w"] == (256 + 4 * 256 + 7, 8)


def test_one_image_among_numbers_keeps_the_plain_names():
    layout = NetLayout(ModelConfig(fcnet_hiddens=(8,)), 3, 2, images=(image(5, 5, 1, path=("a",)),))
    assert shapes(layout)["policy/conv_0/w"] == (5, 5, 1, 256)
    assert shapes(layout)["policy/hidden_0/w"] == (259, 8)


def test_a_kernel_that_does_not_fit_is_an_error():
    layout = seen(16, 16, 1, conv_filters=((8, 4, 4), (8, 9, 1)))
    with pytest.raises(
        ValueError, match=r"convolution 1 \(kernel 9\) does not fit into the 4x4.*obs"
    ):
        layout.weights()
