from __future__ import annotations

from importlib import import_module
from itertools import chain

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy import build_policy, build_torch_policy, discounted, gae, load_policy, masked_mean
from rl_policy.testing import check_policy, random_fragment
from rl_policy.xp import array_namespace
from rl_sample import SampleBatch
from rl_sample.protocols import Needs

pytestmark = pytest.mark.torch

VECTOR, TWO = Box(-1.0, 1.0, (4,)), Discrete(2)
HISTORY = {"use_lstm": True, "lstm_use_prev_action": True, "lstm_use_prev_reward": True}


def surrogate_loss(policy, model, dist_class, train_batch):
    """PPO's without its clip, and the ratio as rows."""
    logits, _ = model.from_batch(train_batch)
    xp, dist = array_namespace(logits), dist_class(logits, model)
    ratio = xp.exp(dist.logp(train_batch["actions"]) - train_batch["action_logp"])
    old = dist_class(train_batch["action_dist_inputs"])
    error = model.value_function() - train_batch["value_targets"]
    losses = {
        "policy_loss": -masked_mean(ratio * train_batch["advantages"], train_batch),
        "vf_loss": masked_mean(xp.square(error), train_batch),
        "kl": masked_mean(old.kl(dist), train_batch),
    }
    return sum(losses.values()), losses, {"ratio": ratio}


Surrogate = build_policy("Surrogate", loss_fn=surrogate_loss, postprocess_fn=gae)


def squares(policy, model, dist_class, train_batch):
    logits, _ = model.from_batch(train_batch)
    return (logits - 1.0).pow(2).mean()


def make(loss_fn=squares, config=None, **keywords):
    definition = build_torch_policy("Small", loss_fn=loss_fn, **keywords)
    return definition(VECTOR, TWO, {"seed": 0, **(config or {})})


SPACES = [
    (VECTOR, Discrete(3, start=1)),
    (Box(0, 255, (5,), np.uint8), MultiDiscrete([2, 3])),
    (Dict({"a": Discrete(4, start=1), "b": VECTOR}), Box(-2.0, np.float32([1.0, 2.0]), (2,))),
    (VECTOR, Dict({"x": Discrete(2), "y": Box(-1.0, 1.0, (2,))})),
]


@pytest.mark.parametrize("spaces", SPACES, ids=str)
@pytest.mark.parametrize("lstm", [False, True])
def test_policies_keep_the_protocol(spaces, lstm):
    config = {"seed": 0, "model": HISTORY if lstm else {}, "observation_filter": "MeanStdFilter"}
    check_policy(lambda: Surrogate(*spaces, config))


@pytest.mark.parametrize("spaces", SPACES, ids=str)
@pytest.mark.parametrize("lstm", [False, True])
def test_the_first_ratio_is_one(spaces, lstm):
    """Acting in NumPy and learning in torch see the same numbers, filter and history included."""
    config = {"seed": 1, "model": HISTORY if lstm else {}, "observation_filter": "MeanStdFilter"}
    policy = Surrogate(*spaces, config)
    for step in range(3):
        batch = random_fragment(policy, seed=step, slots=4, rows=30, end_every=7)
        deltas = [policy.filter_delta({k: v for k, v in batch.arrays.items() if k[:3] == "obs"})]
        learned = policy.learn_on_batch(batch, step=step)
        assert_allclose(learned.rows["ratio"], 1.0, atol=1e-5)
        assert learned.stats["kl"] == pytest.approx(0.0, abs=1e-6)
        policy.learn_on_batch(batch, epochs=3, minibatch_size=40)
        policy.merge_filters(deltas)


def test_masks_are_applied_alike_in_acting_and_learning():
    space = Dict({"action_mask": Box(0, 1, (3,), np.int8), "x": VECTOR})
    policy = Surrogate(space, Discrete(3), {"seed": 0})
    for seed in range(2):
        batch = random_fragment(policy, seed=seed)
        assert (np.take_along_axis(batch["obs"]["action_mask"], batch["actions"][:, None], 1)).all()
        assert_allclose(policy.learn_on_batch(batch).rows["ratio"], 1.0, atol=1e-5)
        policy.learn_on_batch(batch, epochs=5)


