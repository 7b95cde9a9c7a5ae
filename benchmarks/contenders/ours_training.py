"""Our PPO on CartPole-v1: env steps per second of sampling and learning."""

import time

import torch
from harness import serve

from rl_algos import PPO

torch.set_num_threads(1)
trainer = PPO(
    {
        "env": "CartPole-v1",
        "preset": None,
        "num_envs_per_worker": 8,
        "train_batch_size": 8 * 128,
        "num_sgd_iter": 4,
        "sgd_minibatch_size": 256,
        "seed": 0,
    }
)


def train(seconds):
    start, before = time.perf_counter(), trainer.workers.counters["num_env_steps_sampled"]
    while time.perf_counter() < start + seconds:
        sampled = trainer.train()["timesteps_total"]
    return {"steps_per_s": (sampled - before) / (time.perf_counter() - start)}


serve(train)
