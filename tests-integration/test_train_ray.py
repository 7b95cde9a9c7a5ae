"""The same training with rollout workers on Ray."""

from __future__ import annotations

import numpy as np
import pytest
from clusters import local_cluster
from toy_envs import Corridor, LeavingAgents, own_policy

from rl_algos import PPO

pytestmark = pytest.mark.ray

SMALL = {
    "env": Corridor,
    "train_batch_size": 256,
    "num_envs_per_worker": 4,
    "sgd_minibatch_size": 64,
    "num_sgd_iter": 4,
    "lr": 0.01,
    "fcnet_hiddens": [16],
    "num_workers": 2,
    "num_cpus_per_worker": 0.5,
    "seed": 1,
}


@pytest.fixture(autouse=True, scope="module")
def ray_cluster():
    with local_cluster():
        yield


def _imported(worker):
    import sys

    return sorted({"torch", "tensorflow", "keras"} & sys.modules.keys())


@pytest.mark.parametrize("framework", ["torch", "tf"])
def test_ppo_learns_with_two_workers_that_import_no_framework(tmp_path, framework):
    import ray

    with PPO({**SMALL, "framework": framework}) as trainer:
        for _ in range(10):
            result = trainer.train()
        loaded = [w.apply.remote(_imported) for w in trainer.workers.remote_workers]
        assert ray.get(loaded) == [[], []]
        path = trainer.save(tmp_path)
        weights = trainer.get_policy().get_weights()
    assert result["timesteps_total"] == 2560
    assert result["num_healthy_workers"] == 2
    assert result["episode_reward_mean"] > 0.5
    assert result["timers"]["env_time_ms"] > 0
    with PPO.from_checkpoint(path, num_workers=0) as local:
        for name, array in local.get_policy().get_weights().items():
            np.testing.assert_array_equal(array, weights[name])
        assert local.train()["training_iteration"] == 11


def test_a_keras_model_acts_in_workers_that_import_tensorflow_only():
    import ray

    model = {"custom_model": "toy_keras:Net", "custom_model_config": {"units": 8}}
    with PPO({**SMALL, "framework": "tf", "model": model}) as trainer:
        for _ in range(2):
            result = trainer.train()
        loaded = [w.apply.remote(_imported) for w in trainer.workers.remote_workers]
        assert ray.get(loaded) == [["keras", "tensorflow"]] * 2
    assert result["timesteps_total"] == 512
    assert result["inference"]["default_policy"]["engine"] == "framework"


def test_two_policies_on_two_workers():
    keys = {**SMALL, "env": LeavingAgents, "train_batch_size": 160}
    two = {"policies": {"short": None, "long": None}, "policy_mapping_fn": own_policy}
    with PPO({**keys, **two}) as trainer:
        result = trainer.train()
    assert result["info"]["learner"].keys() == {"short", "long"}
    assert result["timesteps_total"] == 160