def test_the_policy_gradient_example_runs_as_written():
    torch = import_module("torch")

    def policy_gradient_loss(policy, model, dist_class, train_batch):
        logits, _ = model.from_batch(train_batch)
        action_dist = dist_class(logits, model)
        return -torch.mean(action_dist.logp(train_batch["actions"]) * train_batch["rewards"])

    MyTorchPolicy = build_torch_policy(name="MyTorchPolicy", loss_fn=policy_gradient_loss)
    policy = MyTorchPolicy(VECTOR, TWO, {"lr": 0.01, "seed": 0})
    obs = np.random.default_rng(0).uniform(-1, 1, (64, 4)).astype(np.float32)
    for _ in range(60):
        actions = policy.compute_actions(obs)[0]
        rewards = np.where(actions == (obs[:, 0] > 0), 1.0, -1.0)
        policy.learn_on_batch(SampleBatch({"obs": obs, "actions": actions, "rewards": rewards}))
    chosen = policy.compute_actions(obs, explore=False)[0]
    assert (chosen == (obs[:, 0] > 0)).mean() > 0.9


def test_a_trained_policy_is_saved_and_acts_alike(tmp_path):
    policy = Surrogate(VECTOR, TWO, {"seed": 0, "observation_filter": "MeanStdFilter"})
    batch = random_fragment(policy)
    policy.learn_on_batch(batch, epochs=5)
    policy.merge_filters([policy.filter_delta({"obs": batch["obs"]})])
    loaded = load_policy(policy.save(tmp_path / "policy"))
    obs = random_fragment(policy, seed=5)["obs"]
    assert_array_equal(
        loaded.compute_actions(obs, explore=False)[0], policy.compute_actions(obs, explore=False)[0]
    )


# ---------------------------------------------------------------------------- forms of a loss


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (lambda x: x.pow(2), ValueError, r"'Small': the loss has shape \(8, 2\).*torch.mean"),
        (lambda x: 1.0, TypeError, "returned float; expected L, .L, stats"),
        (lambda x: None, TypeError, "returned NoneType; expected L"),
        (lambda x: (x.mean(), 3), TypeError, r"returned \(Tensor, int\)"),
        (lambda x: {"defualt": x.mean()}, ValueError, "'defualt'; did you mean 'default'"),
    ],
)
def test_wrong_losses_are_explained(result, error, message):
    policy = make(lambda p, model, d, batch: result(model.from_batch(batch)[0]))
    with pytest.raises(error, match=message):
        policy.learn_on_batch(SampleBatch({"obs": np.ones((8, 4), np.float32)}))


def test_stats_are_averaged_and_rows_come_back_in_order():
    def loss(policy, model, dist_class, train_batch):
        logits, _ = model.from_batch(train_batch)
        return (
            logits.mean(),
            {"mean_id": train_batch["id"].float().mean(), "plain": 2.0},
            {"id": train_batch["id"] * 10},
        )

    batch = SampleBatch({"obs": np.ones((10, 4), np.float32), "id": np.arange(10)})
    learned = make(loss).learn_on_batch(batch, epochs=3, minibatch_size=5)
    assert learned.stats["mean_id"] == pytest.approx(4.5)
    assert learned.stats["plain"] == 2.0
    assert_array_equal(learned.rows["id"], np.arange(10) * 10)


def test_rows_of_sequences_come_back_without_padding():
    def loss(policy, model, dist_class, train_batch):
        logits, _ = model.from_batch(train_batch)
        assert train_batch["seq_lens"].shape == (len(train_batch["state_in_0"]),)
        assert train_batch.count == len(logits)
        return logits.mean(), {}, {"t": train_batch["rewards"]}

    policy = make(loss, {"model": {"use_lstm": True, "max_seq_len": 3}})
    batch = random_fragment(policy, slots=2, rows=10, end_every=5)
    learned = policy.learn_on_batch(batch, epochs=2, minibatch_size=6)
    assert_array_equal(learned.rows["t"], batch["rewards"])


def test_every_row_is_used_once_an_epoch():
    seen = []

    def loss(policy, model, dist_class, train_batch):
        seen.append(train_batch["id"].tolist())
        return model.from_batch(train_batch)[0].mean()

    batch = SampleBatch({"obs": np.ones((10, 4), np.float32), "id": np.arange(10)})
    make(loss).learn_on_batch(batch, epochs=2, minibatch_size=4, rng=np.random.default_rng(0))
    assert [len(ids) for ids in seen] == [4, 4, 2, 4, 4, 2]
    assert sorted(chain(*seen[:3])) == sorted(chain(*seen[3:])) == list(range(10))
    assert seen[:3] != seen[3:]


def test_blocks_of_rows_stay_together():
    seen = []

    def loss(policy, model, dist_class, train_batch):
        seen.append(train_batch["id"].view(-1, 3)[:, 0].tolist())
        assert (train_batch["id"].view(-1, 3).diff() == 1).all()
        return model.from_batch(train_batch)[0].mean()

    policy = make(loss, get_batch_divisibility_req=lambda policy: 3)
    batch = SampleBatch({"obs": np.ones((12, 4), np.float32), "id": np.arange(12)})
    policy.learn_on_batch(batch, minibatch_size=6)
    assert sorted(chain(*seen)) == [0, 3, 6, 9]
    with pytest.raises(ValueError, match="blocks of 3 rows, and the batch has 10"):
        policy.learn_on_batch(batch[:10])


