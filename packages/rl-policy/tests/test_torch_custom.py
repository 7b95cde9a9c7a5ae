"""Models, distributions and acting hooks of users, which act with torch unless marked."""

from __future__ import annotations

import pickle
from importlib import import_module

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy import (
    build_torch_policy,
    gae,
    load_policy,
    make_action_dist,
    register_action_dist,
    register_custom_model,
    xp_only,
)
from rl_policy.testing import check_policy, random_fragment
from rl_sample.protocols import Needs

pytestmark = pytest.mark.torch

VECTOR, TWO = Box(-1.0, 1.0, (3,)), Discrete(2)


def model_classes():
    """A feed-forward and a recurrent model; a function, for without torch there is no base."""
    return import_module("torch_models")


def loss(policy, model, dist_class, train_batch):
    logits, _ = model.from_batch(train_batch)
    dist = dist_class(logits, model)
    error = model.value_function() - train_batch["value_targets"]
    ratio = (dist.logp(train_batch["actions"]) - train_batch["action_logp"]).exp()
    rows = {"ratio": ratio}
    return (error**2).mean() - (ratio * train_batch["advantages"]).mean(), {}, rows


Custom = build_torch_policy("Custom", loss_fn=loss, postprocess_fn=gae)


def test_a_registered_model_acts_learns_and_is_saved():
    register_custom_model("scaled", model_classes().Scaled)
    model = {"custom_model": "scaled", "custom_model_config": {"scale": 2.0}}
    policy = Custom(VECTOR, TWO, {"seed": 0, "model": model})
    assert policy.inference == ("framework", "the custom model runs in its framework")
    assert policy.model.scale == 2.0
    check_policy(lambda: Custom(VECTOR, TWO, {"seed": 0, "model": model}))
    ratio = policy.learn_on_batch(random_fragment(policy)).rows["ratio"]
    assert_allclose(ratio, 1.0, atol=1e-5)


def test_a_recurrent_model_is_learned_in_sequences():
    model = {"custom_model": model_classes().Counter, "max_seq_len": 4}
    policy = Custom(VECTOR, TWO, {"seed": 0, "model": model})
    assert policy.needs.max_seq_len == 4
    assert policy.needs.act == {"prev_rewards": ("rewards", (-1,))}
    check_policy(lambda: Custom(VECTOR, TWO, {"seed": 0, "model": model}))
    for seed in range(2):
        batch = random_fragment(policy, seed=seed, rows=11)
        assert_allclose(policy.learn_on_batch(batch).rows["ratio"], 1.0, atol=1e-5)


def test_models_see_nested_observations():
    space = Dict({"x": VECTOR, "n": Discrete(3)})
    model = {"custom_model": model_classes().ReadsDict}
    check_policy(lambda: Custom(space, TWO, {"seed": 0, "model": model}))


def test_models_see_pictures_as_they_came():
    space = Dict({"parts": Tuple([Box(0, 255, (5, 5, 3), np.uint8), Discrete(3)])})
    make = build_torch_policy(
        "P", loss_fn=lambda p, model, d, batch: model.from_batch(batch)[0].sum()
    )
    model = {"custom_model": model_classes().Pictures}
    check_policy(lambda: make(space, TWO, {"seed": 0, "model": model}))


@pytest.mark.parametrize("cell", ["use_lstm", "use_gru"])
@pytest.mark.parametrize("name", ["Scaled", "Penalised"])
def test_a_cell_follows_the_features_of_any_model(cell, name):
    model = {
        cell: True,
        "custom_model": getattr(model_classes(), name),
        "custom_model_config": {"scale": 2.0},
        "lstm_cell_size": 5,
        "lstm_use_prev_action": True,
        "lstm_use_prev_reward": True,
        "max_seq_len": 4,
    }
    policy = Custom(VECTOR, TWO, {"seed": 0, "model": model})
    assert policy.model.base.scale == 2.0
    assert policy.model.base.num_outputs == 5
    shapes = {name: array.shape for name, array in policy.get_weights().items()}
    kind = cell.removeprefix("use_")
    assert shapes["base/logits/weight"] == (5, 8)
    assert shapes[f"{kind}/kernel"][0] == 5 + 2 + 1
    assert shapes["policy/out/w"] == (5, 2)
    check_policy(lambda: Custom(VECTOR, TWO, {"seed": 0, "model": model}))
    learned = policy.learn_on_batch(random_fragment(policy, rows=6))
    assert_allclose(learned.rows["ratio"], 1.0, atol=1e-5)
    assert (learned.stats.get("answer") == 42.0) == (name == "Penalised")


