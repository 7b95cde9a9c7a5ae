"""Two agents, two policies, one of them leaving early."""

from __future__ import annotations

import numpy as np
import pytest
from toy_envs import LeavingAgents, own_policy
from toy_policies import Bandit

from rl_algos import PPO, ConfigError
from rl_policy import PolicySpec

SMALL = {
    "env": LeavingAgents,
    "train_batch_size": 160,
    "num_envs_per_worker": 2,
    "sgd_minibatch_size": 32,
    "num_sgd_iter": 4,
    "lr": 0.01,
    "fcnet_hiddens": [16],
    "seed": 1,
}
TWO = {"policies": {"short": None, "long": None}, "policy_mapping_fn": own_policy}


def test_each_agent_learns_with_its_own_policy():
    with PPO({**SMALL, **TWO}) as trainer:
        for _ in range(10):
            result = trainer.train()
    assert result["timesteps_total"] == 1600
    assert 0 < result["agent_timesteps_total"] < 3200
    assert result["info"]["learner"].keys() == {"short", "long"}
    assert result["policy_reward_mean"]["short"] > 4.0  # of 5
    assert result["policy_reward_mean"]["long"] > 8.0  # of 10


def test_a_policy_that_does_not_train_stays_as_it_is():
    with PPO({**SMALL, **TWO, "policies_to_train": ["long"]}) as trainer:
        before = trainer.get_policy("short").get_weights()
        result = trainer.train()
        for name, array in trainer.get_policy("short").get_weights().items():
            np.testing.assert_array_equal(array, before[name])
    assert result["info"]["learner"].keys() == {"long"}


def test_one_policy_plays_all_agents():
    with PPO(SMALL) as trainer:
        assert trainer.train()["info"]["learner"].keys() == {"default_policy"}


def test_a_policy_may_have_a_config_of_its_own(tmp_path):
    specs = {"short": PolicySpec(config={"lr": 0.5, "model": {"fcnet_hiddens": [4]}}), "long": None}
    keys = {**SMALL, **TWO, "policies": specs}
    with PPO(keys) as trainer:
        assert trainer.get_policy("short").config["lr"] == 0.5
        assert trainer.get_policy("long").config["lr"] == 0.01
        trainer.train()
        path = trainer.save(tmp_path)
    with PPO.from_checkpoint(path, policies=specs) as again:
        again.train()
        assert again.iteration == 2


def test_an_unknown_policy_is_named():
    with PPO({**SMALL, **TWO}) as trainer, pytest.raises(KeyError, match="no policy 'default_pol"):
        trainer.get_policy()


def test_policies_need_a_mapping():
    with pytest.raises(ConfigError, match="policy_mapping_fn"):
        PPO({**SMALL, "policies": {"short": None, "long": None}})


def test_a_numpy_policy_learns_beside_a_torch_policy():
    specs = {"short": PolicySpec(Bandit), "long": None}
    with PPO({**SMALL, **TWO, "policies": specs}) as trainer:
        learners = trainer.train()["info"]["learner"]
        assert trainer.get_policy("short").totals.any()
    assert "best" in learners["short"]["learner_stats"]
    assert "policy_loss" in learners["long"]["learner_stats"]
