"""Keras models of users: they act and learn with TensorFlow, as graphs and eagerly."""

from __future__ import annotations

import pickle
import random
from importlib import import_module

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy import build_tf_policy, gae, load_policy, register_custom_model
from rl_policy.testing import check_policy, random_fragment
from rl_policy.xp import array_namespace, masked_mean

pytestmark = pytest.mark.tensorflow

VECTOR, TWO = Box(-1.0, 1.0, (3,)), Discrete(2)


def model_class(name):
    """A function, for without TensorFlow there is no base."""
    return getattr(import_module("tf_models"), name)


def loss(policy, model, dist_class, train_batch):
    logits, _ = model.from_batch(train_batch)
    xp, dist = array_namespace(logits), dist_class(logits, model)
    error = model.value_function() - train_batch["value_targets"]
    ratio = xp.exp(dist.logp(train_batch["actions"]) - train_batch["action_logp"])
    rows = error**2 - ratio * train_batch["advantages"]
    return masked_mean(rows, train_batch), {}, {"ratio": ratio}


Custom = build_tf_policy("Custom", loss_fn=loss, postprocess_fn=gae)


def make(name, framework="tf2", space=VECTOR, **options):
    model = {"custom_model": model_class(name), **options}
    return Custom(space, TWO, {"seed": 0, "framework": framework, "model": model})


@pytest.fixture(params=["tf", "tf2"])
def framework(request):
    return request.param


@pytest.mark.parametrize("name", ["Scaled", "Functional", "Penalised", "Counter"])
def test_a_model_acts_as_it_learns(name, framework):
    policy = make(name, framework, max_seq_len=4)
    assert policy.inference == ("framework", "the custom model runs in its framework")
    for seed in range(2):
        batch = random_fragment(policy, seed=seed, rows=11)
        before = policy.get_weights()
        learned = policy.learn_on_batch(batch)
        assert_allclose(learned.rows["ratio"], 1.0, atol=1e-5)
        assert all((before[n] != a).any() for n, a in policy.get_weights().items())
    if name == "Penalised":
        assert learned.stats["answer"] == 42.0
        assert learned.stats["total_loss"] > 900
        assert 0.0 < learned.stats["penalty"] < 1.0
    if name == "Counter":
        assert policy.needs.act == {"prev_rewards": ("rewards", (-1,))}
        assert policy.needs.max_seq_len == 4


@pytest.mark.parametrize("name", ["Scaled", "Functional", "Counter"])
def test_models_keep_the_promises_of_policies(name):
    check_policy(lambda: make(name, max_seq_len=4))


def test_a_registered_model_travels_and_is_saved(tmp_path):
    register_custom_model("scaled", model_class("Scaled"))
    model = {"custom_model": "scaled", "custom_model_config": {"scale": 2.0}}
    policy = Custom(VECTOR, TWO, {"seed": 0, "model": model})
    assert policy.model.scale == 2.0
    obs = np.ones((2, 3), np.float32)
    expected = policy.compute_actions(obs, explore=False)[2]["action_dist_inputs"]
    spec = pickle.loads(pickle.dumps(policy.actor_spec()))
    assert spec.model.custom_model is model_class("Scaled")
    actor, _ = spec.build()
    actor.load(policy.snapshot())
    acted = actor.act({"obs": obs}, (), {}, explore=False, step=0)
    assert_allclose(acted.columns["action_dist_inputs"], expected, rtol=1e-6)
    saved = load_policy(policy.save(tmp_path / "policy"))
    assert saved.inference[0] == "framework"
    columns = saved.compute_actions(obs, explore=False)[2]
    assert_allclose(columns["action_dist_inputs"], expected, rtol=1e-6)


def test_models_see_nested_observations(framework):
    policy = make("ReadsDict", framework, Dict({"x": VECTOR, "n": Discrete(3)}))
    assert_allclose(policy.learn_on_batch(random_fragment(policy)).rows["ratio"], 1.0, atol=1e-5)


def test_running_statistics_are_weights(framework):
    policy = make("Normed", framework)
    first = policy.get_weights()
    assert_array_equal(first["norm/moving_mean"], np.zeros(3))
    policy.learn_on_batch(random_fragment(policy))
    weights = policy.get_weights()
    assert (weights["norm/moving_mean"] != 0).all()
    assert "norm/moving_mean" not in {k[2:] for k in policy.state_dict()["optimizers"]["default"]}
    obs = np.full((1, 3), 0.5, np.float32)  # one row has no variance: acting uses the running one
    acted = policy.compute_actions(obs, explore=False)[2]["action_dist_inputs"]
    x = (obs - weights["norm/moving_mean"]) / np.sqrt(weights["norm/moving_variance"] + 1e-3)
    x = x * weights["norm/gamma"] + weights["norm/beta"]
    features = np.tanh(x @ weights["hidden/kernel"] + weights["hidden/bias"])
    expected = features @ weights["logits/kernel"] + weights["logits/bias"]
    assert_allclose(acted, expected, rtol=1e-4, atol=1e-6)


