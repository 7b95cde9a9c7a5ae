"""PPO's, A2C's and PG's losses and the KL rule, by numbers one can redo on paper."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium.spaces import Discrete

from rl_algos import PPOConfig, pg_loss, ppo_loss
from rl_algos.a2c import a2c_loss
from rl_algos.ppo import UpdateKL
from rl_policy import make_action_dist
from rl_sample.protocols import Learned

HALF = np.log(0.5)
TWO_ACTIONS = make_action_dist(Discrete(2))


class Net:
    """Two actions of equal probability and the value 1 in every row."""

    def from_batch(self, train_batch):
        rows = len(train_batch["actions"])
        self.values = np.ones(rows, np.float32)
        return np.zeros((rows, 2), np.float32), []

    def value_function(self):
        return self.values


def policy(**keys):
    config = {**PPOConfig().policy_keys(), **keys}
    names = ("clip_param", "vf_loss_coeff", "entropy_coeff", "kl_coeff")
    return SimpleNamespace(config=config, coeffs={name: config[name] for name in names})


def batch(ratio, advantages, targets=0.0):
    """Rows whose probability ratio new/old is `ratio`."""
    rows = len(ratio)
    return {
        "actions": np.zeros(rows, np.int64),
        "action_logp": (HALF - np.log(ratio)).astype(np.float32),
        "action_dist_inputs": np.zeros((rows, 2), np.float32),
        "advantages": np.array(advantages, np.float32),
        "value_targets": np.full(rows, targets, np.float32),
        "vf_preds": np.zeros(rows, np.float32),
    }


def stats(rows, **keys):
    return ppo_loss(policy(**keys), Net(), TWO_ACTIONS, rows)[1]


@pytest.mark.parametrize(
    ("ratio", "advantage", "surrogate"),
    [
        (1.0, 3.0, 3.0),
        (1.5, 2.0, 2.4),  # clipped at 1.2: no reason to go further
        (0.5, 2.0, 1.0),  # not clipped: the way back is open
        (1.5, -2.0, -3.0),
        (0.5, -2.0, -1.6),
    ],
)
def test_the_surrogate_is_the_pessimistic_one(ratio, advantage, surrogate):
    found = stats(batch([ratio], [advantage]))
    assert found["policy_loss"] == pytest.approx(-surrogate, rel=1e-5)
    assert found["clip_fraction"] == (ratio != 1.0)


def test_the_total_weighs_its_terms():
    loss, found = ppo_loss(
        policy(vf_loss_coeff=0.5, entropy_coeff=0.1), Net(), TWO_ACTIONS, batch([1.0], [3.0], 5.0)
    )
    assert found["vf_loss"] == pytest.approx((1 - 5) ** 2)
    assert found["entropy"] == pytest.approx(np.log(2))
    assert loss == pytest.approx(-3 + 0.5 * 16 - 0.1 * np.log(2), rel=1e-5)


def test_clipped_values_go_no_further_than_the_range():
    # value 1, old value 0, target 5: within 0.5 of the old one it would be 0.5
    assert stats(batch([1.0], [0.0], 5.0), vf_clip_range=0.5)["vf_loss"] == pytest.approx(4.5**2)
    # towards a target of -5 the unclipped value is the worse one
    assert stats(batch([1.0], [0.0], -5.0), vf_clip_range=0.5)["vf_loss"] == pytest.approx(6**2)


def test_kl_is_an_estimate_to_watch_unless_it_is_in_the_loss():
    rows = batch([2.0], [0.0])
    assert stats(rows)["kl"] == pytest.approx(2 - 1 - np.log(2), rel=1e-5)
    rows["action_dist_inputs"] = np.array([[np.log(3.0), 0.0]], np.float32)
    exact = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    loss, found = ppo_loss(policy(kl_coeff=2.0), Net(), TWO_ACTIONS, rows)
    assert found["kl"] == pytest.approx(exact, rel=1e-5)
    assert loss == pytest.approx(2 * exact + 0.5 * 1.0, rel=1e-5)


def test_padding_counts_nowhere():
    rows = batch([1.0, 1.5], [3.0, 100.0], 5.0)
    rows["valid"] = np.array([True, False])
    found = stats(rows)
    assert found["policy_loss"] == pytest.approx(-3.0)
    assert found["clip_fraction"] == 0


@pytest.mark.torch
def test_torch_gives_what_numpy_gives():
    import torch

    rows = batch([0.7, 1.0, 1.6], [1.0, -2.0, 3.0], 2.0)
    tensors = {name: torch.from_numpy(column) for name, column in rows.items()}

    class TorchNet(Net):
        def from_batch(self, train_batch):
            logits, state = super().from_batch(rows)
            self.values = torch.from_numpy(self.values)
            return torch.from_numpy(logits), state

    for keys in ({}, {"kl_coeff": 0.3, "vf_clip_range": 0.5, "entropy_coeff": 0.1}):
        loss, found = ppo_loss(policy(**keys), TorchNet(), TWO_ACTIONS, tensors)
        expected, other = ppo_loss(policy(**keys), Net(), TWO_ACTIONS, rows)
        assert float(loss) == pytest.approx(float(expected), rel=1e-5)
        assert {k: float(v) for k, v in found.items()} == pytest.approx(other, rel=1e-5)


def test_pg_is_minus_logp_times_return():
    rows = batch([1.0, 1.0], [1.0, 3.0])
    assert pg_loss(policy(), Net(), TWO_ACTIONS, rows) == pytest.approx(-HALF * 2)


def test_a2c_weighs_policy_values_and_entropy():
    rows = batch([1.0, 1.0], [1.0, 3.0], targets=3.0)
    keys = policy(vf_loss_coeff=0.25, entropy_coeff=0.1)
    total, found = a2c_loss(keys, Net(), TWO_ACTIONS, rows)
    assert found["policy_loss"] == pytest.approx(-HALF * 2)  # mean advantage 2
    assert found["vf_loss"] == pytest.approx((1 - 3) ** 2)
    assert total == pytest.approx(-HALF * 2 + 0.25 * 4 + 0.1 * HALF)


@pytest.mark.parametrize(
    ("kl", "coeff"), [(0.021, 1.5), (0.0199, 1.0), (0.0051, 1.0), (0.0049, 0.5)]
)
def test_the_kl_weight_follows_the_target(kl, coeff):
    learner = SimpleNamespace(coeffs={"kl_coeff": 1.0})
    update = UpdateKL(SimpleNamespace(learners={"p": learner}), target=0.01)
    item = (None, {"p": Learned({"kl": kl})})
    assert update(item) is item
    assert learner.coeffs["kl_coeff"] == coeff
