"""Learning with TensorFlow: graphs that are traced once, and losses and hooks written in it."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from learning import CONFIGS, TWO, VECTOR, Learning, Surrogate, ones, outputs, surrogate_loss
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy import build_policy, build_tf_policy, gae
from rl_policy.testing import random_fragment
from rl_sample import SampleBatch

pytestmark = pytest.mark.tensorflow

MODES = [name for name in CONFIGS if name != "torch"]
TRACED = ["tf", "tf2 traced"]


def make(*args, mode="tf", **keywords):
    return Learning(mode).make(*args, **keywords)


@pytest.mark.parametrize("mode", MODES)
def test_the_policy_gradient_example_runs_as_written(mode):
    tf = import_module("tensorflow")

    def policy_gradient_loss(policy, model, dist_class, train_batch):
        logits, _ = model.from_batch(train_batch)
        action_dist = dist_class(logits, model)
        return -tf.reduce_mean(action_dist.logp(train_batch["actions"]) * train_batch["rewards"])

    MyTFPolicy = build_tf_policy(name="MyTFPolicy", loss_fn=policy_gradient_loss)
    policy = MyTFPolicy(VECTOR, TWO, {"lr": 0.01, "seed": 0, **CONFIGS[mode]})
    obs = np.random.default_rng(0).uniform(-1, 1, (64, 4)).astype(np.float32)
    for _ in range(60):
        actions = policy.compute_actions(obs)[0]
        rewards = np.where(actions == (obs[:, 0] > 0), 1.0, -1.0)
        policy.learn_on_batch(SampleBatch({"obs": obs, "actions": actions, "rewards": rewards}))
    chosen = policy.compute_actions(obs, explore=False)[0]
    assert (chosen == (obs[:, 0] > 0)).mean() > 0.9


# --------------------------------------------------------------------------------- traces


@pytest.mark.parametrize("mode", TRACED)
@pytest.mark.parametrize("lstm", [False, True])
def test_a_loss_is_traced_once_in_a_training_run(mode, lstm):
    """Batches of different sizes and padding, last minibatches that are smaller, whole batches."""
    traces = []

    def loss(policy, model, dist_class, train_batch):
        traces.append(1)
        return surrogate_loss(policy, model, dist_class, train_batch)

    model = {"use_lstm": lstm, "max_seq_len": 6}
    policy = build_policy("P", loss_fn=loss, postprocess_fn=gae)(
        VECTOR, TWO, {"seed": 0, "model": model, **CONFIGS[mode]}
    )
    for rows, end_every in ((30, 7), (20, 3), (11, 5), (30, 40)):
        batch = random_fragment(policy, slots=3, rows=rows, end_every=end_every)
        policy.learn_on_batch(batch, epochs=2, minibatch_size=40)
        policy.learn_on_batch(batch)
        policy.coeffs["lr"] *= 0.5
    assert len(traces) == 1
    policy.gradients(batch)
    policy.gradients(random_fragment(policy, slots=2, rows=9))
    assert len(traces) == 2


def test_columns_that_a_loss_does_not_read_may_come_and_go():
    traces = []

    def loss(policy, model, dist_class, train_batch):
        traces.append(1)
        logits, xp = outputs(model, train_batch)
        weights = train_batch.get("weights", 2.0)
        return xp.mean(weights + logits * 0.0)

    policy = make(loss)
    assert policy.learn_on_batch(ones(other=np.ones(4))).stats["total_loss"] == 2.0
    assert policy.learn_on_batch(ones(another=np.ones((4, 2)))).stats["total_loss"] == 2.0
    assert len(traces) == 1
    weights = np.full((4, 1), 5.0)
    assert policy.learn_on_batch(ones(weights=weights)).stats["total_loss"] == 5.0
    assert policy.learn_on_batch(ones()).stats["total_loss"] == 2.0
    assert len(traces) == 2


def test_a_traced_loss_cannot_read_python_objects():
    def loss(policy, model, dist_class, train_batch):
        lives = [info["lives"] for info in train_batch["infos"]]
        logits, xp = outputs(model, train_batch)
        return xp.mean(logits) * float(sum(lives))

    batch = ones(2, infos=np.array([{"lives": 1}, {"lives": 2}]))
    with pytest.raises(TypeError, match=r"'infos' holds Python objects.*set framework='tf2'"):
        make(loss).learn_on_batch(batch)
    assert np.isfinite(make(loss, mode="tf2").learn_on_batch(batch).stats["total_loss"])


def test_a_traced_loss_cannot_branch_on_values():
    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        total = xp.mean(logits)
        return total if total > 0 else -total

    with pytest.raises(TypeError, match=r"symbolic `tf.Tensor` as a Python `bool`"):
        make(loss).learn_on_batch(ones())
    make(loss, mode="tf2").learn_on_batch(ones())


@pytest.mark.parametrize("mode", MODES)
def test_graphs_see_coefficients_change(mode):
    """As `UpdateKL` doubles `kl_coeff` between updates."""

    def loss(policy, model, dist_class, train_batch):
        logits, xp = outputs(model, train_batch)
        return policy.coeffs["kl_coeff"] * xp.mean(xp.square(logits - 1.0))

    defaults = {"kl_coeff": 0.2, "coeffs": ("kl_coeff",), "lr": 0.0}
    policy = make(loss, mode=mode, get_default_config=lambda: defaults)
    losses = []
    for _ in range(3):
        losses.append(policy.learn_on_batch(ones()).stats["total_loss"])
        policy.coeffs["kl_coeff"] *= 2
    assert_allclose(np.divide(losses[1:], losses[:-1]), 2.0, rtol=1e-6)
    assert policy.coeffs["kl_coeff"] == pytest.approx(1.6)


@pytest.mark.parametrize("mode", MODES)
def test_metrics_of_a_model_are_those_of_the_last_update(mode):
    tf, ours = import_module("tensorflow"), import_module("rl_policy.tf")

    class Counts(ours.TFModel):
        def __init__(self, *args):
            super().__init__(*args)
            self.out = ours.Dense(4, self.num_outputs)
            self.mean = tf.constant(0.0)

        def forward(self, input_dict, state, seq_lens):
            self.mean = tf.reduce_mean(input_dict["obs_flat"])
            return self.out(input_dict["obs_flat"]), state

        def custom_loss(self, policy_loss, loss_inputs):
            return policy_loss + 100.0

        def metrics(self):
            return {"mean": self.mean, "answer": 42.0}

    policy = make(mode=mode, config={"model": {"custom_model": Counts}})
    for value in (1.0, 3.0):
        batch = SampleBatch({"obs": np.full((4, 4), value, np.float32)})
        stats = policy.learn_on_batch(batch, epochs=2, minibatch_size=2).stats
        assert (stats["mean"], stats["answer"]) == (value, 42.0)
        assert stats["total_loss"] > 100.0


# ---------------------------------------------------------------------- optimisers and hooks


@pytest.mark.parametrize("mode", MODES)
def test_a_keras_optimiser_learns_and_is_restored(mode):
    keras = import_module("keras")

    def optimizer(policy, config):
        return keras.optimizers.Adam(0.01)

    first, second = (make(mode=mode, optimizer_fn=optimizer) for _ in range(2))
    first.learn_on_batch(ones(), epochs=3)
    second.load_state_dict(first.state_dict())
    for policy in (first, second):
        policy.learn_on_batch(ones())
    for name, array in first.get_weights().items():
        assert_array_equal(array, second.get_weights()[name])


def test_a_schedule_sets_the_rate_of_a_keras_optimiser():
    keras = import_module("keras")
    config = {"lr_schedule": [[0, 1.0], [100, 0.0]]}
    policy = make(config=config, optimizer_fn=lambda *_: keras.optimizers.SGD(5.0))
    before = policy.get_weights()
    policy.learn_on_batch(ones(), step=100)
    for name, array in policy.get_weights().items():
        assert_array_equal(array, before[name])


@pytest.mark.parametrize("mode", MODES)
def test_gradient_hooks_work_on_pairs(mode):
    tf = import_module("tensorflow")

    def compute(policy, optimizer, loss):
        """As RLlib's losses clip."""
        pairs = optimizer.compute_gradients(loss, policy.model.trainable_variables)
        grads, variables = zip(*pairs, strict=True)
        clipped, _ = tf.clip_by_global_norm(grads, 0.002)
        return list(zip(clipped, variables, strict=True))

    def halve(policy, optimizer, loss):
        optimizer.grads = [grad / 2.0 for grad in optimizer.grads]
        return {"halved": 1.0}

    def apply(policy, optimizer, pairs):
        optimizer.apply_gradients([(grad, variable) for grad, variable in pairs])

    hooks = {"extra_grad_process_fn": halve, "apply_gradients_fn": apply}
    config = {"optimizer": "sgd", "lr": 1.0}
    policy = make(mode=mode, config=config, compute_gradients_fn=compute, **hooks)
    before = policy.get_weights()
    stats = policy.learn_on_batch(ones()).stats
    assert stats["halved"] == 1.0
    assert stats["grad_gnorm"] == pytest.approx(0.001, rel=1e-3)
    moved = sum(((a - before[n]) ** 2).sum() for n, a in policy.get_weights().items())
    assert np.sqrt(moved) == pytest.approx(0.001, rel=1e-3)


