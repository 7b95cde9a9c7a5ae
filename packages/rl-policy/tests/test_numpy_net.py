from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rl_policy.layout import NetLayout, initial_weights
from rl_policy.model_config import ACTIVATIONS, ModelConfig
from rl_policy.numpy_net import NumpyNet
from rl_policy.spaces import Image


def loaded(layout, weights=None):
    net = NumpyNet(layout)
    net.load(weights or initial_weights(layout, seed=0))
    return net


def test_one_hidden_unit_on_paper():
    """Policy tanh(0.5 * 2 + 0) * 3 + 1, value tanh(-0.5 * 2) * 1 - 2."""
    weights = {
        "policy/hidden_0/w": [[0.5]],
        "policy/hidden_0/b": [0.0],
        "policy/out/w": [[3.0]],
        "policy/out/b": [1.0],
        "value/hidden_0/w": [[-0.5]],
        "value/hidden_0/b": [0.0],
        "value/out/w": [[1.0]],
        "value/out/b": [-2.0],
    }
    net = loaded(NetLayout(ModelConfig(fcnet_hiddens=(1,)), 1, 1), weights)
    x = {"obs_flat": np.array([[2.0]], np.float32)}
    assert_allclose(net.forward(x, ())[0], [[3 * np.tanh(1) + 1]], rtol=1e-6)
    assert_allclose(net.values(x, ()), [np.tanh(-1) - 2], rtol=1e-6)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("linear", [-2.0, 0.0, 3.0]),
        ("relu", [0.0, 0.0, 3.0]),
        ("tanh", np.tanh([-2.0, 0.0, 3.0])),
        ("sigmoid", [0.11920292, 0.5, 0.95257413]),
        ("silu", [-2 * 0.11920292, 0.0, 3 * 0.95257413]),
        ("elu", [np.expm1(-2.0), 0.0, 3.0]),
    ],
)
def test_activations(activation, expected):
    config = ModelConfig(fcnet_hiddens=(3,), fcnet_activation=activation)
    layout = NetLayout(config, 3, 3)
    weights = {name: np.eye(*shape) for name, (shape, _) in layout.weights().items() if shape[1:]}
    weights |= {n: np.zeros(s) for n, (s, _) in layout.weights().items() if not s[1:]}
    out, _ = loaded(layout, weights).forward({"obs_flat": np.float32([[-2.0, 0.0, 3.0]])}, ())
    assert_allclose(out[0], expected, rtol=1e-6, atol=1e-7)
    assert activation in ACTIVATIONS


def test_one_lstm_step_by_the_formula():
    config = ModelConfig(fcnet_hiddens=(), use_lstm=True, lstm_cell_size=2)
    layout = NetLayout(config, 3, 2, prev_size=1)
    rng = np.random.default_rng(1)
    w = {n: rng.normal(size=s).astype(np.float32) for n, (s, _) in layout.weights().items()}
    x, prev = rng.normal(size=(1, 3)).astype(np.float32), np.float32([[0.7]])
    h, c = np.float32([[0.1, -0.2]]), np.float32([[0.3, 0.4]])
    out, (h1, c1) = loaded(layout, w).forward({"obs_flat": x, "prev_flat": prev}, (h, c))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    joined = np.concatenate([x, prev], 1)
    gates = joined @ w["lstm/kernel"] + h @ w["lstm/recurrent"] + w["lstm/b"]
    i, f, g, o = gates[:, :2], gates[:, 2:4], gates[:, 4:6], gates[:, 6:]
    cell = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    hidden = sigmoid(o) * np.tanh(cell)
    assert_allclose(c1, cell, rtol=1e-5)
    assert_allclose(h1, hidden, rtol=1e-5)
    assert_allclose(out, hidden @ w["policy/out/w"] + w["policy/out/b"], rtol=1e-5)


def test_one_gru_step_by_the_formula():
    """Cho et al. 2014 as cuDNN has it: the reset gate acts after the recurrent product."""
    config = ModelConfig(fcnet_hiddens=(), use_gru=True, lstm_cell_size=2)
    layout = NetLayout(config, 3, 2, prev_size=1)
    rng = np.random.default_rng(1)
    w = {n: rng.normal(size=s).astype(np.float32) for n, (s, _) in layout.weights().items()}
    x, prev = rng.normal(size=(1, 3)).astype(np.float32), np.float32([[0.7]])
    h = np.float32([[0.1, -0.2]])
    out, (h1,) = loaded(layout, w).forward({"obs_flat": x, "prev_flat": prev}, (h,))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    given = np.concatenate([x, prev], 1) @ w["gru/kernel"] + w["gru/b"]
    kept = h @ w["gru/recurrent"] + w["gru/rb"]
    r, z = sigmoid(given[:, :2] + kept[:, :2]), sigmoid(given[:, 2:4] + kept[:, 2:4])
    n = np.tanh(given[:, 4:] + r * kept[:, 4:])
    hidden = (1 - z) * n + z * h
    assert_allclose(h1, hidden, rtol=1e-5)
    assert_allclose(out, hidden @ w["policy/out/w"] + w["policy/out/b"], rtol=1e-5)