# ------------------------------------------------------------------------------- bad numbers


def test_a_loss_that_is_nan_leaves_the_weights():
    def loss(policy, model, dist_class, train_batch):
        return (model.from_batch(train_batch)[0].mean(1) * train_batch["rewards"]).mean()

    policy, before = make(loss), make(loss).get_weights()
    obs, rewards = np.ones((4, 4), np.float32), np.float32([1, np.nan, 1, 1])
    message = r"'Small': the loss is nan at env step 77 \(not finite in the batch: rewards\)"
    with pytest.raises(FloatingPointError, match=message):
        policy.learn_on_batch(SampleBatch({"obs": obs, "rewards": rewards}), step=77)
    for name, array in policy.get_weights().items():
        assert_array_equal(array, before[name])


def test_a_gradient_that_is_nan_leaves_the_weights():
    def loss(policy, model, dist_class, train_batch):
        return (model.from_batch(train_batch)[0] * 0.0).sqrt().sum()  # slope of √ at 0

    policy, before = make(loss), make(loss).get_weights()
    with pytest.raises(FloatingPointError, match=r"the gradient is nan .*all columns are finite"):
        policy.learn_on_batch(SampleBatch({"obs": np.ones((4, 4), np.float32)}))
    for name, array in policy.get_weights().items():
        assert_array_equal(array, before[name])


def test_missing_columns_are_named():
    policy = make(lambda p, model, d, batch: batch["new_obs"].mean())
    with pytest.raises(KeyError, match=r"declare needs=\['new_obs'\]"):
        policy.learn_on_batch(SampleBatch({"obs": np.ones((4, 4), np.float32)}))
    with pytest.raises(ValueError, match="empty batch"):
        policy.learn_on_batch(SampleBatch({"obs": np.ones((0, 4), np.float32)}))


def test_a_policy_without_loss_only_acts():
    policy = build_torch_policy("Heuristic")(VECTOR, TWO)
    assert policy.compute_single_action(np.zeros(4, np.float32))[0] in TWO
    with pytest.raises(ValueError, match="'Heuristic' has no loss_fn"):
        policy.learn_on_batch(SampleBatch({"obs": np.ones((4, 4), np.float32)}))


# --------------------------------------------------------------------------- what losses see


def test_new_obs_comes_if_declared():
    def loss(policy, model, dist_class, train_batch):
        assert_allclose(train_batch["new_obs"], batch["new_obs"])
        assert train_batch["new_obs_flat"].shape == (32, 4)
        return model.from_batch(train_batch)[0].mean()

    policy = make(loss, needs=("new_obs",), postprocess_fn=discounted)
    batch = random_fragment(policy)
    policy.learn_on_batch(batch)


def test_train_batches_are_lazy_mappings():
    def loss(policy, model, dist_class, train_batch):
        assert "big" in train_batch
        assert "nothing" not in train_batch
        assert {"obs", "obs_flat", "big", "nested"} <= set(train_batch)
        assert train_batch["nested"]["b"][0].tolist() == [0, 0]
        assert train_batch["float64"].dtype.is_floating_point
        assert train_batch["float64"].element_size() == 4
        assert "big" not in train_batch.loaded._tensors
        return model.from_batch(train_batch)[0].mean()

    columns = {"obs": np.ones((2, 4), np.float32), "big": np.zeros((2, 9)), "float64": np.zeros(2)}
    columns |= {"nested": {"a": np.zeros(2), "b": (np.zeros(2, np.int64),)}}
    make(loss).learn_on_batch(SampleBatch(columns))


def test_read_only_arrays_are_not_written_to():
    obs = np.ones((4, 4), np.float32)
    obs.flags.writeable = False
    make().learn_on_batch(SampleBatch({"obs": obs}))


def test_learning_noise_is_a_function_of_the_seed():
    drawn = []

    def loss(policy, model, dist_class, train_batch):
        drawn.append(train_batch["noise/target"].tolist())
        return model.from_batch(train_batch)[0].mean()

    needs = Needs(learn_noise={"target": ("normal", (2,))})
    batch = SampleBatch({"obs": np.ones((3, 4), np.float32)})
    for _ in range(2):
        make(loss, needs=needs).learn_on_batch(batch, epochs=2)
    assert np.shape(drawn) == (4, 3, 2)
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]


