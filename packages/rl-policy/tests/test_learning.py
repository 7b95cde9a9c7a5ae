"""What learning does, whatever the framework: every test runs with each."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from learning import MARKS, TWO, VECTOR, Surrogate, normals, ones, outputs, squares
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy import build_policy, discounted, load_policy
from rl_policy.testing import check_policy, random_fragment
from rl_sample import SampleBatch
from rl_sample.protocols import Needs

HISTORY = {
    "use_lstm": True,
    "max_seq_len": 5,
    "lstm_use_prev_action": True,
    "lstm_use_prev_reward": True,
}
FILTER = {"observation_filter": "MeanStdFilter"}
SPACES = [
    (VECTOR, Discrete(3, start=1)),
    (Box(0, 255, (5,), np.uint8), MultiDiscrete([2, 3])),
    (Dict({"a": Discrete(4, start=1), "b": VECTOR}), Box(-2.0, np.float32([1.0, 2.0]), (2,))),
    (VECTOR, Dict({"x": Discrete(2), "y": Box(-1.0, 1.0, (2,))})),
]


WAYS = [
    pytest.param(name, spaces, lstm, marks=MARKS[name], id=f"{name}-{i}-{'lstm' if lstm else 'ff'}")
    for name in MARKS
    for i, spaces in enumerate(SPACES)
    for lstm in (False, True)
    if name == "torch" or (i, lstm) in ((1, False), (3, True))
]
"""All spaces and nets in PyTorch; elsewhere two pairs, for encoding and nets are tested alone."""


@pytest.mark.parametrize(("learning", "spaces", "lstm"), WAYS, indirect=["learning"])
def test_policies_keep_the_protocol(learning, spaces, lstm):
    config = {"seed": 0, "model": HISTORY if lstm else {}, **FILTER, **learning.config}
    check_policy(lambda: Surrogate(*spaces, config))


@pytest.mark.parametrize(("learning", "spaces", "lstm"), WAYS, indirect=["learning"])
def test_the_first_ratio_is_one(learning, spaces, lstm):
    """Acting in NumPy and learning see the same numbers, filter and history included."""
    config = {"seed": 1, "model": HISTORY if lstm else {}, **FILTER, **learning.config}
    policy = Surrogate(*spaces, config)
    for step in range(3):
        batch = random_fragment(policy, seed=step, slots=4, rows=30, end_every=7)
        deltas = [policy.filter_delta({k: v for k, v in batch.arrays.items() if k[:3] == "obs"})]
        learned = policy.learn_on_batch(batch, step=step)
        assert_allclose(learned.rows["ratio"], 1.0, atol=1e-5)
        assert learned.stats["kl"] == pytest.approx(0.0, abs=1e-6)
        policy.learn_on_batch(batch, epochs=3, minibatch_size=40)
        policy.merge_filters(deltas)


def test_masks_are_applied_alike_in_acting_and_learning(learning):
    space = Dict({"action_mask": Box(0, 1, (3,), np.int8), "x": VECTOR})
    policy = Surrogate(space, Discrete(3), {"seed": 0, **learning.config})
    for seed in range(2):
        batch = random_fragment(policy, seed=seed)
        assert (np.take_along_axis(batch["obs"]["action_mask"], batch["actions"][:, None], 1)).all()
        assert_allclose(policy.learn_on_batch(batch).rows["ratio"], 1.0, atol=1e-5)
        policy.learn_on_batch(batch, epochs=5)


def test_a_trained_policy_is_saved_and_acts_alike(learning, tmp_path):
    policy = Surrogate(VECTOR, TWO, {"seed": 0, **FILTER, **learning.config})
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
        (lambda xp, x: x, ValueError, r"'Small': the loss has shape \('?[8B]'?, 2\).*mean"),
        (lambda xp, x: 1.0, TypeError, "returned float; expected L, .L, stats"),
        (lambda xp, x: None, TypeError, "returned NoneType; expected L"),
        (lambda xp, x: (xp.mean(x), 3), TypeError, r"returned \(\w*Tensor, int\)"),
        (lambda xp, x: {"defualt": xp.mean(x)}, ValueError, "'defualt'; did you mean 'default'"),
    ],
)
def test_wrong_losses_are_explained(learning, result, error, message):
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        return result(xp, logits)

    with pytest.raises(error, match=message):
        learning.make(loss).learn_on_batch(ones(8))


def test_stats_are_averaged_and_rows_come_back_in_order(learning):
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        mean_id = xp.mean(xp.astype(train_batch["id"], "float32"))
        stats = {"mean_id": mean_id, "plain": 2.0}
        return xp.mean(logits), stats, {"id": train_batch["id"] * 10}

    policy = learning.make(loss)
    for size in (5, 4, None):
        batch = ones(10, id=np.arange(10))
        learned = policy.learn_on_batch(batch, epochs=3, minibatch_size=size)
        if size != 4:  # the last minibatch is smaller, and counts as much
            assert learned.stats["mean_id"] == pytest.approx(4.5)
        assert learned.stats["plain"] == 2.0
        assert_array_equal(learned.rows["id"], np.arange(10) * 10)


def test_rows_of_sequences_come_back_without_padding(learning):
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        assert len(train_batch["seq_lens"].shape) == 1
        return xp.mean(logits), {}, {"t": train_batch["rewards"]}

    policy = learning.make(loss, {"model": {"use_lstm": True, "max_seq_len": 3}})
    batch = random_fragment(policy, slots=2, rows=10, end_every=5)
    learned = policy.learn_on_batch(batch, epochs=2, minibatch_size=6)
    assert_array_equal(learned.rows["t"], batch["rewards"])


def test_rows_of_burn_in_are_not_learned_on(learning):
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        valid = xp.astype(train_batch["valid"], "float32")
        return xp.mean(logits), {"valid": xp.sum(valid)}, {"t": train_batch["rewards"]}

    policy = learning.make(loss, {"model": {"use_lstm": True, "max_seq_len": 3, "burn_in": 2}})
    batch = random_fragment(policy, slots=2, rows=10, end_every=5)
    learned = policy.learn_on_batch(batch)
    assert learned.stats["valid"] == 20.0
    assert_array_equal(learned.rows["t"], batch["rewards"])


def test_every_row_is_used_once_an_epoch(eager):
    seen = []

    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        seen.append(xp.to_numpy(train_batch["id"]).tolist())
        return xp.mean(logits)

    policy, batch = eager.make(loss), ones(10, id=np.arange(10))
    policy.learn_on_batch(batch, epochs=2, minibatch_size=4, rng=np.random.default_rng(0))
    assert [len(ids) for ids in seen] == [4, 4, 2, 4, 4, 2]
    assert sorted(chain(*seen[:3])) == sorted(chain(*seen[3:])) == list(range(10))
    assert seen[:3] != seen[3:]


def test_blocks_of_rows_stay_together(learning):
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        blocks = xp.reshape(xp.astype(train_batch["id"], "float32"), (-1, 3))
        together = xp.sum(xp.abs(blocks - blocks[:, :1] - blocks[0, 0] * 0.0), axis=0)
        return xp.mean(logits), {"gap": together[1] + together[2]}, {"id": train_batch["id"]}

    policy = learning.make(loss, get_batch_divisibility_req=lambda policy: 3)
    learned = policy.learn_on_batch(ones(12, id=np.arange(12)), minibatch_size=6)
    assert learned.stats["gap"] == 6.0  # in each of two blocks the others are 1 and 2 further on
    assert_array_equal(learned.rows["id"], np.arange(12))
    with pytest.raises(ValueError, match="blocks of 3 rows, and the batch has 10"):
        policy.learn_on_batch(ones(10))


# ------------------------------------------------------------------------------- bad numbers


def assert_equal_weights(left, right, **tolerance):
    for name, array in left.items():
        assert_allclose(array, right[name], err_msg=name, **(tolerance or {"rtol": 0}))


def test_a_loss_that_is_nan_leaves_the_weights(learning):
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        return xp.mean(xp.mean(logits, axis=1) * train_batch["rewards"])

    policy, before = learning.make(loss), learning.make(loss).get_weights()
    rewards = np.float32([1, np.nan, 1, 1])
    message = r"'Small': the loss is nan at env step 77 \(not finite in the batch: rewards\)"
    with pytest.raises(FloatingPointError, match=message):
        policy.learn_on_batch(ones(rewards=rewards), step=77)
    assert_equal_weights(policy.get_weights(), before)
    assert policy.state_dict()["updates"] == 0


def test_a_gradient_that_is_nan_leaves_the_weights(learning):
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        return xp.sum(xp.sqrt(logits * 0.0))  # slope of √ at 0

    policy, before = learning.make(loss), learning.make(loss).get_weights()
    with pytest.raises(FloatingPointError, match=r"the gradient is nan .*all columns are finite"):
        policy.learn_on_batch(ones())
    assert_equal_weights(policy.get_weights(), before)


def test_updates_before_the_bad_one_stay(learning):
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        return xp.mean(xp.mean(logits, axis=1) * train_batch["rewards"])

    policy, obs = learning.make(loss), np.ones((1, 4), np.float32)
    first = policy.compute_actions(obs, explore=False)[2]["action_dist_inputs"]
    rewards = np.float32([np.nan, *np.ones(9)])
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        policy.learn_on_batch(ones(10, rewards=rewards), epochs=3, minibatch_size=1)
    assert 0 < policy.state_dict()["updates"] < 10
    after = policy.compute_actions(obs, explore=False)[2]["action_dist_inputs"]
    assert np.isfinite(after).all()
    assert (after != first).all()


def test_missing_columns_are_named(learning):
    policy = learning.make(lambda p, model, d, batch: outputs(model, batch)[0] + batch["new_obs"])
    with pytest.raises(KeyError, match=r"declare needs=\['new_obs'\]"):
        policy.learn_on_batch(ones())
    with pytest.raises(ValueError, match="empty batch"):
        policy.learn_on_batch(ones(0))


def test_a_policy_without_loss_only_acts(learning):
    policy = learning.make(None)
    assert policy.compute_single_action(np.zeros(4, np.float32))[0] in TWO
    with pytest.raises(ValueError, match="'Small' has no loss_fn"):
        policy.learn_on_batch(ones())


# --------------------------------------------------------------------------- what losses see


def test_new_obs_comes_if_declared(learning):
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        assert train_batch["new_obs_flat"].shape[1:] == (4,)
        return xp.mean(logits), {}, {"new_obs": train_batch["new_obs"]}

    policy = learning.make(loss, needs=("new_obs",), postprocess_fn=discounted)
    batch = random_fragment(policy)
    assert_allclose(policy.learn_on_batch(batch).rows["new_obs"], batch["new_obs"])


def test_train_batches_are_mappings_of_nested_columns(learning):
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        assert "float64" in train_batch
        assert "nothing" not in train_batch
        assert train_batch.get("nothing") is None
        assert {"obs", "obs_flat", "float64", "nested"} <= set(train_batch)
        stats = {
            "float64": xp.mean(train_batch["float64"] + logits[:, 0] * 0.0),  # equal dtypes
            "b": xp.mean(xp.astype(train_batch["nested"]["b"][0], "float32")),
        }
        return xp.mean(logits), stats

    columns = {"float64": np.full(2, 3.0), "nested": {"a": np.zeros(2), "b": (np.arange(2),)}}
    stats = learning.make(loss).learn_on_batch(ones(2, **columns)).stats
    assert (stats["float64"], stats["b"]) == (3.0, 0.5)


def test_read_only_arrays_are_not_written_to(learning):
    obs = np.ones((4, 4), np.float32)
    obs.flags.writeable = False
    learning.make().learn_on_batch(SampleBatch({"obs": obs}))


def test_learning_noise_is_a_function_of_the_seed(learning):
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        return xp.mean(logits), {}, {"noise": train_batch["noise/target"]}

    needs = Needs(learn_noise={"target": ("normal", (2,))})
    drawn = []
    for _ in range(2):
        policy = learning.make(loss, needs=needs)
        drawn += [policy.learn_on_batch(ones(3), epochs=n).rows["noise"] for n in (1, 2)]
    assert drawn[0].shape == (3, 2)
    assert_array_equal(drawn[0], drawn[2])
    assert_array_equal(drawn[1], drawn[3])
    assert (drawn[0] != drawn[1]).all()


# ------------------------------------------------------------------- coefficients, optimisers


def test_the_learning_rate_follows_its_schedule(learning):
    config = {"lr_schedule": [[0, 1.0], [100, 0.0]], "optimizer": "sgd"}
    policy, batch = learning.make(config=config), ones()
    assert policy.learn_on_batch(batch, step=50).stats["cur_lr"] == pytest.approx(0.5)
    before = policy.get_weights()
    assert policy.learn_on_batch(batch, step=100).stats["cur_lr"] == 0.0
    assert_equal_weights(policy.get_weights(), before)
    policy.learn_on_batch(batch, step=90)
    assert (policy.get_weights()["policy/out/b"] != before["policy/out/b"]).all()


def test_losses_see_coefficients_change(learning):
    """Also those that were traced before."""

    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        penalty = policy.coeffs["beta"] * xp.mean(xp.square(logits - 1.0))
        return penalty, {"beta": policy.coeffs["beta"]}

    defaults = {"beta": 1.0, "coeffs": ("beta",), "lr": 0.0}
    policy = learning.make(loss, get_default_config=lambda: defaults)
    first = policy.learn_on_batch(ones(), epochs=2, minibatch_size=2).stats
    policy.coeffs["beta"] *= 2.0
    second = policy.learn_on_batch(ones(), epochs=2, minibatch_size=2).stats
    assert (first["beta"], second["beta"]) == (1.0, 2.0)
    assert second["total_loss"] == pytest.approx(2.0 * first["total_loss"], rel=1e-6)
    assert dict(policy.coeffs) == {"lr": 0.0, "beta": 2.0}


def test_gradients_are_clipped_by_their_global_norm(learning):
    sgd = {"optimizer": "sgd", "lr": 1.0}
    free = learning.make(config=sgd)
    clipped = learning.make(config={**sgd, "grad_clip": 0.1})
    before = free.get_weights()
    norms = [p.learn_on_batch(ones()).stats["grad_gnorm"] for p in (free, clipped)]
    assert norms[0] == pytest.approx(norms[1])
    moved = np.sqrt(sum(((a - before[n]) ** 2).sum() for n, a in clipped.get_weights().items()))
    assert moved == pytest.approx(0.1, rel=1e-4)


def test_gradients_and_apply_are_one_update(learning):
    batch = normals()
    one, two = (learning.make(config={"grad_clip": 0.5}) for _ in range(2))
    one.learn_on_batch(batch)
    grads, learned = two.gradients(batch)
    assert grads.keys() == two.get_weights().keys()
    assert_allclose(two.get_weights()["policy/out/b"], 0.0)
    two.apply(grads)
    assert_equal_weights(one.get_weights(), two.get_weights(), rtol=1e-6)
    assert learned.stats["total_loss"] > 0
    assert two.state_dict()["updates"] == 1
    with pytest.raises(ValueError, match=r"lack \['policy/out/b'\]"):
        two.apply({name: g for name, g in grads.items() if name != "policy/out/b"})
    with pytest.raises(ValueError, match=r"not there: \['nonsense'\]"):
        two.apply({**grads, "nonsense": np.zeros(1)})


def two_losses(policy, model, dist_class, train_batch):
    logits, xp = outputs(model, train_batch)
    return {
        "actor": xp.mean(xp.square(logits - 1)),
        "critic": xp.mean(xp.square(model.value_function() - 1)),
    }


def two_optimisers(policy, config):
    if policy.framework == "torch":
        from rl_policy.torch import SGD, Adam

        actor, critic = policy.model.policy.parameters(), policy.model.value.parameters()
    else:
        from rl_policy.tf import SGD, Adam

        actor, critic = policy.model.policy.variables, policy.model.value.variables
    return {"actor": Adam(actor, 0.01, every=2), "critic": SGD(critic, 0.1)}


def test_two_optimisers_take_turns(learning):
    policy = learning.make(two_losses, optimizer_fn=two_optimisers)
    weights = [policy.get_weights()]
    stats = policy.learn_on_batch(ones()).stats
    assert {"total_loss/actor", "grad_gnorm/actor", "total_loss/critic"} <= stats.keys()
    weights.append(policy.get_weights())
    assert "grad_gnorm/actor" not in policy.learn_on_batch(ones()).stats
    weights.append(policy.get_weights())
    first, second, third = weights
    assert (first["policy/out/b"] != second["policy/out/b"]).all()
    assert_array_equal(second["policy/out/b"], third["policy/out/b"])
    assert (second["value/out/b"] != third["value/out/b"]).all()
    norm = policy.learn_on_batch(ones(), epochs=4, minibatch_size=2).stats["grad_gnorm/actor"]
    assert np.isfinite(norm)


def test_a_loss_must_serve_every_optimiser(learning):
    def loss(policy, model, dist_class, train_batch):
        return {"actor": two_losses(policy, model, dist_class, train_batch)["actor"]}

    policy = learning.make(loss, optimizer_fn=two_optimisers)
    with pytest.raises(ValueError, match=r"the loss lacks optimizers \['critic'\]"):
        policy.learn_on_batch(ones())


@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd"])
def test_a_restored_policy_goes_on_alike(learning, name):
    batch = normals()
    config = {"optimizer": name, "target_model": True}
    first = learning.make(config=config)
    second = learning.make(config={**config, "seed": 5})
    first.learn_on_batch(batch, epochs=3, minibatch_size=2)
    first.update_target(0.5)
    second.load_state_dict(first.state_dict())
    for policy in (first, second):
        policy.learn_on_batch(batch, epochs=2, minibatch_size=4)
        policy.update_target(0.5)
    left, right = first.state_dict(), second.state_dict()
    for part in ("weights", "target"):
        assert_equal_weights(left[part], right[part])


def test_targets_follow_by_tau(learning):
    policy = learning.make(config={"target_model": True})
    source = {n: a + 1 for n, a in policy.get_weights().items()}
    policy.set_weights(source)
    policy.update_target(0.25)
    assert_allclose(policy.state_dict()["target"]["policy/out/b"], 0.25)
    policy.update_target()
    assert_allclose(policy.state_dict()["target"]["policy/out/b"], 1.0)
    assert learning.make().target_model is None


def test_losses_read_the_target(learning):
    """It lags behind, and no gradient changes it."""

    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        old, _ = policy.target_model.from_batch(train_batch)
        return xp.mean(xp.square(logits - 1.0)), {"moved": xp.mean(xp.abs(logits - old))}

    policy = learning.make(loss, {"target_model": True})
    assert policy.learn_on_batch(ones()).stats["moved"] == pytest.approx(0.0, abs=1e-7)
    assert policy.learn_on_batch(ones()).stats["moved"] > 1e-4
    policy.update_target()
    assert policy.learn_on_batch(ones()).stats["moved"] == pytest.approx(0.0, abs=1e-7)


def test_wrong_weights_and_optimisers_are_named(learning):
    with pytest.raises(ValueError, match="unknown optimizer 'adm'; did you mean 'adam'"):
        learning.make(config={"optimizer": "adm"})
    policy = learning.make()
    weights = policy.get_weights()
    with pytest.raises(ValueError, match=r"another model: missing \['value/out/b'\]"):
        policy.set_weights({n: a for n, a in weights.items() if n != "value/out/b"})
    with pytest.raises(ValueError, match=r"'value/out/b' has shape \(3,\), the model wants \(1,\)"):
        policy.set_weights({**weights, "value/out/b": np.zeros(3)})


def test_an_optimiser_refuses_the_state_of_another(learning):
    state = learning.make(config={"optimizer": "rmsprop"}).state_dict()
    with pytest.raises(
        ValueError, match=r"optimizer 'default' belongs to another one: missing \['m/"
    ):
        learning.make().load_state_dict(state)


# -------------------------------------------------------------------------------------- hooks


def test_hooks_around_the_loss_are_called(learning):
    calls = []

    def record(name, result=None):
        def hook(*args):
            calls.append(name)
            return result

        return hook

    def grad_stats(policy, train_batch, grads):
        calls.append("grad_stats_fn")
        assert len(grads) == len(policy.get_weights()) if policy.framework == "torch" else True
        return {"b": 2.0}

    policy = learning.make(
        validate_spaces=record("validate_spaces"),
        before_init=record("before_init"),
        before_loss_init=record("before_loss_init"),
        after_init=record("after_init"),
        stats_fn=record("stats_fn", {"a": 1.0}),
        grad_stats_fn=grad_stats,
        extra_learn_fetches_fn=record("extra_learn_fetches_fn", {"c": 3.0}),
    )
    assert calls == ["validate_spaces", "before_init", "before_loss_init", "after_init"]
    learned = policy.learn_on_batch(ones())
    assert calls[4:] == ["stats_fn", "grad_stats_fn", "extra_learn_fetches_fn"]
    expected = {"a": 1.0, "b": 2.0, "c": 3.0}
    assert learned.stats | expected == learned.stats


def test_mixins_come_first(learning):
    class Loud:
        def greet(self):
            return f"I am {self.name}"

        def is_recurrent(self):
            return "overridden"

    policy = learning.make(mixins=(Loud,))
    assert policy.greet() == "I am Small"
    assert policy.is_recurrent() == "overridden"


def test_first_weights_and_noise_follow_from_the_seed(learning):
    obs = np.ones((5, 4), np.float32)
    one, same, other = (learning.make(config={"seed": seed}) for seed in (1, 1, 2))
    assert_array_equal(one.compute_actions(obs)[0], same.compute_actions(obs)[0])
    assert not np.array_equal(
        one.get_weights()["policy/out/w"], other.get_weights()["policy/out/w"]
    )


def test_the_framework_that_learns_is_told(learning):
    assert learning.make().framework == learning.config["framework"]
    assert learning.make().inference == ("numpy", "catalogue model on a CPU")
    assert build_policy("P", loss_fn=squares).framework is None
