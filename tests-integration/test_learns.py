"""Real algorithms to real returns: one short run in every CI, the long ones in `nox -s learn`.

Bars have a margin: benchmarks/results tells what many seeds reach.
"""

from __future__ import annotations

import gymnasium as gym
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


def solve_cartpole(seed, episodes):
    with PPO({"env": "CartPole-v1", "seed": seed}) as trainer:
        steps_to(trainer, 475, window=20, budget=100_000)
        assert greedy_return(trainer, "CartPole-v1", episodes) >= 475


def test_ppo_solves_cartpole():
    solve_cartpole(seed=0, episodes=5)


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


@pytest.mark.learns
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(3))
def test_ppo_swings_the_pendulum_up(seed):
    with PPO({"env": "Pendulum-v1", "seed": seed}) as trainer:
        steps_to(trainer, -200, window=100, budget=200_000)