# ------------------------------------------------------------------- coefficients, optimisers


def test_the_learning_rate_follows_its_schedule():
    config = {"lr_schedule": [[0, 1.0], [100, 0.0]], "optimizer": "sgd"}
    policy = make(config=config)
    batch = SampleBatch({"obs": np.ones((4, 4), np.float32)})
    assert policy.learn_on_batch(batch, step=50).stats["cur_lr"] == pytest.approx(0.5)
    before = policy.get_weights()
    assert policy.learn_on_batch(batch, step=100).stats["cur_lr"] == 0.0
    for name, array in policy.get_weights().items():
        assert_array_equal(array, before[name])


def test_losses_see_coefficients_change():
    defaults = {"beta": 1.0, "coeffs": ("beta",)}

    def loss(policy, model, dist_class, train_batch):
        return model.from_batch(train_batch)[0].mean(), {"beta": policy.coeffs["beta"]}

    policy = make(loss, get_default_config=lambda: defaults)
    batch = SampleBatch({"obs": np.ones((4, 4), np.float32)})
    assert policy.learn_on_batch(batch).stats["beta"] == 1.0
    policy.coeffs["beta"] = 0.25
    assert policy.learn_on_batch(batch).stats["beta"] == 0.25


def test_gradients_are_clipped_by_their_global_norm():
    batch = SampleBatch({"obs": np.ones((4, 4), np.float32)})
    sgd = {"optimizer": "sgd", "lr": 1.0}
    free, clipped = make(config=sgd), make(config={**sgd, "grad_clip": 0.1})
    before = free.get_weights()
    norms = [p.learn_on_batch(batch).stats["grad_gnorm"] for p in (free, clipped)]
    assert norms[0] == pytest.approx(norms[1])
    moved = np.sqrt(sum(((a - before[n]) ** 2).sum() for n, a in clipped.get_weights().items()))
    assert moved == pytest.approx(0.1, rel=1e-4)


def test_gradients_and_apply_are_one_update():
    batch = SampleBatch({"obs": np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)})
    one, two = make(config={"grad_clip": 0.5}), make(config={"grad_clip": 0.5})
    one.learn_on_batch(batch)
    grads, learned = two.gradients(batch)
    assert grads.keys() == two.get_weights().keys()
    assert_allclose(two.get_weights()["policy/out/b"], 0.0)
    two.apply(grads)
    for name, array in one.get_weights().items():
        assert_allclose(array, two.get_weights()[name], rtol=1e-6)
    assert learned.stats["total_loss"] > 0
    with pytest.raises(ValueError, match=r"lack \['policy/out/b'\]"):
        two.apply({name: g for name, g in grads.items() if name != "policy/out/b"})
    with pytest.raises(ValueError, match=r"not there: \['nonsense'\]"):
        two.apply({**grads, "nonsense": np.zeros(1)})


def test_two_optimisers_take_turns():
    torch, ours = import_module("torch"), import_module("rl_policy.torch")

    def loss(policy, model, dist_class, train_batch):
        logits, _ = model.from_batch(train_batch)
        return {"actor": (logits - 1).pow(2).mean(), "critic": model.value_function().pow(2).mean()}

    def optimizers(policy, config):
        return {
            "actor": ours.Adam(policy.model.policy.parameters(), 0.01, every=2),
            "critic": torch.optim.SGD(policy.model.value.parameters(), lr=0.1),
        }

    policy = make(loss, optimizer_fn=optimizers)
    batch = SampleBatch({"obs": np.ones((4, 4), np.float32)})
    first = policy.get_weights()
    stats = policy.learn_on_batch(batch).stats
    assert {"total_loss/actor", "grad_gnorm/actor", "total_loss/critic"} <= stats.keys()
    second = policy.get_weights()
    assert "grad_gnorm/actor" not in policy.learn_on_batch(batch).stats
    third = policy.get_weights()
    assert (first["policy/out/b"] != second["policy/out/b"]).all()
    assert_array_equal(second["policy/out/b"], third["policy/out/b"])
    assert (second["value/out/b"] != third["value/out/b"]).all()


@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd"])
def test_a_restored_policy_goes_on_alike(name):
    batch = SampleBatch({"obs": np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)})
    config = {"optimizer": name, "target_model": True}
    first, second = make(config=config), make(config={**config, "seed": 5})
    first.learn_on_batch(batch, epochs=3, minibatch_size=2)
    first.update_target(0.5)
    second.load_state_dict(first.state_dict())
    for policy in (first, second):
        policy.learn_on_batch(batch, epochs=2, minibatch_size=4)
        policy.update_target(0.5)
    left, right = first.state_dict(), second.state_dict()
    for part in ("weights", "target"):
        for key, array in left[part].items():
            assert_array_equal(array, right[part][key])


