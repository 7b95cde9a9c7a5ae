"""Equal weights and batches give equal losses, gradients and steps, whatever the framework."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from learning import CONFIGS, TWO, VECTOR, Learning, Surrogate, normals, outputs
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy import build_policy, discounted, load_policy
from rl_policy.testing import check_parity, random_fragment

pytestmark = [pytest.mark.torch, pytest.mark.tensorflow]

BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])
FRAMEWORKS = ("torch", "tf", "tf2")


def policy_gradient_loss(policy, model, dist_class, train_batch):
    logits, xp = outputs(model, train_batch)
    logp = dist_class(logits, model).logp(train_batch["actions"])
    return -xp.mean(logp * train_batch["advantages"])


Simple = build_policy("Simple", loss_fn=policy_gradient_loss, postprocess_fn=discounted)


@BOTH
@pytest.mark.parametrize(
    ("spaces", "model"),
    [
        ((VECTOR, TWO), {}),
        ((VECTOR, Box(-1.0, 1.0, (2,))), {"free_log_std": True, "vf_share_layers": True}),
        ((VECTOR, MultiDiscrete([2, 3])), {"use_lstm": True, "max_seq_len": 4}),
        ((Dict({"a": Discrete(3), "b": VECTOR}), Dict({"x": TWO, "y": VECTOR})), {}),
    ],
    ids=["categorical", "gaussian", "lstm", "nested"],
)
def test_the_surrogate_loss(spaces, model, dtype):
    check_parity(Surrogate, *spaces, {"model": model, "grad_clip": 0.1}, dtype=dtype)


@BOTH
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_the_policy_gradient_loss(optimizer, dtype):
    config = {"optimizer": optimizer, "lr": 0.01}
    check_parity(Simple, VECTOR, Discrete(3), config, frameworks=("torch", "tf2"), dtype=dtype)


def test_a_difference_is_told():
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        return xp.mean(logits) * (2.0 if policy.framework == "tf2" else 1.0)

    with pytest.raises(AssertionError, match="tf2 against torch, float32: gradient of .* off by"):
        check_parity(build_policy("P", loss_fn=loss), VECTOR, TWO, frameworks=("torch", "tf2"))


def test_float64_is_kept_through_an_update():
    testing = import_module("rl_policy.testing")
    for framework, package in (("torch", "torch"), ("tf", "tf")):
        with testing.default_float(package, "float64"):
            policy = Learning(framework).make()
        policy.learn_on_batch(normals())
        assert {a.dtype for a in policy.get_weights().values()} == {np.dtype("float64")}


def assert_alike(first, second, rtol=1e-4):
    left, right = first.state_dict(), second.state_dict()
    for part in ("weights", "target"):
        assert left[part].keys() == right[part].keys()
        for name, array in left[part].items():
            assert_allclose(array, right[part][name], rtol=rtol, atol=1e-5, err_msg=name)


def test_minibatches_are_of_the_same_sequences():
    """Graphs pad further than torch does; how many updates there are must not hang on that."""
    model = {"use_gru": True, "max_seq_len": 8, "burn_in": 2}
    policies = [
        Surrogate(VECTOR, TWO, {"seed": 3, "model": model, **CONFIGS[w]}) for w in FRAMEWORKS
    ]
    batch = random_fragment(policies[0], slots=6, rows=3)  # no sequence is 8 rows long
    for policy in policies:
        policy.learn_on_batch(batch, epochs=2, minibatch_size=20, rng=np.random.default_rng(0))
    assert len({policy.state_dict()["updates"] for policy in policies}) == 1
    for policy in policies[1:]:
        assert_alike(policies[0], policy)


@pytest.mark.parametrize("way", [("torch", "tf"), ("tf", "torch"), ("tf2", "torch")])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_training_goes_on_in_another_framework(way, optimizer):
    """Epochs of minibatches, the target, filter, schedules and coefficients included."""
    config = {
        "optimizer": optimizer,
        "target_model": True,
        "observation_filter": "MeanStdFilter",
        "lr_schedule": [[0, 1e-3], [1000, 1e-4]],
    }
    stays, moved = (Surrogate(VECTOR, TWO, {"seed": 3, **config, **CONFIGS[w]}) for w in way)
    batches = [random_fragment(stays, seed=seed, rows=20) for seed in range(4)]
    for step, batch in enumerate(batches[:2]):
        stays.learn_on_batch(batch, step=100 * step, epochs=2, minibatch_size=30)
        stays.merge_filters([stays.filter_delta({"obs": batch["obs"]})])
        stays.update_target(0.3)
    moved.load_state_dict(stays.state_dict())
    assert_alike(stays, moved, rtol=0)
    for step, batch in enumerate(batches[2:]):
        for policy in (stays, moved):
            learned = policy.learn_on_batch(batch, step=300 + step, epochs=2, minibatch_size=30)
            policy.update_target(0.3)
        assert np.isfinite(learned.stats["total_loss"])
    assert_alike(stays, moved)
    assert stays.state_dict()["updates"] == moved.state_dict()["updates"]
    left, right = stays.state_dict()["optimizers"], moved.state_dict()["optimizers"]
    assert left["default"].keys() == right["default"].keys()


def test_snapshots_and_artifacts_move_between_frameworks(tmp_path):
    policies = {w: Surrogate(VECTOR, TWO, {"seed": 3, **CONFIGS[w]}) for w in FRAMEWORKS}
    obs = random_fragment(policies["torch"])["obs"]
    policies["torch"].learn_on_batch(random_fragment(policies["torch"]), epochs=5)
    expected = policies["torch"].compute_actions(obs, explore=False)[2]["action_dist_inputs"]
    for policy in (policies["tf"], policies["tf2"]):
        policy.load(policies["torch"].snapshot())
        given = policy.compute_actions(obs, explore=False)[2]["action_dist_inputs"]
        assert_allclose(given, expected)
        saved = load_policy(policy.save(tmp_path / policy.framework))
        assert_allclose(
            saved.compute_actions(obs, explore=False)[2]["action_dist_inputs"], expected
        )


def test_the_nets_of_a_policy_act_in_the_framework_that_there_is(monkeypatch, tmp_path):
    """Also where torch saved it; a hook that torch must run is not replaced."""
    config = {"seed": 3, "framework": "torch", "inference": "framework"}
    policy = Surrogate(VECTOR, TWO, config)
    hook = Surrogate.with_updates(extra_action_out_fn=lambda *args: {})
    bound = hook(VECTOR, TWO, {"framework": "torch"}).actor_spec()
    obs = random_fragment(policy)["obs"]
    expected = policy.compute_actions(obs, explore=False)[2]["action_dist_inputs"]
    folder = policy.save(tmp_path / "policy")
    found = "rl_policy.config.find_spec"
    monkeypatch.setattr(found, lambda name: None if name == "torch" else object())
    loaded = load_policy(folder)
    given = loaded.compute_actions(obs, explore=False)[2]["action_dist_inputs"]
    assert type(loaded._actor.net).__name__ == "TFNet"
    assert_allclose(given, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ImportError, match="torch is not installed"):
        bound.build()


def test_acting_is_the_same_whatever_learns():
    obs = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    policies = (Surrogate(VECTOR, TWO, {"seed": 3, **CONFIGS[way]}) for way in FRAMEWORKS)
    first, *others = (policy.compute_actions(obs)[0] for policy in policies)
    for actions in others:
        assert_array_equal(actions, first)
