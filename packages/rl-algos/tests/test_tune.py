"""Algorithms as Tune's trainables, without a cluster."""

from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from rl_algos import PPO, ConfigError

SMALL = {
    "env": "CartPole-v1",
    "preset": None,
    "train_batch_size": 64,
    "num_envs_per_worker": 2,
    "sgd_minibatch_size": 32,
    "num_sgd_iter": 1,
    "fcnet_hiddens": [4],
    "seed": 3,
}


class Endless(gym.Env):
    """An episode that never ends."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, False, False, {}


@pytest.fixture
def tune(monkeypatch, tmp_path):
    """`rl_algos.tune`, whose trainables keep their files here when no experiment runs them."""
    from ray.tune.trainable import trainable

    monkeypatch.setattr(trainable, "DEFAULT_STORAGE_PATH", str(tmp_path / "logs"))
    return importlib.import_module("rl_algos.tune")


def test_without_ray_tune_the_import_says_what_to_install():
    code = "import sys; sys.modules['ray'] = None; import rl_algos; import rl_algos.tune"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: rl_algos.tune needs Ray Tune" in done.stderr
    assert "pip install 'rl-algos[tune]'" in done.stderr.splitlines()[-1]


@pytest.mark.extras
def test_every_registered_algorithm_has_a_trainable(tune):
    from rl_algos.registry import ALGORITHMS

    for name in ALGORITHMS:
        trainable = getattr(tune, f"{name}Trainer")
        assert trainable.__name__ == name  # what Tune calls experiments and trials
        assert pickle.loads(pickle.dumps(trainable)) is trainable
    with pytest.raises(AttributeError, match=r"'DQMTrainer'; trainers: .*PPOTrainer"):
        tune.DQMTrainer  # noqa: B018
    with pytest.raises(ConfigError, match="did you mean 'PPO'"):
        tune.make_trainable("PPOO")


@pytest.mark.extras
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"nm_workers": 2}, "did you mean 'num_workers'"),
        ({"stop": 3}, r"stop is a dict such as \{'episode_reward_mean': 475\}, not 3"),
        ({"stop": {"timesteps_total": None}}, "'timesteps_total' is a number to reach"),
    ],
)
def test_a_bad_config_is_refused_when_tune_asks_for_resources(tune, keys, message):
    with pytest.raises(ValueError, match=message):
        tune.PPOTrainer.default_resource_request({**SMALL, **keys})


@pytest.mark.extras
def test_a_trial_ends_as_its_config_says_and_then_wants_a_checkpoint(tune):
    trial = tune.PPOTrainer({**SMALL, "stop": {"timesteps_total": 200}})
    results = [trial.train() for _ in range(4)]
    trial.stop()
    assert [r["timesteps_total"] for r in results] == [64, 128, 192, 256]
    assert [r["done"] for r in results] == [False, False, False, True]
    assert [r["should_checkpoint"] for r in results] == [False, False, False, True]


@pytest.mark.extras
def test_the_presets_stop_holds_unless_the_config_has_another(tune, capfd):
    keys = {**SMALL, "preset": "auto"}
    for given, line in (
        ({}, "until episode_reward_mean 475 or timesteps_total 100,000"),
        ({"stop": {"episodes_total": 5}}, "until episodes_total 5"),
        ({"stop": {}}, "until Tune stops it"),
        ({"preset": None}, "until Tune stops it"),
    ):
        trial = tune.PPOTrainer({**keys, **given})
        trial.stop()
        assert capfd.readouterr().out.strip().endswith(line)


@pytest.mark.extras
def test_a_stop_key_that_no_result_has_is_an_error(tune):
    trial = tune.PPOTrainer({**SMALL, "stop": {"episode_reward_meen": 475}})
    with pytest.raises(ValueError, match="did you mean 'episode_reward_mean'"):
        trial.train()
    trial.stop()


@pytest.mark.extras
def test_the_first_result_waits_for_a_return_but_not_for_ever(tune, monkeypatch):
    pendulum = {**SMALL, "env": "Pendulum-v1"}  # 200 steps an episode, 32 an iteration
    trial = tune.PPOTrainer(pendulum)
    first, second = trial.train(), trial.train()
    trial.stop()
    assert (first["training_iteration"], second["training_iteration"]) == (7, 8)
    assert first["episode_reward_mean"] < 0
    assert first["time_this_iter_s"] == pytest.approx(trial.trainer.time_total_s, rel=0.9)
    assert first["time_this_iter_s"] == first["time_total_s"]
    monkeypatch.setattr(tune, "PATIENCE", 3)
    trial = tune.PPOTrainer({**SMALL, "env": Endless})
    first, second = trial.train(), trial.train()
    trial.stop()
    assert (first["training_iteration"], second["training_iteration"]) == (3, 4)
    assert "episode_reward_mean" not in second


@pytest.mark.extras
def test_each_result_holds_the_newest_evaluation(tune):
    keys = {"evaluation_interval": 2, "evaluation_duration": 1}
    trial = tune.PPOTrainer({**SMALL, **keys})
    results = [trial.train()["evaluation"] for _ in range(4)]
    trial.stop()
    assert all(result["episode_reward_mean"] > 0 for result in results)
    assert results[1] is not results[0]
    assert results[2] is results[1]
    assert results[3] is not results[2]


@pytest.mark.extras
def test_a_trials_checkpoint_is_a_checkpoint(tune, tmp_path):
    trial = tune.PPOTrainer(SMALL)
    trial.train()
    saved = trial.save(str(tmp_path / "kept")).checkpoint.path
    assert "manifest.json" in {entry.name for entry in Path(saved).iterdir()}
    again = tune.PPOTrainer(SMALL)
    again.restore(saved)
    with PPO.from_checkpoint(saved) as trainer:
        expected, result, direct = trial.train(), again.train(), trainer.train()
        for key in ("info", "episode_reward_mean", "timesteps_total", "training_iteration"):
            assert json.dumps(expected[key]) == json.dumps(result[key]) == json.dumps(direct[key])
    trial.stop()
    again.stop()


@pytest.mark.extras
def test_changed_hyperparameters_take_effect_and_all_else_is_restored(tune, tmp_path):
    keys = {**SMALL, "lr": 0.01, "entropy_coeff": 0.1, "kl_coeff": 0.2}
    good = tune.PPOTrainer(keys)
    good.train()
    coeffs = good.trainer.get_policy().coeffs
    coeffs["kl_coeff"] = 0.45  # adapted while training
    saved = good.save(str(tmp_path / "good")).checkpoint.path
    changed = {"lr": 0.02, "entropy_coeff": 0.3, "num_sgd_iter": 2, "gamma": 0.9}
    other = tune.PPOTrainer({**keys, **changed})
    other.restore(saved)
    policy = other.trainer.get_policy()
    for name, array in good.trainer.get_policy().get_weights().items():
        np.testing.assert_array_equal(policy.get_weights()[name], array)
    assert (policy.coeffs["lr"], policy.coeffs["entropy_coeff"]) == (0.02, 0.3)
    assert policy.coeffs["kl_coeff"] == 0.45
    stats = other.train()["info"]["learner"]["default_policy"]["learner_stats"]
    assert (stats["cur_lr"], stats["entropy_coeff"]) == (0.02, 0.3)
    assert other.trainer.config["gamma"] == 0.9
    good.stop()
    other.stop()


@pytest.mark.extras
def test_a_constant_in_place_of_a_schedule_takes_effect(tune, tmp_path):
    good = tune.PPOTrainer({**SMALL, "lr_schedule": [[0, 0.004], [128, 0.002]]})
    good.train()
    saved = good.save(str(tmp_path / "good")).checkpoint.path
    other = tune.PPOTrainer(SMALL)
    other.restore(saved)
    assert other.trainer.get_policy().coeffs["lr"] == 0.001  # the default
    good.stop()
    other.stop()


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore:.*episode:RuntimeWarning")
@pytest.mark.parametrize(
    "changed",
    [
        {"train_batch_size": 128},
        {"sgd_minibatch_size": 64},
        {"num_envs_per_worker": 4},
        {"rollout_fragment_length": 16},
        {"seed": 4},
        {"seed": None},
    ],
)
def test_sizes_and_seed_may_change_between_trials(tune, tmp_path, changed):
    good = tune.PPOTrainer(SMALL)
    good.train()
    saved = good.save(str(tmp_path / "good")).checkpoint.path
    other = tune.PPOTrainer({**SMALL, **changed})
    other.restore(saved)
    result = other.train()
    assert result["training_iteration"] == 2
    assert result["timesteps_total"] == 64 + changed.get("train_batch_size", 64)
    good.stop()
    other.stop()


@pytest.mark.extras
def test_reset_starts_over_with_another_config(tune):
    trial = tune.PPOTrainer(SMALL)
    trial.train()
    assert trial.reset({**SMALL, "lr": 0.05})
    result = trial.train()
    trial.stop()
    assert result["training_iteration"] == 1
    assert result["info"]["learner"]["default_policy"]["learner_stats"]["cur_lr"] == 0.05
