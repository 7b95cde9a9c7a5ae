"""Stable-Baselines3 on CartPole-v1 with the zoo's preset, from first reset to solved."""

import time
from collections import deque

import torch
from harness import serve
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

torch.set_num_threads(1)


class Solved(BaseCallback):
    """Ends training once the last 20 episodes average 475, looked at after every rollout."""

    def __init__(self):
        super().__init__()
        self.returns = deque(maxlen=20)
        self.solved = False

    def _on_step(self):
        ended = (info["episode"]["r"] for info in self.locals["infos"] if "episode" in info)
        self.returns.extend(ended)
        return not self.solved

    def _on_rollout_end(self):
        self.solved = len(self.returns) == 20 and sum(self.returns) / 20 >= 475


def solve(seed, max_steps=100_000):
    env = make_vec_env("CartPole-v1", n_envs=8, seed=seed)
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=32,
        batch_size=256,
        gae_lambda=0.8,
        gamma=0.98,
        n_epochs=20,
        ent_coef=0.0,
        learning_rate=lambda left: 0.001 * left,
        clip_range=lambda left: 0.2 * left,
        seed=seed,
        device="cpu",
    )
    callback = Solved()
    start = time.perf_counter()
    model.learn(max_steps, callback=callback)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "env_steps": model.num_timesteps, "solved": callback.solved}


serve(solve)
