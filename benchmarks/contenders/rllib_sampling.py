"""RLlib: env steps per second of its env runner (no GAE: RLlib leaves that to the learner)."""

import sys
import time

from harness import serve
from rllib_config import local_ppo

NUM_ENVS = int(sys.argv[1])
runner = local_ppo(NUM_ENVS).build_algo().env_runner


def sample(seconds):
    start, steps = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        steps += sum(map(len, runner.sample(num_timesteps=128 * NUM_ENVS, random_actions=False)))
    return {"steps_per_s": steps / (time.perf_counter() - start)}


serve(sample)