def test_optimisers_name_what_is_wrong():
    tf, ours = import_module("tensorflow"), import_module("rl_policy.tf")
    with pytest.raises(ValueError, match="no parameter at all"):
        ours.Adam([])
    with pytest.raises(ValueError, match=r"one dtype, got \['float32', 'float64'\]"):
        ours.SGD([tf.Variable(0.0), tf.Variable(0.0, dtype="float64")])
    sgd = ours.SGD([tf.Variable(0.0)])
    with pytest.raises(RuntimeError, match="within an update only"):
        sgd.compute_gradients(tf.constant(0.0))
    with pytest.raises(ValueError, match="1 gradients are for variables"):
        sgd.apply_gradients([(tf.constant(1.0), tf.Variable(0.0))])


@pytest.mark.parametrize("name", ["Adam", "RMSprop", "SGD"])
def test_steps_by_hand(name):
    """First steps from moments 0: Adam lr·g/(|g|+ε), RMSprop lr·g/(√(0.01 g²)+ε), SGD lr·g."""
    tf, ours = import_module("tensorflow"), import_module("rl_policy.tf")
    p = tf.Variable([1.0, -2.0])
    optimizer = getattr(ours, name)([p], **({} if name == "SGD" else {"epsilon": 1.0}))
    optimizer.grads = [tf.constant([3.0, -1.0])]
    optimizer.step(0.1)
    moves = {"Adam": [0.3 / 4, -0.1 / 2], "RMSprop": [0.3 / 1.3, -0.1 / 1.1], "SGD": [0.3, -0.1]}
    assert_allclose(p.numpy(), np.float32([1.0, -2.0]) - np.float32(moves[name]), rtol=1e-5)


# --------------------------------------------------------------------------------- memory


def resident_kib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_memory_stays_flat(mode):
    """After a hundred updates for warming up; benchmarks/memory.py does 2,000 in every mode."""
    policy = Surrogate(VECTOR, TWO, {"seed": 0, **CONFIGS[mode]})
    batch = random_fragment(policy, slots=2, rows=16)
    updates = 500 if mode == "tf2" else 2000  # eagerly one takes 20 ms

    def learn(count):
        for _ in range(count // 2):
            policy.learn_on_batch(batch, minibatch_size=16)  # two updates

    learn(100)
    before = resident_kib()
    learn(updates)
    assert resident_kib() - before < 2 * 1024 + 5 * updates  # a leak of 10 KiB each fails
