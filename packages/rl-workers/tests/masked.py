"""Environments that tell in their infos which actions are legal, and an actor that heeds it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from coin import CoinActor

from rl_sample.protocols import Acted
from rl_workers import MultiAgentEnv
from rl_workers.testing import CountingEnv


def legal(obs):
    """[B, 3] bool: in (episode e, step t) all but action (e + t) mod 3; in steps 4, 8, … all."""
    barred = obs.sum(axis=-1).astype(int) % 3
    return (np.arange(3) != barred[..., None]) | (obs[..., 1:] % 4 == 3)


class Masked(CountingEnv):
    """A CountingEnv of 3 actions that breaks where an illegal one is taken.

    `final` is what is told with an episode's last observation: "mask", "nothing" or "zeros".
    """

    def __init__(self, final="mask", max_length=7):
        super().__init__(max_length)
        self.action_space = gym.spaces.Discrete(3)
        self.final = final

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        return obs, self._told(obs, info)

    def step(self, action):
        assert legal(self._obs())[action], f"{action} is illegal in {self._obs()}"
        obs, reward, terminated, truncated, info = super().step(action)
        if (terminated or truncated) and self.final == "nothing":
            return obs, reward, terminated, truncated, info
        if (terminated or truncated) and self.final == "zeros":
            return obs, reward, terminated, truncated, {**info, "action_mask": np.zeros(3, np.int8)}
        return obs, reward, terminated, truncated, self._told(obs, info)

    def _told(self, obs, info):
        return {**info, "action_mask": legal(obs).astype(np.int8)}


class MaskedInObs(CountingEnv):
    """The same with the mask as a key of Dict observations; all zero with the last one."""

    def __init__(self):
        super().__init__()
        mask = gym.spaces.MultiBinary(3)
        self.observation_space = gym.spaces.Dict(
            {"action_mask": mask, "at": self.observation_space}
        )
        self.action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        return self._both(obs), info

    def step(self, action):
        assert legal(self._obs())[action], f"{action} is illegal in {self._obs()}"
        obs, reward, terminated, truncated, info = super().step(action)
        return self._both(obs, terminated or truncated), reward, terminated, truncated, info

    def _both(self, obs, over=False):
        return {"action_mask": legal(obs).astype(np.int8) * (not over), "at": obs}


class Saying(CountingEnv):
    """Its n-th info (from 0, the first reset's) has `masks[n]`, the ones after that the last."""

    def __init__(self, *masks):
        super().__init__()
        self.action_space = gym.spaces.Discrete(2)
        self.masks, self.n = masks, -1

    def reset(self, *, seed=None, options=None):
        obs, _ = super().reset(seed=seed)
        self._length = 9
        return obs, self._told()

    def step(self, action):
        *came, _ = super().step(action)
        return *came, self._told()

    def _told(self):
        self.n += 1
        mask = self.masks[min(self.n, len(self.masks) - 1)]
        return {} if mask is None else {"action_mask": mask}


class MaskedAgents(MultiAgentEnv):
    """`a` plays 4 steps and `b`, who is there in every second, 6; as Masked, with e = 0 and 1.

    The mask is told to the agents in `told`.
    """

    def __init__(self, told="ab"):
        box = gym.spaces.Box(-1.0, np.inf, (2,), np.float32)
        self.observation_spaces = {"a": box, "b": box}
        self.action_spaces = dict.fromkeys("ab", gym.spaces.Discrete(3))
        self.told = told

    def reset(self, *, seed=None, options=None):
        self.t, self.seen = 0, {}
        return self._show(["a"])

    def step(self, actions):
        for agent, action in actions.items() if self.told == "ab" else ():
            assert legal(self.seen[agent])[action], f"{action} is illegal in {self.seen[agent]}"
        self.t += 1
        agents = (["a"] if self.t <= 4 else []) + (["b"] if self.t % 2 == 0 else [])
        obs, infos = self._show(agents)
        over = {"a": self.t == 4, "__all__": self.t == 6}
        return obs, dict.fromkeys(obs, 1.0), over, {"__all__": False}, infos

    def _show(self, agents):
        obs = {a: np.array(["ab".index(a), self.t], np.float32) for a in agents}
        self.seen |= obs
        return obs, {a: {"action_mask": legal(obs[a])} for a in agents if a in self.told}


class LegalActor(CoinActor):
    """The coin picks among the legal actions; the state counts the calls in the episode."""

    def __init__(self):
        super().__init__(counts=True)

    def act(self, inputs, state, noise, *, explore, step):
        mask = np.asarray(inputs.get("action_mask", np.ones((len(noise["action"]), 2))), bool)
        assert mask.any(axis=1).all(), "there is no legal action"
        pick = np.floor(noise["action"] * mask.sum(axis=1))
        actions = (mask.cumsum(axis=1) <= pick[:, None]).sum(axis=1)
        return Acted(actions, actions, tuple(s + 1 for s in state), {})
