"""Our PPO on CartPole-v1 with its preset, from first reset to solved."""

import time

import torch
from harness import serve

from rl_algos import PPO

torch.set_num_threads(1)


def solve(seed, max_steps=100_000):
    with PPO({"env": "CartPole-v1", "seed": seed}) as trainer:
        start, steps, solved = time.perf_counter(), 0, False
        while steps < max_steps and not solved:
            result = trainer.train()
            steps = result["timesteps_total"]
            solved = result["episodes_total"] >= 20 and result["episode_reward_mean"] >= 475
        return {"seconds": time.perf_counter() - start, "env_steps": steps, "solved": solved}


serve(solve)
