from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from rl_policy.layout import NetLayout, initial_weights, orthogonal
from rl_policy.model_config import ModelConfig


def shapes(layout):
    return {name: shape for name, (shape, _) in layout.weights().items()}


def test_a_vector_net_has_two_towers():
    assert shapes(NetLayout(ModelConfig(fcnet_hiddens=(8, 5)), (4,), 2)) == {
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
    layout = NetLayout(ModelConfig(fcnet_hiddens=(8,), vf_share_layers=True), (4,), 2)
    assert [n for n in layout.weights() if n.startswith("value")] == ["value/out/w", "value/out/b"]


def test_an_lstm_reads_features_and_history():
    config = ModelConfig(fcnet_hiddens=(8,), use_lstm=True, lstm_cell_size=3)
    table = shapes(NetLayout(config, (4,), 2, prev_size=3))
    assert table["lstm/kernel"] == (11, 12)
    assert table["lstm/recurrent"] == (3, 12)
    assert table["policy/out/w"] == (3, 2)
    assert table["value/out/w"] == (3, 1)


def test_free_log_std_halves_the_head():
    table = shapes(NetLayout(ModelConfig(free_log_std=True), (4,), 6))
    assert table["policy/out/w"] == (64, 3)
    assert table["log_std"] == (3,)


def test_gains_are_sqrt2_001_1_and_biases_zero():
    """facts: Engstrom et al. 2020; Huang et al. 2022."""
    weights = initial_weights(NetLayout(ModelConfig(), (4,), 2), seed=0)
    for name, array in weights.items():
        gain = {"policy/out/w": 0.01, "value/out/w": 1.0}.get(name, np.sqrt(2))
        if name.endswith("/b"):
            assert not array.any()
        else:
            norms = np.linalg.norm(array, axis=0 if array.shape[0] >= array.shape[1] else 1)
            assert_allclose(norms, gain, rtol=1e-5)


def test_the_lstm_starts_orthogonal_with_gain_1():
    config = ModelConfig(use_lstm=True, lstm_cell_size=4)
    weights = initial_weights(NetLayout(config, (4,), 2), seed=0)
    recurrent = weights["lstm/recurrent"]
    assert_allclose(recurrent @ recurrent.T, np.eye(4), atol=1e-6)
    assert not weights["lstm/b"].any()


def test_first_weights_depend_on_the_seed_alone():
    layout = NetLayout(ModelConfig(), (4,), 2)
    one, same, other = (initial_weights(layout, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["policy/hidden_0/w"], other["policy/hidden_0/w"])


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 9), columns=st.integers(1, 9), gain=st.floats(0.01, 3.0))
def test_orthogonal_is_orthogonal(rows, columns, gain):
    matrix = orthogonal((rows, columns), gain, np.random.default_rng(0)).astype(np.float64)
    small = matrix if rows <= columns else matrix.T
    assert_allclose(small @ small.T, gain**2 * np.eye(len(small)), atol=1e-5)


@pytest.mark.parametrize(
    ("side", "last"), [(84, (1, 1, 256)), (42, (1, 1, 256)), (10, (1, 1, 64)), (64, (1, 1, 256))]
)
def test_every_square_image_ends_in_one_vector(side, last):
    layout = NetLayout(ModelConfig(), (side, side, 3), 2)
    shape = layout.input_shape
    for i in range(len(layout.filters)):
        shape = layout.conv_shape(i, shape)
    assert shape == last


def test_rllibs_filters_for_84_pixels():
    layout = NetLayout(ModelConfig(), (84, 84, 4), 2)
    assert layout.conv_shape(0, (84, 84, 4)) == (21, 21, 16)
    assert layout.conv_shape(1, (21, 21, 16)) == (11, 11, 32)
    assert shapes(layout)["policy/conv_2/w"] == (11, 11, 32, 256)


def test_a_kernel_that_does_not_fit_is_an_error():
    layout = NetLayout(ModelConfig(conv_filters=((8, 4, 4), (8, 9, 1))), (16, 16, 1), 2)
    with pytest.raises(ValueError, match=r"convolution 1 \(kernel 9\) does not fit into the 4x4"):
        layout.weights()
