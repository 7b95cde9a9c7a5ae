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


class Watch(Callbacks):
    """Hooks as users write them: something is noted of each episode and each batch."""

    def on_episode_start(self, *, episode, **_):
        episode.user_data["slot"] = episode.env_index

    def on_episode_end(self, *, episode, **_):
        episode.custom_metrics["length"] = episode.length

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
    callbacks=Watch,
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
