"""Environments whose every transition is known beforehand, to hold samplers and backends to."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from rl_workers.multi_agent_env import MultiAgentEnv


class CountingEnv(gym.Env[np.ndarray, Any]):
    """Observes (episode number, step); episodes of seeded length end by either flag.

    The reward is the step plus half the action. Odd lengths terminate, even ones truncate, and
    multiples of five do both.
    """

    def __init__(self, max_length: int = 7) -> None:
        self.observation_space = gym.spaces.Box(-1.0, np.inf, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self._max_length = max_length
        self._episode = -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._episode += 1
        self._t = 0
        self._length = int(self.np_random.integers(1, self._max_length + 1))
        return self._obs(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self._t < self._length, "stepped after the end of an episode"
        reward = self._t + 0.5 * int(action)
        self._t += 1
        over, both = self._t == self._length, self._length % 5 == 0
        terminated = over and (both or self._length % 2 == 1)
        truncated = over and (both or self._length % 2 == 0)
        return self._obs(), reward, terminated, truncated, {"t": self._t}

    def _obs(self) -> np.ndarray:
        return np.array([self._episode, self._t], np.float32)


class LeavingAgentsEnv(MultiAgentEnv):
    """Two agents; `early` leaves after `leave_at` steps, `late` plays on until `length`.

    Each observes (own number, step). An agent's reward is 1 where its action matches the parity of
    the step. `late` acts every step; while alone it is also paid 0.25 on each step.
    """

    def __init__(self, length: int = 6, leave_at: int = 3) -> None:
        self._length, self._leave_at = length, leave_at
        box = gym.spaces.Box(-1.0, np.inf, (2,), np.float32)
        self.observation_spaces = {"early": box, "late": box}
        self.action_spaces = {"early": gym.spaces.Discrete(2), "late": gym.spaces.Discrete(2)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[Any, Any], dict[Any, Any]]:
        self._t = 0
        return self._obs(["early", "late"]), {}

    def step(self, actions: dict[Any, Any]) -> tuple[dict[Any, Any], ...]:  # type: ignore[override]
        playing = ["early", "late"] if self._t < self._leave_at else ["late"]
        assert sorted(actions) == playing, f"{sorted(actions)} acted, {playing} play"
        rewards = {a: float(int(actions[a]) == self._t % 2) for a in playing}
        if len(playing) == 1:
            rewards["late"] += 0.25
        self._t += 1
        over = self._t == self._length
        terminateds = {"early": self._t == self._leave_at, "__all__": over}
        return self._obs(playing), rewards, terminateds, {"__all__": False}, {}

    def _obs(self, agents: list[str]) -> dict[Any, Any]:
        numbers = {"early": 0, "late": 1}
        return {a: np.array([numbers[a], self._t], np.float32) for a in agents}
