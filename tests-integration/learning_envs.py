"""Environments that are learned only with memory, with nested spaces or with action masks.

The learning tests and benchmarks train on them; specs such as `learning_envs:RepeatAfterMe` name
them wherever this directory is on Python's path.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

_MEMORY = {"num_envs_per_worker": 8, "num_sgd_iter": 6, "lr": 1e-3, "fcnet_hiddens": [64]}

SETTINGS: dict[str, dict[str, Any]] = {
    "RepeatAfterMe": {
        **_MEMORY,
        "train_batch_size": 1600,
        "sgd_minibatch_size": 320,
        "gamma": 0.9,
    },
    "StatelessCartPole": {
        **_MEMORY,
        "train_batch_size": 2048,
        "sgd_minibatch_size": 256,
        # the value reads the policy's state: with returns of 100s its error must weigh little
        "vf_loss_coeff": 1e-4,
    },
    "NestedRepeat": {
        "num_envs_per_worker": 8,
        "train_batch_size": 1024,
        "lr": 3e-3,
        "gamma": 0.5,
    },
}
"""Settings of PPO that learn an environment from every seed that was tried."""


class RepeatAfterMe(gym.Env):
    """Say the bit that was shown `delay` steps ago: 1 if right, -1 if not; `length` steps.

    Before the first bits that count, the right answer is 0. Who answers at random gets 0 in all,
    who remembers gets `length` = 101.
    """

    def __init__(self, delay: int = 2, length: int = 101) -> None:
        self.observation_space = Discrete(2)
        self.action_space = Discrete(2)
        self._delay, self._length = delay, length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._shown = [0] * self._delay
        return self._show(), {}

    def step(self, action):
        reward = 1.0 if action == self._shown[-1 - self._delay] else -1.0
        over = len(self._shown) - self._delay >= self._length
        return self._show(), reward, False, over, {}

    def _show(self):
        self._shown.append(int(self.np_random.integers(2)))
        return self._shown[-1]


class StatelessCartPole(gym.ObservationWrapper):
    """CartPole-v1 without velocities: only where cart and pole are is seen, [x, angle]."""

    def __init__(self) -> None:
        super().__init__(gym.make("CartPole-v1"))
        seen = self.env.observation_space
        self.observation_space = Box(seen.low[[0, 2]], seen.high[[0, 2]], dtype=np.float32)

    def observation(self, observation):
        return observation[[0, 2]]


class NestedRepeat(gym.Env):
    """Give back what was just shown, a nested value out of 48; 1 if all of it is right."""

    def __init__(self, length: int = 20) -> None:
        pair = Tuple((Discrete(3), Dict({"bits": MultiBinary(2)})))
        self.observation_space = Dict({"one": Discrete(2), "more": pair, "two": MultiDiscrete([2])})
        self.action_space = Dict({"one": Discrete(2), "more": pair, "two": MultiDiscrete([2])})
        self._length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self._t = 0
        self._shown = self.observation_space.sample()
        return self._shown, {}

    def step(self, action):
        reward = float(same(action, self._shown))
        self._t += 1
        self._shown = self.observation_space.sample()
        return self._shown, reward, False, self._t >= self._length, {}


class IllegalEnds(gym.Env):
    """Of 5 actions some are illegal, and one of these ends the episode with -100; else 20 steps.

    The mask says which are legal. Who takes the legal one of the highest number gets 1, for others
    there is nothing.

    Attributes:
        illegal: illegal actions that were ever taken in this process, by any of these environments.
    """

    illegal = 0

    def __init__(self, where: str = "infos", actions: int = 5) -> None:
        """`where` the mask is given: "infos" or "obs" (a key of Dict observations)."""
        seen = Box(0.0, 1.0, (1,), np.float32)
        mask = Box(0, 1, (actions,), np.int8)
        self.action_space = Discrete(actions)
        self._in_obs = where == "obs"
        self.observation_space = Dict({"action_mask": mask, "t": seen}) if self._in_obs else seen

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._t = 0
        return self._show()

    def step(self, action):
        legal = bool(self._mask[action])
        best = int(action) == int(np.flatnonzero(self._mask)[-1])
        type(self).illegal += not legal
        self._t += 1
        obs, infos = self._show()
        return obs, float(best) if legal else -100.0, not legal, self._t >= 20, infos

    def _show(self) -> tuple[Any, dict[str, Any]]:
        self._mask = self.np_random.integers(0, 2, self.action_space.n, np.int8)
        self._mask[self.np_random.integers(self.action_space.n)] = 1
        seen = np.array([self._t / 20], np.float32)
        if self._in_obs:
            return {"action_mask": self._mask, "t": seen}, {}
        return seen, {"action_mask": self._mask}


def same(one: Any, other: Any) -> bool:
    """Whether two nested values are equal."""
    if isinstance(one, dict):
        return all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return all(map(same, one, other))
    return bool(np.array_equal(one, other))
