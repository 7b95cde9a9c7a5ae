"""Real algorithms to real returns: one short run in every CI, the long ones in `nox -s learn`.

Bars have a margin: benchmarks/results tells what many seeds reach.
"""

from __future__ import annotations

import gymnasium as gym
import learning_envs
import numpy as np
import pytest

from rl_algos import PG, PPO
from rl_algos.a2c import A2C

pytestmark = pytest.mark.torch


def steps_to(trainer, target, window, budget):
    """Environment steps until the mean of the last `window` episodes reaches `target`."""
    while True:
        result = trainer.train()
        steps = result["timesteps_total"]
        full = result["episodes_total"] >= window
        if full and result["episode_reward_mean"] >= target:
            return steps
        assert steps < budget, f"{result['episode_reward_mean']} after {steps} steps"


def greedy_return(trainer, env_id, episodes):
    """Mean return of deterministic episodes."""
    env, returns = gym.make(env_id), np.zeros(episodes)
    for episode in range(episodes):
        obs, _ = env.reset(seed=episode)
        over = False
        while not over:
            action = trainer.compute_single_action(obs, explore=False)
            obs, reward, terminated, truncated, _ = env.step(action)
            returns[episode] += reward
            over = terminated or truncated
    return returns.mean()


def solve_cartpole(seed, episodes, **keys):
    with PPO({"env": "CartPole-v1", "seed": seed, **keys}) as trainer:
        steps_to(trainer, 475, window=20, budget=100_000)
        assert greedy_return(trainer, "CartPole-v1", episodes) >= 475


@pytest.mark.parametrize("framework", ["torch", "tf"])
def test_ppo_solves_cartpole(framework):
    solve_cartpole(seed=0, episodes=5, framework=framework)


def test_pg_learns_cartpole():
    with PG({"env": "CartPole-v1", "seed": 0}) as trainer:
        steps_to(trainer, 150, window=20, budget=100_000)


def test_a2c_solves_cartpole():
    with A2C({"env": "CartPole-v1", "seed": 0}) as trainer:
        steps_to(trainer, 475, window=20, budget=150_000)


@pytest.mark.learns
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 6))
def test_ppo_solves_cartpole_from_any_seed(seed):
    solve_cartpole(seed, episodes=50)


@pytest.mark.learns
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("algorithm", "env", "target", "budget"),
    [
        (PPO, "CartPole-v1", 475, 150_000),
        (PPO, "Acrobot-v1", -100, 500_000),
        (A2C, "CartPole-v1", 475, 250_000),
        (A2C, "Acrobot-v1", -100, 500_000),
    ],
)
def test_bare_defaults_solve(algorithm, env, target, budget, seed):
    with algorithm({"env": env, "preset": None, "seed": seed}) as trainer:
        steps_to(trainer, target, window=100, budget=budget)


def learn(name, target, budget, **keys):
    """PPO with the settings that stand beside the environment."""
    env, settings = getattr(learning_envs, name), learning_envs.SETTINGS[name]
    with PPO({"env": env, "preset": None, **settings, **keys}) as trainer:
        steps_to(trainer, target, window=50, budget=budget)


def test_ppo_lstm_remembers_what_it_was_shown():
    learn("RepeatAfterMe", 50, budget=40_000, use_lstm=True, seed=0)


def test_ppo_learns_nested_spaces():
    learn("NestedRepeat", 15, budget=30_000, seed=0)


@pytest.mark.parametrize("where", ["obs", "infos"])
def test_no_illegal_action_is_ever_taken(where, monkeypatch):
    monkeypatch.setattr(learning_envs.IllegalEnds, "illegal", 0)
    keys = {"env_config": {"where": where}, "num_envs_per_worker": 8, "lr": 3e-3, "seed": 0}
    with PPO({"env": learning_envs.IllegalEnds, **keys}) as trainer:
        first = trainer.train()
        steps_to(trainer, 16, window=100, budget=60_000)
        evaluation = trainer.evaluate()["evaluation"]
    assert first["episode_reward_mean"] < 12
    assert evaluation["episode_reward_min"] >= 14
    assert learning_envs.IllegalEnds.illegal == 0


MEMORY = [("RepeatAfterMe", 50, 50_000), ("StatelessCartPole", 150, 100_000)]
"""(environment, mean return asked, steps): half of what was set as the goal."""


@pytest.mark.learns
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cell", ["use_lstm", "use_gru"])
@pytest.mark.parametrize(("name", "target", "budget"), MEMORY)
def test_memory_is_learned_from_any_seed(name, target, budget, cell, seed):
    learn(name, target, budget, **{cell: True, "seed": seed})


@pytest.mark.tensorflow
@pytest.mark.learns
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("name", "target", "budget"), MEMORY)
def test_memory_is_learned_in_tensorflow(name, target, budget):
    learn(name, target, budget, framework="tf", use_lstm=True, seed=0)


@pytest.mark.learns
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(5))
def test_nested_spaces_are_learned_from_any_seed(seed):
    learn("NestedRepeat", 18, budget=40_000, seed=seed)


@pytest.mark.learns
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
def test_ppo_swings_the_pendulum_up(seed):
    with PPO({"env": "Pendulum-v1", "seed": seed}) as trainer:
        steps_to(trainer, -200, window=100, budget=200_000)