def test_a_cell_gives_values_to_a_model_without():
    model = {"custom_model": model_classes().NoValue, "use_gru": True}
    policy = Custom(VECTOR, TWO, {"seed": 0, "model": model})
    assert policy.values(
        {"obs": np.ones((2, 3), np.float32)}, (np.zeros((2, 64), "f4"),)
    ).shape == (2,)


def test_one_memory_is_enough():
    model = {"custom_model": model_classes().Counter, "use_lstm": True}
    with pytest.raises(
        ValueError, match="Counter has a recurrent state of its own.*use_lstm cannot"
    ):
        Custom(VECTOR, TWO, {"model": model})


@pytest.mark.parametrize(
    ("name", "cell", "message"),
    [
        (
            "WrongOutputs",
            {},
            r"WrongOutputs.forward\(\) gave outputs of shape \[1, 1\], expected \[B, 2",
        ),
        ("WrongOutputs", {"use_gru": True}, r"shape \[1, 1\], expected \[B, 64\]"),
        ("WrongValues", {}, r"value_function\(\) gave shape \[\d+, 1\].*values\[:, 0\]"),
    ],
)
def test_outputs_of_another_shape_are_told(name, cell, message):
    model = {"custom_model": getattr(model_classes(), name), **cell}
    with pytest.raises(ValueError, match=message):
        Custom(VECTOR, TWO, {"seed": 0, "model": model})


def test_outputs_are_checked_in_learning_too():
    policy = Custom(VECTOR, TWO, {"seed": 0, "model": {"custom_model": model_classes().Scaled}})
    batch = random_fragment(policy)
    policy.model.logits = import_module("torch").nn.Linear(8, 3)
    with pytest.raises(ValueError, match=r"gave outputs of shape \[\d+, 3\], expected \[B, 2\]"):
        policy.learn_on_batch(batch)


def test_workers_need_no_registry():
    register_custom_model("scaled", model_classes().Scaled)
    policy = Custom(VECTOR, TWO, {"seed": 0, "model": {"custom_model": "scaled"}})
    spec = pickle.loads(pickle.dumps(policy.actor_spec()))
    assert spec.model.custom_model is model_classes().Scaled
    actor, _ = spec.build()
    actor.load(policy.snapshot())
    obs = np.ones((2, 3), np.float32)
    acted = actor.act({"obs": obs}, (), {}, explore=False, step=0)
    assert_array_equal(acted.actions, policy.compute_actions(obs, explore=False)[0])


def test_models_come_from_hooks_too():
    def make_model(policy, observation_space, action_space, config):
        dist = make_action_dist(action_space)
        config = import_module("rl_policy").ModelConfig()
        spaces = (observation_space, action_space)
        return model_classes().Scaled(*spaces, dist.input_size, config, "made", scale=3.0)

    def make_both(policy, observation_space, action_space, config):
        model = make_model(policy, observation_space, action_space, config)
        return model, make_action_dist(action_space)

    for keyword, hook in [("make_model", make_model), ("make_model_and_action_dist", make_both)]:
        policy = Custom.with_updates(**{keyword: hook})(VECTOR, TWO, {"seed": 0})
        assert policy.inference == ("framework", f"{keyword} builds its own model")
        policy.learn_on_batch(random_fragment(policy))
        assert policy.model.scale == 3.0
    wrong = Custom.with_updates(make_model=lambda *args: None)
    with pytest.raises(TypeError, match=r"rl_policy.torch.TorchModel.*got NoneType"):
        wrong(VECTOR, TWO)


