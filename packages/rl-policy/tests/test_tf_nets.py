"""The catalogue in TensorFlow computes what NumPy and torch compute, gradients included."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Tuple
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy import build_tf_policy, gae, load_policy
from rl_policy.layout import ConvLayer, initial_weights
from rl_policy.model_config import ACTIVATIONS
from rl_policy.testing import check_policy, initial_state, random_fragment, random_inputs
from rl_policy.xp import array_namespace, masked_mean

pytestmark = pytest.mark.tensorflow

VECTOR, REACH = Box(-1.0, 1.0, (4,)), Box(-1.0, 1.0, (2,))
PREV = {"lstm_use_prev_action": True, "lstm_use_prev_reward": True}
CONFIGS = {
    "default": {},
    "shared": {"vf_share_layers": True},
    "free": {"free_log_std": True},
    "post": {"post_fcnet_hiddens": (7,), "fcnet_hiddens": (9, 8)},
    "lstm": {"use_lstm": True, **PREV},
    "lstm free": {"use_lstm": True, "free_log_std": True},
    "lstm separate": {"use_lstm": True, "vf_share_layers": False, "lstm_use_prev_action": True},
    "gru": {"use_gru": True, **PREV},
    "gru separate free": {"use_gru": True, "vf_share_layers": False, "free_log_std": True},
    **{name: {"fcnet_activation": name} for name in ACTIVATIONS},
}
SPACES = {
    "HWC": Box(0, 255, (10, 12, 3), np.uint8),
    "CHW": Box(0, 255, (3, 10, 10), np.uint8),
    "one channel": Box(0, 255, (11, 11), np.uint8),
    "stack": Box(-1.0, 1.0, (2, 10, 10, 3)),
    "nested": Dict(
        eye=Box(0, 255, (10, 10, 1), np.uint8),
        arm=Tuple([Box(-1.0, 1.0, (3,)), Discrete(4)]),
        map=Box(0, 255, (2, 12, 12), np.uint8),
        action_mask=MultiBinary(2),
    ),
    "two images": Tuple([Box(0, 1, (5, 5, 1)), Box(0, 255, (6, 5, 1), np.uint8)]),
}
SMALL = {"conv_filters": [[4, 3, 2], [8, 3, 1]], "post_fcnet_hiddens": [6]}
NETS = {
    "plain": {},
    "shared": {"vf_share_layers": True},
    "lstm": {"use_lstm": True, "lstm_cell_size": 5, "lstm_use_prev_action": True},
    "gru separate": {"use_gru": True, "lstm_cell_size": 5, "vf_share_layers": False},
}


def loss(policy, model, dist_class, train_batch):
    logits, _ = model.from_batch(train_batch)
    xp, dist = array_namespace(logits), dist_class(logits, model)
    error = model.value_function() - train_batch["value_targets"]
    ratio = xp.exp(dist.logp(train_batch["actions"]) - train_batch["action_logp"])
    rows = error**2 - ratio * train_batch["advantages"]
    return masked_mean(rows, train_batch), {}, {"ratio": ratio}


Net = build_tf_policy("Net", loss_fn=loss, postprocess_fn=gae)


def acted(policy, engine, package=None):
    """Outputs, values and state of two steps, by one engine of one framework."""
    spec = policy.actor_spec()
    if package is not None:
        spec = import_module("dataclasses").replace(spec, framework=package)
    actor, _ = spec.build(engine)
    actor.load(policy.snapshot())
    inputs, state = random_inputs(policy, 6, 0), initial_state(policy, 6)
    kinds = {name: array.dtype.kind for name, array in inputs.items()}
    shifted = {n: a + np.float32(0.3) if kinds[n] == "f" else a for n, a in inputs.items()}
    first = actor.act(shifted, state, {}, explore=False, step=0)
    second = actor.act(shifted, first.state, {}, explore=False, step=0)
    values = actor.values(shifted, first.state)
    return [second.columns["action_dist_inputs"], values, *second.state]


def moved(policy):
    """The same policy with weights that are nowhere zero."""
    weights = policy.get_weights()
    policy.set_weights({n: a + 0.1 * np.float32(np.cos(a)) for n, a in weights.items()})
    return policy


@pytest.mark.parametrize("framework", ["tf", "tf2"])
@pytest.mark.parametrize("model", CONFIGS.values(), ids=CONFIGS)
def test_numpy_and_tensorflow_agree(model, framework):
    policy = moved(Net(VECTOR, REACH, {"seed": 0, "framework": framework, "model": model}))
    for ours, theirs in zip(acted(policy, "numpy"), acted(policy, "framework"), strict=True):
        assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)


@pytest.mark.torch
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_torch_and_tensorflow_agree_on_images(space, net):
    policy = moved(Net(space, Discrete(2), {"seed": 0, "model": {**SMALL, **net}}))
    both = acted(policy, "framework", "torch"), acted(policy, "framework", "tf2")
    for ours, theirs in zip(*both, strict=True):
        assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["CHW", "nested"])
def test_nets_over_images_act_as_they_learn(name):
    model = {**SMALL, **NETS["lstm"], "max_seq_len": 4}
    config = {"seed": 0, "framework": "tf2", "model": model}
    policy = Net(SPACES[name], Discrete(2), config)
    expected = initial_weights(policy.actor_spec().layout, seed=0)
    for weight, array in policy.get_weights().items():
        assert_array_equal(array, expected.pop(weight))
    assert not expected
    batch = random_fragment(policy, rows=6)
    assert_allclose(policy.learn_on_batch(batch).rows["ratio"], 1.0, atol=1e-5)
    check_policy(lambda: Net(SPACES[name], Discrete(2), config))


@pytest.mark.parametrize("framework", ["tf", "tf2"])
@pytest.mark.parametrize("name", ["default", "lstm separate", "gru"])
def test_nets_over_vectors_act_as_they_learn(name, framework):
    model = {**CONFIGS[name], "max_seq_len": 4}
    policy = Net(VECTOR, REACH, {"seed": 0, "framework": framework, "model": model})
    assert policy.inference == ("numpy", "catalogue model on a CPU")
    for rows in (6, 9):
        batch = random_fragment(policy, rows=rows)
        assert_allclose(policy.learn_on_batch(batch).rows["ratio"], 1.0, atol=1e-5)


def test_a_saved_policy_acts_without_tensorflow(tmp_path):
    policy = moved(Net(VECTOR, REACH, {"seed": 0, "model": CONFIGS["lstm"]}))
    saved = load_policy(policy.save(tmp_path / "policy"))
    assert saved.inference == ("numpy", "catalogue model on a CPU")
    for ours, theirs in zip(acted(saved, "numpy"), acted(policy, "framework"), strict=True):
        assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)


def test_convolutions_pad_as_in_torch():
    """A 3-wide image, kernel 2, stride 2, "same": one column of zeros at the right and bottom."""
    conv = import_module("rl_policy.tf").Conv(ConvLayer("conv_0", (3, 3, 1), 1, 2, 2, pad=True))
    conv.w.assign(np.reshape([1.0, 10.0, 100.0, 1000.0], (2, 2, 1, 1)))
    out = conv(np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3, 1))[0, :, :, 0]
    assert_allclose(out, [[1 + 20 + 400 + 5000, 3 + 600], [7 + 80, 9]])


@pytest.fixture
def floatx():
    """Sets Keras's float type, which variables of layers have too."""
    keras = import_module("keras")
    yield keras.config.set_floatx
    keras.config.set_floatx("float32")


