"""Our local worker on CartPole-v1: env steps per second, from `env.step` to batches with GAE."""

import sys
import time

import gymnasium as gym
import torch
from harness import serve

from rl_algos.ppo import PPOPolicy
from rl_workers import Callbacks, WorkerSet
from rl_workers.flow import ParallelRollouts

torch.set_num_threads(1)
NUM_ENVS, MODE = int(sys.argv[1]), sys.argv[2]


class LongestBalance(Callbacks):
    """What a user might want to know of each episode and batch."""

    def on_episode_start(self, *, episode, **_):
        episode.user_data["started"] = time.perf_counter()

    def on_episode_end(self, *, episode, **_):
        seconds = time.perf_counter() - episode.user_data["started"]
        episode.custom_metrics["steps_per_s"] = episode.length / seconds

    def on_sample_end(self, *, samples, **_):
        assert "advantages" in samples


env = gym.make("CartPole-v1")
policy = PPOPolicy(
    env.observation_space, env.action_space, {"observation_filter": "MeanStdFilter", "seed": 0}
)
workers = WorkerSet(
    "CartPole-v1",
    policy,
    num_envs_per_worker=NUM_ENVS,
    rollout_fragment_length=128,
    vectorize=MODE == "vector_entry_point",
    callbacks=LongestBalance,
    seed=0,
)
rollouts = ParallelRollouts(workers)


def sample(seconds):
    start, steps = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        steps += next(rollouts).env_steps()
        workers.merge_filters()
        workers.publish()
    return {"steps_per_s": steps / (time.perf_counter() - start)}


serve(sample)