def test_a_model_without_values_says_so():
    model = {"custom_model": model_classes().NoValue}
    policy = Custom(VECTOR, TWO, {"seed": 0, "model": model})
    assert policy.values({"obs": np.ones((1, 3), np.float32)}, ()) is None
    with pytest.raises(ValueError, match="this policy's model has none"):
        random_fragment(policy)
    with pytest.raises(NotImplementedError, match=r"NoValue has no value_function\(\)"):
        policy.model.value_function()


def test_initial_states_are_zero():
    with pytest.raises(ValueError, match=r"get_initial_state\(\) is not zero"):
        Custom(VECTOR, TWO, {"model": {"custom_model": model_classes().StartsAtOne}})


def test_custom_losses_and_metrics_of_models():
    model = {"custom_model": model_classes().Penalised}
    policy = Custom(VECTOR, TWO, {"seed": 0, "model": model})
    stats = policy.learn_on_batch(random_fragment(policy)).stats
    assert stats["answer"] == 42.0
    assert stats["total_loss"] > 900


def uniform_choice(action_space):
    """The distribution of the space, under another name."""
    return make_action_dist(action_space)


def test_a_registered_distribution_is_used_and_travels(tmp_path):
    register_action_dist("uniform_choice", uniform_choice)
    config = {"seed": 0, "model": {"custom_action_dist": "uniform_choice"}}
    policy = Custom(VECTOR, TWO, config)
    assert policy.learn_on_batch(random_fragment(policy)).stats
    load_policy(policy.save(tmp_path / "policy"))


def sampler(policy, model, input_dict, state_batches, explore, timestep, noise):
    torch = import_module("torch")
    logits, _ = model(input_dict, list(state_batches), None)
    dist = policy.dist_class(logits)
    actions = dist.sample(noise["action"]) if explore else dist.deterministic_sample()
    assert isinstance(actions, torch.Tensor)
    return actions, dist.logp(actions)


def extra(policy, input_dict, state_batches, model, action_dist, noise):
    return {"value_now": model.value_function()}


def test_unmarked_hooks_run_on_tensors():
    policy = Custom.with_updates(action_sampler_fn=sampler)(VECTOR, TWO, {"seed": 0})
    assert policy.inference == ("framework", "action_sampler_fn is not marked @xp_only")
    plain = Custom(VECTOR, TWO, {"seed": 0})
    obs, noise = np.ones((6, 3), np.float32), {"action": np.linspace(0.05, 0.95, 6, dtype="f4")}
    actions, _, columns = policy.compute_actions(obs, noise=noise)
    expected, _, plain_columns = plain.compute_actions(obs, noise=noise)
    assert_array_equal(actions, expected)
    assert_allclose(columns["action_logp"], plain_columns["action_logp"], atol=1e-5)


def test_extra_columns_of_torch_hooks_are_stored():
    policy = Custom.with_updates(extra_action_out_fn=extra)(VECTOR, TWO, {"seed": 0})
    batch = random_fragment(policy)
    assert_allclose(batch["value_now"], batch["vf_preds"], atol=1e-5)


def test_marked_hooks_keep_numpy():
    definition = Custom.with_updates(extra_action_out_fn=xp_only(lambda *args: {}))
    assert definition(VECTOR, TWO, {"seed": 0}).inference[0] == "numpy"


def test_a_definition_may_ask_for_history():
    needs = Needs(act={"prev_rewards": ("rewards", (-1,))})
    policy = Custom.with_updates(needs=needs)(VECTOR, TWO, {"seed": 0})
    assert "prev_rewards" in random_fragment(policy)


def test_framework_inference_can_be_asked_for():
    policy = Custom(VECTOR, TWO, {"seed": 0, "inference": "framework"})
    assert policy.inference == ("framework", "inference='framework' was asked for")
    obs = np.ones((2, 3), np.float32)
    numpy_policy = Custom(VECTOR, TWO, {"seed": 0})
    ours, theirs = (p.compute_actions(obs)[2]["action_dist_inputs"] for p in (policy, numpy_policy))
    assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
