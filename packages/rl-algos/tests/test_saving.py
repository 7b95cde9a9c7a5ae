"""A trainer goes on from its checkpoint, and is told what does not fit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_trainers import COUNTER, TINY, TINY_PPO, trained

from rl_algos import CheckpointError, build_trainer, checkpoint
from rl_algos.loggers.scalars import flatten


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_counts_seed_and_last_figures_come_back(tmp_path):
    with trained(iterations=2) as trainer:
        path = trainer.save(tmp_path)
    assert path == tmp_path / "checkpoint_000002"
    with COUNTER.from_checkpoint(path) as again:
        assert (again.iteration, again.seed, again.run_id) == (2, trainer.seed, trainer.run_id)
        assert again.time_total_s == trainer.time_total_s
        assert again.workers.counters == trainer.workers.counters
        assert again.last_result["timesteps_total"] == 64
        assert again.last_result["info"] == {
            "learner": {"default_policy": {"learner_stats": {"rows": 64.0}}},
            **{k: v for k, v in trainer.last_result["info"].items() if k != "learner"},
        }
        assert again.train()["timesteps_total"] == 96
        assert again.get_policy().rows == 96


def test_a_seed_that_was_drawn_is_in_the_config(tmp_path):
    with trained(iterations=0) as trainer:
        path = trainer.save(tmp_path)
        assert trainer.config["seed"] is None
    with COUNTER.from_checkpoint(path) as again:
        assert again.config["seed"] == trainer.seed == again.workers.seed
        assert checkpoint.config_difference(path, again.config) == {}
    with COUNTER.from_checkpoint(path, seed=5) as other:
        assert other.seed == other.workers.seed == other.get_policy().seed == 5


def test_a_trainer_with_another_seed_takes_over_the_saved_one(tmp_path):
    with trained(seed=1) as trainer:
        path = trainer.save(tmp_path)
    with trained(seed=2) as other:
        other.restore(path)
        assert other.seed == other.get_policy().seed == 1


def test_with_another_environment_episodes_begin_anew(tmp_path, caplog):
    with trained() as trainer:
        path = trainer.save(tmp_path)
    with COUNTER.from_checkpoint(path, env_config={"render_mode": None}) as other:
        assert "env_config changed: the environments begin new episodes" in caplog.text
        assert other.train()["timesteps_total"] == 64


def test_a_directory_of_checkpoints_means_the_newest(tmp_path):
    with trained() as trainer:
        trainer.save(tmp_path)
        trainer.train()
        trainer.save(tmp_path)
        trainer.restore(tmp_path)
        assert trainer.iteration == 2
        trainer.restore(tmp_path / "checkpoint_000001")
        assert trainer.iteration == 1
    with COUNTER.from_checkpoint(tmp_path) as again:
        assert again.origin == f"Counter from {tmp_path / 'checkpoint_000002'}"


def test_keeping_the_newest(tmp_path):
    with trained() as trainer:
        for _ in range(4):
            trainer.train()
            trainer.save(tmp_path, keep=2)
    assert names(tmp_path) == ["checkpoint_000004", "checkpoint_000005"]
    with COUNTER.from_checkpoint(tmp_path) as again:  # the same run goes on
        again.train()
        again.save(tmp_path, keep=1)
    assert names(tmp_path) == ["checkpoint_000006"]


def test_keeping_the_best_and_the_newest(tmp_path):
    with trained() as trainer:
        for score in (1.0, 9.0, 5.0, 2.0):
            trainer.train()
            trainer.last_result["episode_reward_mean"] = score
            trainer.save(tmp_path, keep=2, score_by="episode_reward_mean")
    assert names(tmp_path) == ["checkpoint_000003", "checkpoint_000004", "checkpoint_000005"]
    assert checkpoint.best(tmp_path).name == "checkpoint_000003"


def test_a_checkpoint_keeps_its_score_when_it_is_saved_again(tmp_path):
    with trained() as trainer:
        trainer.last_result["episode_reward_mean"] = 7.0
        path = trainer.save(tmp_path)
        trainer.restore(path)
        trainer.save(tmp_path)
    assert checkpoint.check(path)["result"]["episode_reward_mean"] == 7.0


def test_keep_is_a_number_of_checkpoints(tmp_path):
    with trained() as trainer, pytest.raises(ValueError, match="keep=0: at least one"):
        trainer.save(tmp_path, keep=0)
    assert names(tmp_path) == []


def test_two_runs_in_one_directory(tmp_path):
    with trained() as first, trained() as second:
        first.save(tmp_path)
        with pytest.warns(RuntimeWarning, match="of another run is replaced: two runs save into"):
            second.save(tmp_path, keep=1)
        second.train()
        first.train()
        first.train()
        first.save(tmp_path)
        second.save(tmp_path, keep=1)  # deletes its own only
    assert names(tmp_path) == ["checkpoint_000002", "checkpoint_000003"]


def test_figures_are_flat_finite_numbers():
    result = {
        "a": 1, "b": np.float32(0.5), "c": float("nan"), "d": "x", "e": {"f": True, "g": [1]},
        "h": np.zeros(2), "i": None, "j": np.float64("inf"),
    }  # fmt: skip
    assert flatten(result) == {"a": 1, "b": 0.5, "e/f": True}
    json.dumps(flatten(result))


# ------------------------------------------------------------------------ what does not fit


def test_a_checkpoint_of_another_algorithm(tmp_path):
    with trained() as trainer:
        path = trainer.save(tmp_path)
    other = build_trainer("Other", {"beta": 1.0, "train_batch_size": 32}, COUNTER.default_policy)
    message = r"is of algorithm Counter, this is Other: use Counter\.from_checkpoint\(path\)"
    with pytest.raises(CheckpointError, match=message):
        other.from_checkpoint(path)
    with other(TINY) as trainer, pytest.raises(CheckpointError, match=message):
        trainer.restore(path)


def test_a_checkpoint_of_other_policies(tmp_path):
    with trained() as trainer:
        path = trainer.save(tmp_path)
    with trained(iterations=0, policies={"a": None}) as other:
        message = r"of policies \['default_policy'\], this trainer has \['a'\]: give it the same"
        with pytest.raises(CheckpointError, match=message):
            other.restore(path)


def test_a_checkpoint_of_another_plan(tmp_path):
    with trained() as trainer:
        path = trainer.save(tmp_path)
        rows = trainer.get_policy().rows

    def plan(workers, config):
        return COUNTER.execution_plan(workers, config).batch(1).for_each(lambda items: items[0])

    longer = COUNTER.with_updates(execution_plan=plan)
    with longer(TINY) as trainer, pytest.raises(CheckpointError, match="does not fit this trainer"):
        trainer.restore(path)
    assert rows == 32
    assert trainer.get_policy().rows == 0


@pytest.mark.torch
def test_a_checkpoint_of_another_network_changes_nothing(tmp_path):
    from rl_algos import PPO

    with PPO({**TINY_PPO, "fcnet_hiddens": [8]}) as trainer:
        path = trainer.save(tmp_path)
    with PPO({**TINY_PPO, "fcnet_hiddens": [4]}) as other:
        before = other.get_policy().get_weights()
        message = r"does not fit this trainer: .*configs differ in .*fcnet_hiddens \(was \[8\], is"
        with pytest.raises(CheckpointError, match=message):
            other.restore(path)
        for name, array in other.get_policy().get_weights().items():
            np.testing.assert_array_equal(array, before[name])
    with pytest.raises(CheckpointError, match="does not fit"):
        PPO.from_checkpoint(path, fcnet_hiddens=[4])


@pytest.mark.torch
def test_weights_are_stored_once_where_a_loadable_policy_holds_them(tmp_path):
    from rl_algos import PPO
    from rl_algos.stored import read_state
    from rl_policy import load_policy

    with trained(PPO, observation_filter="MeanStdFilter") as trainer:
        path = trainer.save(tmp_path)
        weights = trainer.get_policy().get_weights()
    assert read_state(path / "learners", "default_policy")["weights"] is None
    loaded = load_policy(path / "policies" / "default_policy").get_weights()
    with PPO.from_checkpoint(path) as again:
        for name, array in again.get_policy().get_weights().items():
            np.testing.assert_array_equal(array, weights[name])
            np.testing.assert_array_equal(array, loaded[name])


@pytest.mark.parametrize("policy_id", ["..", "a/b", "ä"])
def test_policy_ids_need_not_be_file_names(tmp_path, policy_id):
    with trained(iterations=0, policies={policy_id: None}) as trainer:
        trainer.get_policy(policy_id).rows[:] = 32
        path = trainer.save(tmp_path / "runs")
    assert names(tmp_path) == ["runs"]
    with COUNTER.from_checkpoint(path) as again:
        assert again.get_policy(policy_id).rows == 32
