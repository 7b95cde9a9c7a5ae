"""A policy without any framework trains under a Trainer, alone and beside one with a network."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "numpy_policy.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE), run_name="example")


@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_cartpole(example, seed):
    with example["Reinforce"](env="CartPole-v1", config={"seed": seed}) as trainer:
        first = trainer.train()
        while trainer.workers.counters["num_env_steps_sampled"] < 50_000:
            result = trainer.train()
    assert first["episode_reward_mean"] < 40
    assert result["episode_reward_mean"] > 150
    assert result["inference"]["default_policy"]["engine"] == "own"


def test_a_restored_one_goes_on(example, tmp_path):
    with example["Reinforce"](env="CartPole-v1", config={"seed": 0}) as trainer:
        trainer.train()
        path = trainer.save(tmp_path)
        weights = trainer.get_policy().get_weights()["weights"]
    with example["Reinforce"].from_checkpoint(path) as again:
        np.testing.assert_array_equal(again.get_policy().get_weights()["weights"], weights)
        assert again.train()["training_iteration"] == 2
