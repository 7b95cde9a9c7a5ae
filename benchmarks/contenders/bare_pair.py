"""Two plain processes that run the bare loop on the busy environment: env steps per second."""

from multiprocessing import get_context

import gymnasium as gym
from bare_loop import bare_loop
from busy_env import BusyEnv
from harness import serve


def run_loop(seconds):
    return bare_loop(gym.vector.SyncVectorEnv([BusyEnv]), seconds, T=200)


def sample(seconds):
    return {"steps_per_s": sum(pool.map(run_loop, [seconds] * 2, chunksize=1))}


if __name__ == "__main__":
    with get_context("spawn").Pool(2) as pool:
        serve(sample)