def test_user_optimisers_are_restored_too():
    torch = import_module("torch")

    def optimizer(policy, config):
        return torch.optim.Adam(policy.model.parameters(), lr=0.01)

    batch = SampleBatch({"obs": np.ones((4, 4), np.float32)})
    first, second = make(optimizer_fn=optimizer), make(optimizer_fn=optimizer)
    first.learn_on_batch(batch, epochs=3)
    second.load_state_dict(first.state_dict())
    for policy in (first, second):
        policy.learn_on_batch(batch)
    for name, array in first.get_weights().items():
        assert_array_equal(array, second.get_weights()[name])


def test_targets_follow_by_tau():
    policy = make(config={"target_model": True})
    source = {n: a + 1 for n, a in policy.get_weights().items()}
    policy.set_weights(source)
    policy.update_target(0.25)
    bias = policy.target_model.policy.out.b.detach()
    assert_allclose(bias, 0.25)
    policy.update_target()
    assert_allclose(policy.target_model.policy.out.b.detach(), 1.0)
    assert make().target_model is None


def test_wrong_weights_and_optimisers_are_named():
    with pytest.raises(ValueError, match="unknown optimizer 'adm'; did you mean 'adam'"):
        make(config={"optimizer": "adm"})
    weights = make().get_weights()
    with pytest.raises(ValueError, match=r"another model: missing \['value/out/b'\]"):
        make().set_weights({n: a for n, a in weights.items() if n != "value/out/b"})
    with pytest.raises(ValueError, match=r"'value/out/b' has shape \(3,\), the model wants \(1,\)"):
        make().set_weights({**weights, "value/out/b": np.zeros(3)})


# -------------------------------------------------------------------------------------- hooks


def test_every_learning_hook_is_called():
    torch = import_module("torch")
    calls = []

    def record(name, result=None):
        def hook(*args):
            calls.append(name)
            return result

        return hook

    def compute(policy, optimizer, loss):
        calls.append("compute_gradients_fn")
        params = [p for group in optimizer.param_groups for p in group["params"]]
        grads = torch.autograd.grad(loss, params, allow_unused=True)
        return list(zip(grads, params, strict=True))

    def clip(policy, optimizer, loss):
        calls.append("extra_grad_process_fn")
        params = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(params, 0.001)
        return {"clipped": 1.0}

    def apply(policy, optimizer, pairs):
        calls.append("apply_gradients_fn")
        assert torch.stack([g.norm() for g, _ in pairs]).norm() == pytest.approx(0.001, rel=1e-2)
        with torch.no_grad():
            for grad, param in pairs:
                param -= grad

    policy = make(
        validate_spaces=record("validate_spaces"),
        before_init=record("before_init"),
        before_loss_init=record("before_loss_init"),
        after_init=record("after_init"),
        stats_fn=record("stats_fn", {"a": 1.0}),
        grad_stats_fn=record("grad_stats_fn", {"b": 2.0}),
        extra_learn_fetches_fn=record("extra_learn_fetches_fn", {"c": 3.0}),
        compute_gradients_fn=compute,
        extra_grad_process_fn=clip,
        apply_gradients_fn=apply,
    )
    setup = ["validate_spaces", "before_init", "before_loss_init", "after_init"]
    assert calls == setup
    learned = policy.learn_on_batch(SampleBatch({"obs": np.ones((4, 4), np.float32)}))
    assert calls[4:] == [
        "stats_fn",
        "compute_gradients_fn",
        "extra_grad_process_fn",
        "grad_stats_fn",
        "apply_gradients_fn",
        "extra_learn_fetches_fn",
    ]
    expected = {"a": 1.0, "b": 2.0, "c": 3.0, "clipped": 1.0}
    assert learned.stats | expected == learned.stats


def test_mixins_come_first():
    class Loud:
        def greet(self):
            return f"I am {self.name}"

        def is_recurrent(self):
            return "overridden"

    policy = make(mixins=(Loud,))
    assert policy.greet() == "I am Small"
    assert policy.is_recurrent() == "overridden"


def test_first_weights_and_noise_follow_from_the_seed():
    obs = np.ones((5, 4), np.float32)
    one, same, other = (make(config={"seed": seed}) for seed in (1, 1, 2))
    assert_array_equal(one.compute_actions(obs)[0], same.compute_actions(obs)[0])
    assert not np.array_equal(
        one.get_weights()["policy/out/w"], other.get_weights()["policy/out/w"]
    )
