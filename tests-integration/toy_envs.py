"""Small environments that the integration tests train on."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete

from rl_workers import MultiAgentEnv


class Corridor(gym.Env):
    """Walk right to the end of `length` cells; each step costs 0.1, the end gives 1."""

    def __init__(self, length: int = 5) -> None:
        self.observation_space = Box(0.0, 1.0, (1,), np.float32)
        self.action_space = Discrete(2)
        self._length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._cell, self._steps = 0, 0
        return self._obs(), {}

    def step(self, action):
        self._cell = max(0, self._cell + (1 if action else -1))
        self._steps += 1
        arrived = self._cell >= self._length
        return self._obs(), 1.0 if arrived else -0.1, arrived, self._steps >= 30, {}

    def _obs(self):
        return np.array([self._cell / self._length], np.float32)


class LeavingAgents(MultiAgentEnv):
    """Two agents guess the last bit they saw; "short" leaves after 5 steps, "long" after 10."""

    def __init__(self, config=None) -> None:
        space, actions = Box(0.0, 1.0, (2,), np.float32), Discrete(2)
        self.observation_spaces = {"short": space, "long": space}
        self.action_spaces = {"short": actions, "long": actions}
        self._lengths = {"short": 5, "long": 10}

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._t = 0
        self._bits = {agent: int(self._rng.integers(2)) for agent in self._lengths}
        return {agent: self._obs(agent) for agent in self._lengths}, {}

    def step(self, actions):
        rewards = {a: float(action == self._bits[a]) for a, action in actions.items()}
        self._t += 1
        self._bits = {agent: int(self._rng.integers(2)) for agent in actions}
        done = {agent: self._t >= self._lengths[agent] for agent in actions}
        done["__all__"] = self._t >= max(self._lengths.values())
        return {a: self._obs(a) for a in actions}, rewards, done, {"__all__": False}, {}

    def _obs(self, agent):
        bit = self._bits[agent]
        return np.array([bit, 1 - bit], np.float32)


def own_policy(agent_id, eps_id, worker_index):
    """Each agent plays the policy of its own name."""
    return str(agent_id)


class Slippery(gym.Env):
    """Balance on a rope: pushes left or right come with a slip that `np_random` draws."""

    def __init__(self) -> None:
        self.observation_space = Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._x, self._v, self._t = self.np_random.uniform(-1, 1), 0.0, 0
        return self._obs(), {}

    def step(self, action):
        self._v += 0.1 * (2 * int(action) - 1) + 0.1 * self.np_random.normal()
        self._x += self._v
        self._t += 1
        return self._obs(), 1.0 - abs(self._x), abs(self._x) > 2.0, self._t >= 60, {}

    def _obs(self):
        return np.array([self._x, self._v], np.float32)
