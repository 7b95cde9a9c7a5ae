"""`EpisodeMetrics`: what the last finished episodes were like, under RLlib's result keys."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Any

from rl_sample.protocols import DEFAULT_POLICY_ID, EpisodeRecord


class EpisodeMetrics:
    """The last `window` finished episodes, and how many there were in all."""

    def __init__(self, window: int = 100) -> None:
        self.total = 0
        """Episodes finished so far."""
        self._episodes: deque[EpisodeRecord] = deque()
        self.resize(window)

    def resize(self, window: int) -> None:
        """From now on look at the last `window` episodes."""
        if window < 1:
            raise ValueError(f"the smoothing window is a number of episodes, at least 1: {window}")
        self._episodes = deque(self._episodes, maxlen=window)

    @property
    def window(self) -> int:
        """How many episodes are looked at."""
        return self._episodes.maxlen or 0

    def add(self, episodes: Iterable[EpisodeRecord]) -> None:
        """Take in finished episodes, oldest first."""
        for episode in episodes:
            self._episodes.append(episode)
            self.total += 1

    def summary(self) -> dict[str, Any]:
        """Figures of the window.

        `episode_reward_min`, `_max` and `_mean` are absent until an episode has finished; all other
        keys are always there, `episode_len_mean` as 0 until then. No value is ever NaN.
        """
        rewards = [float(sum(episode.returns.values())) for episode in self._episodes]
        lengths = [episode.length for episode in self._episodes]
        by_policy = self._rewards_by_policy()
        custom: defaultdict[str, list[float]] = defaultdict(list)
        for episode in self._episodes:
            for name, value in finite(episode.custom, "custom metric").items():
                custom[name].append(value)
        return {
            **_min_max_mean("episode_reward", rewards),
            "episode_len_mean": _mean(lengths) if lengths else 0.0,
            "episodes_total": self.total,
            "policy_reward_min": {k: min(v) for k, v in by_policy.items()},
            "policy_reward_max": {k: max(v) for k, v in by_policy.items()},
            "policy_reward_mean": {k: _mean(v) for k, v in by_policy.items()},
            "custom_metrics": {
                key: figure
                for name, values in custom.items()
                for key, figure in _min_max_mean(name, values).items()
            },
            "hist_stats": {
                "episode_reward": rewards,
                "episode_lengths": lengths,
                **{f"policy_{k}_reward": v for k, v in by_policy.items()},
            },
        }

    def state_dict(self) -> dict[str, Any]:
        """Window, total and the episodes in the window; JSON-able, so agents go by their `str`."""
        episodes = [
            {
                **episode._asdict(),
                "returns": {str(k): float(v) for k, v in episode.returns.items()},
                "policies": {str(k): v for k, v in episode.policies.items()},
                "custom": dict(episode.custom),
            }
            for episode in self._episodes
        ]
        return {"window": self.window, "total": self.total, "episodes": episodes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        episodes = [EpisodeRecord(**episode) for episode in state["episodes"]]
        self._episodes = deque(episodes, maxlen=state["window"])
        self.total = state["total"]

    def _rewards_by_policy(self) -> dict[str, list[float]]:
        """{policy id: return of each of its agents in each episode}; only of named policies."""
        rewards: defaultdict[str, list[float]] = defaultdict(list)
        for episode in self._episodes:
            for agent, policy_id in episode.policies.items():
                if policy_id != DEFAULT_POLICY_ID:
                    rewards[policy_id].append(float(episode.returns[agent]))
        return dict(rewards)


def finite(values: Mapping[str, float], what: str) -> dict[str, float]:
    """The values that are numbers; a NaN or infinity is left out with a warning that names it."""
    kept = {name: float(value) for name, value in values.items() if math.isfinite(value)}
    if len(kept) < len(values):
        odd = {name: value for name, value in values.items() if name not in kept}
        warnings.warn(f"{what} left out of the result: {odd}", RuntimeWarning, stacklevel=2)
    return kept


def _min_max_mean(name: str, values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {f"{name}_min": min(values), f"{name}_max": max(values), f"{name}_mean": _mean(values)}


def _mean(values: list[float] | list[int]) -> float:
    return sum(values) / len(values)
