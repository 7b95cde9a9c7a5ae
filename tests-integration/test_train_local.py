"""Training in this process, from a config to a checkpoint that acts."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from toy_envs import Corridor
from toy_policies import Bandit

from rl_algos import PG, PPO, CheckpointError, PPOConfig, build_trainer
from rl_policy import DEFAULT_POLICY_CONFIG, build_torch_policy, load_policy
from rl_workers.flow import NoExperience

SMALL = {
    "env": Corridor,
    "train_batch_size": 256,
    "num_envs_per_worker": 4,
    "sgd_minibatch_size": 64,
    "num_sgd_iter": 4,
    "fcnet_hiddens": [16],
    "seed": 1,
}


def test_ppo_learns_a_corridor():
    with PPO({**SMALL, "lr": 0.01}) as trainer:
        first = trainer.train()
        for _ in range(9):
            result = trainer.train()
        assert first["episode_reward_mean"] < 0.4 < 0.55 < result["episode_reward_mean"]
        assert trainer.compute_single_action(np.zeros(1, np.float32), explore=False) == 1


def test_pg_learns_a_corridor():
    keys = {"env": Corridor, "train_batch_size": 256, "seed": 1, "lr": 0.02}
    with PG(keys) as trainer:
        for _ in range(15):
            result = trainer.train()
        assert result["episode_reward_mean"] > 0.5


def test_a_result_has_rllibs_keys():
    with PPO(SMALL) as trainer:
        trainer.train()
        result = trainer.train()
    assert result["training_iteration"] == 2
    assert result["timesteps_total"] == result["num_env_steps_trained"] == 512
    assert result["num_env_steps_sampled_this_iter"] == 256
    assert result["time_total_s"] >= result["time_this_iter_s"] > 0
    stats = result["info"]["learner"]["default_policy"]["learner_stats"]
    expected = {
        *("total_loss", "policy_loss", "vf_loss", "vf_explained_var", "kl", "entropy"),
        *("clip_fraction", "cur_lr", "cur_kl_coeff"),
    }
    assert expected <= stats.keys()
    assert {"env_time_ms", "inference_time_ms", "write_time_ms"} <= result["timers"].keys()


def test_the_first_epochs_ratio_is_one():
    keys = {**SMALL, "num_sgd_iter": 1, "sgd_minibatch_size": 256}
    with PPO({**keys, "observation_filter": "MeanStdFilter"}) as trainer:
        for _ in range(3):
            stats = trainer.train()["info"]["learner"]["default_policy"]["learner_stats"]
            assert stats["clip_fraction"] == 0
            assert abs(stats["kl"]) < 1e-6
            assert abs(stats["policy_loss"]) < 1e-4  # minus the mean of standardised advantages


def test_the_same_seed_gives_the_same_training():
    def train():
        with PPO(SMALL) as trainer:
            results = [trainer.train() for _ in range(2)]
            return results[-1]["episode_reward_mean"], trainer.get_policy().get_weights()

    (first, weights), (second, again) = train(), train()
    assert first == second
    for name, array in weights.items():
        np.testing.assert_array_equal(array, again[name])


def test_the_adaptive_kl_weight_is_in_the_results():
    keys = {**SMALL, "kl_coeff": 1.0, "kl_target": 10.0}
    with PPO(keys) as trainer:
        stats = [
            trainer.train()["info"]["learner"]["default_policy"]["learner_stats"] for _ in range(2)
        ]
    assert [s["cur_kl_coeff"] for s in stats] == [1.0, 0.5]


@pytest.mark.parametrize("algorithm", [PPO, PG])
def test_a_checkpoint_goes_on_where_it_was(algorithm, tmp_path):
    keys = {
        k: v for k, v in SMALL.items() if algorithm is PPO or not k.startswith(("sgd", "num_s"))
    }
    with algorithm({**keys, "observation_filter": "MeanStdFilter"}) as trainer:
        trainer.train()
        trainer.train()
        path = trainer.save(tmp_path)
        weights = trainer.get_policy().get_weights()
        before = trainer.workers.metrics.summary()

    with algorithm.from_checkpoint(path) as again:
        for name, array in again.get_policy().get_weights().items():
            np.testing.assert_array_equal(array, weights[name])
        assert again.workers.metrics.summary() == before
        assert again.iteration == 2
        sampled = again.workers.counters["num_env_steps_sampled"]
        result = again.train()
        assert result["training_iteration"] == 3
        assert result["timesteps_total"] == sampled + result["num_env_steps_sampled_this_iter"]
        assert result["num_env_steps_sampled_this_iter"] < 600
    assert path.name == "checkpoint_000002"


def test_a_checkpoint_acts_without_a_framework(tmp_path):
    with PPO({**SMALL, "observation_filter": "MeanStdFilter"}) as trainer:
        trainer.train()
        path = trainer.save(tmp_path)
        cells = [np.array([i / 5], np.float32) for i in range(5)]
        actions = [int(trainer.compute_single_action(cell, explore=False)) for cell in cells]
    restored = load_policy(path / "policies" / "default_policy")
    acting = [int(restored.compute_single_action(cell, explore=False)[0]) for cell in cells]
    assert acting == actions
    code = (
        "import sys; from rl_policy import load_policy; "
        f"load_policy({str(path / 'policies' / 'default_policy')!r}); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path):
    with PPO(SMALL) as trainer:
        path = trainer.save(tmp_path)
    (path / "trainer.json").write_text("{}")
    with PPO(SMALL) as trainer:
        weights = trainer.get_policy().get_weights()
        with pytest.raises(CheckpointError, match=r"trainer\.json is damaged"):
            trainer.restore(path)
        for name, array in trainer.get_policy().get_weights().items():
            np.testing.assert_array_equal(array, weights[name])
        path = trainer.save(tmp_path / "other")
    with PG({"env": Corridor}) as other, pytest.raises(CheckpointError, match="algorithm PPO"):
        other.restore(path)


def test_a_policy_of_functions_under_a_trainer():
    import torch

    def loss(policy, model, dist_class, train_batch):
        logits, _ = model.from_batch(train_batch)
        dist = dist_class(logits, model)
        scale = policy.config["loss_scale"]
        return -scale * torch.mean(dist.logp(train_batch["actions"]) * train_batch["rewards"])

    build = build_trainer(
        name="Mine",
        default_config={"loss_scale": 2.0, "train_batch_size": 64},
        default_policy=build_torch_policy(name="MyTorchPolicy", loss_fn=loss),
    )
    with build({"env": "CartPole-v1", "loss_scale": 3.0}) as trainer:
        result = trainer.train()
        assert trainer.get_policy().config["loss_scale"] == 3.0
    assert result["timesteps_total"] == 64
    assert build.with_updates(default_config={"lr": 0.5})
    variant = build.with_updates(default_config={"lr": 0.5, "train_batch_size": 32})
    with variant(env="CartPole-v1") as trainer:
        assert trainer.config.lr == 0.5
        assert trainer.train()["timesteps_total"] == 32


def test_a_plain_numpy_policy_under_a_trainer(tmp_path):
    assert "bonus" not in DEFAULT_POLICY_CONFIG
    algorithm = build_trainer("Bandit", {"train_batch_size": 512}, Bandit)
    with algorithm({"env": Corridor, "seed": 1}) as trainer:
        result = trainer.train()
        stats = result["info"]["learner"]["default_policy"]["learner_stats"]
        assert stats == {"best": 1.0}  # only steps to the right can arrive
        path = trainer.save(tmp_path)
        with algorithm.from_checkpoint(path) as again:
            np.testing.assert_array_equal(again.get_policy().totals, trainer.get_policy().totals)


def test_a_recurrent_policy_learns_finitely():
    keys = {**SMALL, "use_lstm": True, "max_seq_len": 8, "lstm_cell_size": 8}
    with PPO(keys) as trainer:
        stats = trainer.train()["info"]["learner"]["default_policy"]["learner_stats"]
        assert np.isfinite(list(stats.values())).all()
        state = trainer.get_policy().get_initial_state()
        _, state = trainer.compute_single_action(np.zeros(1, np.float32), state)
        assert any(array.any() for array in state)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1"])
def test_presets_and_defaults_train(env):
    with PPO({"env": env, "num_sgd_iter": 1}) as trainer:
        result = trainer.train()
        assert result["timesteps_total"] == trainer.config.train_batch_size
        assert trainer.compute_single_action(gym.make(env).reset(seed=0)[0]) is not None


def test_the_plan_is_a_picture():
    with PPO(SMALL) as trainer:
        assert str(trainer.plan).splitlines()[0].startswith("ParallelRollouts")
        assert "TrainOneStep(4 epochs, minibatch 64)" in str(trainer.plan)


def test_training_without_experience_is_no_success():
    class Silent:
        """An input that never gives anything."""

        def __init__(self, *args, **kwargs):
            pass

        def next(self, timeout_s=None):
            return None

        def publish(self, snapshots):
            pass

        def close(self):
            pass

    keys = {**SMALL, "sampler_class": Silent}
    with PPO(keys) as trainer, pytest.raises(NoExperience, match="the local sampler gave no"):
        trainer.train()


def test_a_config_object_is_complete():
    assert PPOConfig(**SMALL).flat()["train_batch_size"] == 256
