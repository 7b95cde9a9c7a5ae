"""Stable-Baselines3: env steps per second of `collect_rollouts`, GAE included."""

import sys
import time

import torch
from harness import serve
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

torch.set_num_threads(1)
NUM_ENVS = int(sys.argv[1])
model = PPO("MlpPolicy", make_vec_env("CartPole-v1", n_envs=NUM_ENVS), n_steps=128, device="cpu")
_, callback = model._setup_learn(10**9)


def sample(seconds):
    start, before = time.perf_counter(), model.num_timesteps
    while time.perf_counter() < start + seconds:
        model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    return {"steps_per_s": (model.num_timesteps - before) / (time.perf_counter() - start)}


serve(sample)
