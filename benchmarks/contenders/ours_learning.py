"""One algorithm of ours on one seed: env steps and seconds until a mean return is reached."""

import sys
import time
from importlib import import_module
from pathlib import Path

import gymnasium as gym
import torch
from harness import serve

from rl_algos import get_algorithm

torch.set_num_threads(1)
sys.path.append(str(Path(__file__).parents[2] / "tests-integration"))


def learn(
    env,
    seed,
    max_steps,
    target,
    window,
    algorithm="PPO",
    preset="auto",
    evaluation_episodes=0,
    settings=None,
    **keys,
):
    """`settings` names some of `learning_envs.SETTINGS`, over which `keys` of the config lie."""
    config = {"env": env, "preset": preset, "metrics_num_episodes_for_smoothing": window}
    if settings is not None:
        config |= import_module("learning_envs").SETTINGS[settings]
    config |= keys
    with get_algorithm(algorithm)({**config, "seed": seed}) as trainer:
        start, steps, mean = time.perf_counter(), 0, float("-inf")
        while steps < max_steps and mean < target:
            result = trainer.train()
            steps = result["timesteps_total"]
            if result["episodes_total"] >= window:
                mean = result["episode_reward_mean"]
        seconds = time.perf_counter() - start
        answer = {"seconds": seconds, "env_steps": steps, "solved": mean >= target, "mean": mean}
        if evaluation_episodes:
            answer["evaluation"] = evaluate(trainer, env, evaluation_episodes)
    return answer


def evaluate(trainer, env_id, episodes):
    """Mean return of deterministic episodes, each from its own seed."""
    env, total = gym.make(env_id), 0.0
    for episode in range(episodes):
        (obs, _), ended = env.reset(seed=1_000_000 + episode), False
        while not ended:
            action = trainer.compute_single_action(obs, explore=False)
            obs, reward, terminated, truncated, _ = env.step(action)
            total, ended = total + float(reward), terminated or truncated
    return total / episodes


serve(learn)