@pytest.mark.parametrize("cell", ["use_lstm", "use_gru"])
@pytest.mark.parametrize("share", [True, False])
def test_many_rows_at_once_give_what_each_gives_alone(cell, share):
    """Products of many rows go in tiles."""
    config = ModelConfig(lstm_cell_size=64, vf_share_layers=share, **{cell: True})
    layout = NetLayout(config, 3, 2)
    net, rng = loaded(layout), np.random.default_rng(0)
    x = rng.normal(size=(1001, 3)).astype(np.float32)
    state = tuple(rng.normal(size=(1001, *s)).astype(np.float32) for s in layout.state)
    out, after = net.forward({"obs_flat": x}, state)
    values = net.values({"obs_flat": x}, state)
    for i in (0, 500, 1000):
        row = slice(i, i + 1)
        own = tuple(s[row] for s in state)
        out_i, after_i = net.forward({"obs_flat": x[row]}, own)
        assert_allclose(out[row], out_i, rtol=1e-4, atol=1e-6)
        assert len(after) == len(after_i) == len(layout.state)
        for whole, single in zip(after, after_i, strict=True):
            assert_allclose(whole[row], single, rtol=1e-4, atol=1e-6)
        assert_allclose(values[row], net.values({"obs_flat": x[row]}, own), rtol=1e-4, atol=1e-6)


def test_free_log_std_is_the_same_for_every_row():
    layout = NetLayout(ModelConfig(free_log_std=True), 2, 4)
    weights = initial_weights(layout, 0) | {"log_std": np.float32([-1.0, 0.5])}
    out, _ = loaded(layout, weights).forward({"obs_flat": np.zeros((3, 2), np.float32)}, ())
    assert_allclose(out[:, 2:], [[-1.0, 0.5]] * 3)


def test_a_shared_value_reads_the_policys_features():
    layout = NetLayout(ModelConfig(fcnet_hiddens=(4,), vf_share_layers=True), 2, 2)
    w = initial_weights(layout, 0)
    x = np.float32([[1.0, -1.0]])
    features = np.tanh(x @ w["policy/hidden_0/w"])
    values = loaded(layout, w).values({"obs_flat": x}, ())
    assert_allclose(values, (features @ w["value/out/w"])[:, 0], rtol=1e-5)
    assert values.dtype == np.float32


def test_a_convolution_on_paper():
    """A 3-wide image of 1…9, kernel 2, stride 2, "same": zeros at the right and at the bottom.

    Then a 2x2 kernel of ones adds up the four results, of which relu drops the negative one.
    """
    config = ModelConfig(conv_filters=((1, 2, 2), (1, 2, 1)))
    image = Image("obs", (), (0, 1, 2), (3, 3, 1), 0.5)
    layout = NetLayout(config, 0, 1, images=(image,))
    weights = {name: np.zeros(shape) for name, (shape, _) in layout.weights().items()}
    weights["policy/conv_0/w"] = np.reshape([1.0, 10.0, 100.0, -1000.0], (2, 2, 1, 1))
    weights["policy/conv_1/w"], weights["policy/out/w"] = np.ones((2, 2, 1, 1)), np.ones((1, 1))
    pixels = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
    out, _ = loaded(layout, weights).forward({"obs_flat": pixels}, ())
    assert_allclose(out, [[0.5 * (0 + (3 + 600) + (7 + 80) + 9)]])


def test_images_in_passes_give_what_each_gives_alone():
    images = (
        Image("obs/a", ("a",), (1, 2, 0), (40, 30, 2), 1 / 255),
        Image("obs/b", ("b",), (0, 1), (12, 12, 1), 1.0),
    )
    net, rng = loaded(NetLayout(ModelConfig(), 2, 3, images=images)), np.random.default_rng(0)
    inputs = {
        "obs_flat": rng.random((101, 2), np.float32),
        "obs/a": rng.integers(0, 256, (101, 2, 40, 30), dtype=np.uint8),
        "obs/b": rng.random((101, 12, 12), np.float32),
    }
    out, values = net.forward(inputs, ())[0], net.values(inputs, ())
    for i in (0, 50, 100):
        one = {name: column[i : i + 1] for name, column in inputs.items()}
        assert_allclose(out[i : i + 1], net.forward(one, ())[0], rtol=1e-3, atol=1e-6)
        assert_allclose(values[i : i + 1], net.values(one, ()), rtol=1e-3, atol=1e-6)


def test_loaded_weights_are_copies():
    layout = NetLayout(ModelConfig(), 2, 2)
    weights = initial_weights(layout, 0)
    net, x = loaded(layout, weights), {"obs_flat": np.ones((1, 2), np.float32)}
    before = net.forward(x, ())[0]
    for array in weights.values():
        array += 1.0
    assert_allclose(net.forward(x, ())[0], before)
