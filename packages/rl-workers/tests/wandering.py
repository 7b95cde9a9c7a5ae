"""Environments whose luck and past matter, to be saved in the midst of an episode."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from rl_workers import MultiAgentEnv


class Wandering(gym.Env):
    """A walk with a drift drawn at reset and steps of random length, until it is 3 away."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.drift, self.t = 0.0, self.np_random.normal(), 0
        return self._obs(), {}

    def step(self, action):
        self.x += (2 * int(action) - 1) * self.np_random.random() + 0.1 * self.drift
        self.t += 1
        return self._obs(), self.x, abs(self.x) > 3, self.t >= 25, {"x": self.x, "t": self.t}

    def _obs(self):
        return np.array([self.x, self.drift], np.float32)


class Forgetful(Wandering):
    """Draws from a generator that nobody can know of."""

    hidden = [np.random.default_rng(0)]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.drift += self.hidden[0].normal()
        return self._obs(), {}


class SavesItself(Forgetful):
    """As Forgetful, with a state of its own to save."""

    def get_state(self):
        return {"x": self.x, "drift": self.drift, "t": self.t}

    def set_state(self, state):
        self.x, self.drift, self.t = state["x"], state["drift"], state["t"]


class DictActions(Wandering):
    """Actions of several parts."""

    def __init__(self) -> None:
        super().__init__()
        parts = {"go": gym.spaces.Discrete(2), "by": gym.spaces.Box(0.0, 1.0, (2,), np.float32)}
        self.action_space = gym.spaces.Dict(parts)

    def step(self, action):
        self.x += float(action["by"].sum())
        return super().step(action["go"])


class TakingTurns(MultiAgentEnv):
    """Two agents act in turns and are paid every step; a third comes and goes by chance."""

    def __init__(self) -> None:
        space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.observation_spaces = dict.fromkeys(("a", "b", 3), space)
        self.action_spaces = dict.fromkeys(("a", "b", 3), gym.spaces.Discrete(2))

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.luck = np.random.default_rng(seed)
        self.t, self.sum, self.guest = 0, 0.0, False
        return {"a": self._obs()}, {}

    def step(self, actions):
        self.t += 1
        self.sum += sum(int(a) for a in actions.values()) + self.luck.normal()
        rewards = {"a": self.sum, "b": -self.sum}
        obs = {"ab"[self.t % 2]: self._obs()}
        over = self.luck.random() < 0.1
        terminateds = {"__all__": over}
        if self.guest:
            obs[3], rewards[3] = self._obs(), 1.0
            self.guest = terminateds[3] = self.luck.random() < 0.7
            terminateds[3] = not self.guest
        elif self.luck.random() < 0.5:
            self.guest, obs[3] = True, self._obs()
        if over:
            obs = {a: self._obs() for a in ("a", "b", 3)}
        return obs, rewards, terminateds, {"__all__": False}, {}

    def _obs(self):
        return np.array([self.t, self.sum], np.float32)
