"""Stable-Baselines3 PPO: env steps per second of sampling and learning."""

import time

import torch
from harness import serve
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

torch.set_num_threads(1)
env = make_vec_env("CartPole-v1", n_envs=8)
model = PPO("MlpPolicy", env, n_steps=128, n_epochs=4, batch_size=256, device="cpu")
_, callback = model._setup_learn(10**9)


def train(seconds):
    start, before = time.perf_counter(), model.num_timesteps
    while time.perf_counter() < start + seconds:
        model.collect_rollouts(env, callback, model.rollout_buffer, model.n_steps)
        model.train()
    return {"steps_per_s": (model.num_timesteps - before) / (time.perf_counter() - start)}


serve(train)
