"""An environment that costs 1 ms of CPU per step, with CartPole's shapes."""

import time

import gymnasium as gym
import numpy as np


class BusyEnv(gym.Env):
    """Episodes of 100 steps; the millisecond is CPU time, so that a crowded core shows."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        self.t = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(4, np.float32), {}

    def step(self, action):
        done_at = time.thread_time() + 0.001
        while time.thread_time() < done_at:
            pass
        self.t += 1
        return np.full(4, self.t / 100, np.float32), 1.0, self.t == 100, False, {}