def test_names_are_paths_of_attributes():
    names = [set(make("Everywhere").get_weights()) for _ in range(2)]
    assert names[0] == names[1]
    gru = ("kernel", "recurrent_kernel", "bias")
    assert names[0] == {
        "nets/0/kernel",
        "nets/0/bias",
        "nets/1/deep/w",
        "nets/1/deep/b",
        "scale",
        "offset",
        "drop/seed_generator_state",
        "both/seed_generator_state",
        "both/seed_generator_state_1",
        *(f"both/{name}" for name in gru),
        *(f"both/{name}_1" for name in gru),
        *(f"inner/base_model/dense{i}/{n}" for i in ("", "_1", "_2") for n in ("kernel", "bias")),
    }


def test_first_weights_come_from_the_seed_alone():
    import tensorflow as tf

    random.seed(5)
    np.random.seed(5)
    tf.random.set_seed(5)
    expected = random.random(), np.random.rand(), float(tf.random.uniform(()))
    random.seed(5)
    np.random.seed(5)
    tf.random.set_seed(5)
    one = make("Scaled").get_weights()
    assert (random.random(), np.random.rand(), float(tf.random.uniform(()))) == expected
    two = make("Scaled").get_weights()
    for name, array in one.items():
        assert_array_equal(two[name], array)


@pytest.mark.parametrize("cell", ["use_lstm", "use_gru"])
def test_a_cell_follows_the_features_of_any_model(cell, framework):
    options = {cell: True, "lstm_cell_size": 5, "lstm_use_prev_action": True, "max_seq_len": 4}
    policy = make("Penalised", framework, **options)
    shapes = {name: array.shape for name, array in policy.get_weights().items()}
    assert shapes["base/logits/kernel"] == (8, 5)
    assert shapes[f"{cell.removeprefix('use_')}/kernel"][0] == 5 + 2
    assert "base/values/kernel" in shapes
    learned = policy.learn_on_batch(random_fragment(policy, rows=6))
    assert_allclose(learned.rows["ratio"], 1.0, atol=1e-5)
    assert learned.stats["answer"] == 42.0


def test_layers_that_come_late_are_told(framework):
    policy = make("LateLayer", framework)
    with pytest.raises(RuntimeError, match=r"LateLayer made the variables \['guess/kernel', 'gue"):
        policy.learn_on_batch(random_fragment(policy))


def test_a_model_without_values_says_so():
    policy = make("NoValue")
    assert policy.values({"obs": np.ones((1, 3), np.float32)}, ()) is None
    with pytest.raises(ValueError, match="this policy's model has none"):
        random_fragment(policy)
    with pytest.raises(NotImplementedError, match=r"NoValue has no value_function\(\)"):
        policy.model.value_function()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("WrongOutputs", ValueError, r"WrongOutputs.forward\(\).*shape \[1, 1\], expected \[B, 2"),
        ("WrongValues", ValueError, r"shape \[1, 1\] for 1 rows, expected \[1\]: drop the last"),
        ("WrongInput", ValueError, r"one row of zeros.*'obs', 'obs_flat'.*KeyError: 'observation'"),
        ("NoForward", NotImplementedError, r"NoForward does not implement forward\(\)"),
        ("StartsAtOne", ValueError, r"get_initial_state\(\) is not zero"),
        ("ForgetsItsState", ValueError, r"states of shapes \[\].*get_initial_state\(\) says \[\[8"),
    ],
)
def test_models_that_do_not_fit_are_told_when_they_are_made(name, error, message):
    with pytest.raises(error, match=message):
        make(name)


def test_only_models_of_the_framework_are_taken():
    wrong = Custom.with_updates(make_model=lambda *args: object())
    with pytest.raises(TypeError, match=r"needs a model that is a rl_policy.tf.TFModel.*got obj"):
        wrong(VECTOR, TWO)


@pytest.mark.torch
def test_a_torch_model_is_refused():
    scaled = import_module("torch_models").Scaled
    with pytest.raises(TypeError, match=r"rl_policy.tf.TFModel.*got Scaled.*framework='torch'"):
        Custom(VECTOR, TWO, {"model": {"custom_model": scaled}})


def test_keras_on_another_framework_is_refused(monkeypatch):
    monkeypatch.setattr("keras.config.backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="Keras runs on 'jax'.*KERAS_BACKEND=tensorflow"):
        make("Scaled")
