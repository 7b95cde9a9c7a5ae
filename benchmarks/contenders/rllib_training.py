"""RLlib PPO: env steps per second of sampling and learning."""

import time

from harness import serve
from rllib_config import local_ppo

config = local_ppo(num_envs=8).training(
    train_batch_size_per_learner=1024, minibatch_size=256, num_epochs=4
)
algo = config.build_algo()


def train(seconds):
    start, before = time.perf_counter(), sampled
    while time.perf_counter() < start + seconds:
        step()
    return {"steps_per_s": (sampled - before) / (time.perf_counter() - start)}


sampled = 0


def step():
    global sampled
    sampled = algo.train()["env_runners"]["num_env_steps_sampled_lifetime"]


serve(train)