def drawn_cell(kind, make, size=3):
    """A cell with weights [in 2, H] drawn from a seed, a batch [N 4, T 5, 2] and states."""
    rng = np.random.default_rng(0)
    cell = make(2, size)
    names = ("kernel", "recurrent", "b") if kind == "LSTM" else ("kernel", "recurrent", "b", "rb")
    arrays = [rng.normal(size=tuple(getattr(cell, name).shape)) for name in names]
    states = [rng.normal(size=(4, size)) for _ in range(2 if kind == "LSTM" else 1)]
    return cell, dict(zip(names, arrays, strict=True)), [rng.normal(size=(4, 5, 2)), *states]


def tf_slopes(kind, dtype, steps, call=None):
    """Output, last states, and the gradients of a sum over all of these, in one graph."""
    import tensorflow as tf

    cell, weights, inputs = drawn_cell(kind, getattr(import_module("rl_policy.tf"), kind))
    for name, array in weights.items():
        getattr(cell, name).assign(array.astype(dtype))
    inputs = [tf.constant(array, dtype) for array in inputs]

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, steps, 2], dtype),
            *(tf.TensorSpec([None, 3], dtype) for _ in inputs[1:]),
        ]
    )
    def run(x, *states):
        with tf.GradientTape() as tape:
            tape.watch([x, *states])
            out, after = (call or type(cell).__call__)(cell, x, list(states))
            total = tf.reduce_sum(out**2) + sum(tf.reduce_sum(tf.sin(s)) for s in after)
        return [out, *after, *tape.gradient(total, [x, *states, *cell.variables])]

    return [array.numpy() for array in run(*inputs)]


def torch_slopes(kind, dtype):
    import torch

    cell, weights, inputs = drawn_cell(kind, getattr(import_module("rl_policy.torch.model"), kind))
    for name, array in weights.items():
        getattr(cell, name).data = torch.from_numpy(array.astype(dtype))
    x, *states = [torch.from_numpy(array.astype(dtype)).requires_grad_() for array in inputs]
    out, after = cell(x, states)
    total = (out**2).sum() + sum(s.sin().sum() for s in after)
    slopes = torch.autograd.grad(total, [x, *states, *cell.parameters()])
    return [tensor.detach().numpy() for tensor in (out, *after, *slopes)]


@pytest.mark.torch
@pytest.mark.parametrize("steps", [5, None], ids=["known length", "any length"])
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-6), ("float32", 1e-4)])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_cells_agree_with_torch_and_so_do_gradients(kind, dtype, rtol, steps, floatx):
    floatx(dtype)
    for ours, theirs in zip(tf_slopes(kind, dtype, steps), torch_slopes(kind, dtype), strict=True):
        assert_allclose(ours, theirs, rtol=rtol, atol=rtol / 10)


def test_the_operator_for_all_steps_is_the_formula():
    lstm = import_module("rl_policy.tf").LSTM
    pairs = tf_slopes("LSTM", "float32", None), tf_slopes("LSTM", "float32", 5, lstm.by_steps)
    for ours, theirs in zip(*pairs, strict=True):
        assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_long_sequences_become_a_loop(floatx):
    """40 steps of known length: the same sums as step by step."""
    import tensorflow as tf

    gru = import_module("rl_policy.tf").GRU(1, 1)
    gru.kernel.assign([[0.0, 0.0, 1.0]])
    x, state = tf.ones([1, 40, 1]), [tf.zeros([1, 1])]
    out, after = tf.function(gru)(x, state)
    expected = np.tanh(1.0) * (1 - 0.5 ** np.arange(1, 41))  # z = 1/2: h' = n/2 + h/2
    assert_allclose(out[0, :, 0], expected, rtol=1e-5)
    assert_allclose(after[0], expected[-1:, None], rtol=1e-5)
