"""What became of it: episodes under way and finished, and the result that a plan ends in."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rl_sample.protocols import DEFAULT_POLICY_ID, AgentID, EpisodeRecord, Learned, PolicyID
from rl_workers.flow.iterators import NOT_READY
from rl_workers.flow.operators import Batch, NoExperience

if TYPE_CHECKING:
    from rl_workers.worker_set import WorkerSet

STEPS = (
    "num_env_steps_sampled",
    "num_agent_steps_sampled",
    "num_env_steps_trained",
    "num_agent_steps_trained",
)
STAGES = ("env", "inference", "write", "postprocess", "wait", "sample", "learn", "update")
"""Timed in every result: five inside the workers (summed over them), three of the plan itself."""


class Episode:
    """An episode under way.

    Attributes:
        eps_id: unique over workers and restarts.
        env_index: the sub-environment it runs in.
        length: environment steps so far.
        returns: undiscounted sum of raw rewards so far, per agent.
        policies: which policy each agent plays.
        user_data: anything hooks want to remember until the episode ends.
        custom_metrics: numbers that hooks want to see averaged in the results.
    """

    __slots__ = (
        "custom_metrics",
        "env_index",
        "eps_id",
        "length",
        "policies",
        "returns",
        "user_data",
    )

    def __init__(
        self, eps_id: int, env_index: int, policies: dict[AgentID, PolicyID] | None = None
    ) -> None:
        self.eps_id = eps_id
        self.env_index = env_index
        self.length = 0
        self.returns: dict[AgentID, float] = {}
        self.policies = {} if policies is None else policies
        self.user_data: dict[str, Any] = {}
        self.custom_metrics: dict[str, float] = {}

    @property
    def total_reward(self) -> float:
        """The return of all agents together."""
        return sum(self.returns.values())

    def record(self, worker: int, terminated: bool) -> EpisodeRecord:
        """What remains of it when it has ended; it takes over the episode's dicts."""
        return EpisodeRecord(
            self.eps_id,
            self.env_index,
            worker,
            self.length,
            self.returns,
            self.policies,
            {name: float(value) for name, value in self.custom_metrics.items()}
            if self.custom_metrics
            else {},
            terminated,
        )


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


class StandardMetricsReporting:
    """Makes of `(batch, {policy id: Learned})` a result with RLlib's keys.

    Totals are those of the workers; `…_this_iter` and `timers` cover the time since the last
    result. `training_iteration` and wall times are the Trainer's to add.
    """

    def __init__(self, workers: WorkerSet, config: Any = None) -> None:
        """Report on `workers`.

        Args:
            workers: whose counters, timings and episodes are reported.
            config: anything with `config[key]`; read are `metrics_num_episodes_for_smoothing`
                (100; episodes in the window of `episode_*`) and `min_time_s_per_reporting`
                (0; seconds until when updates give NOT_READY instead of a result).
        """
        self.workers = workers
        self.min_time_s = _setting(config, "min_time_s_per_reporting", 0.0)
        workers.metrics.resize(_setting(config, "metrics_num_episodes_for_smoothing", 100))
        self._reported_at = perf_counter()
        self._before = self._totals()

    def __call__(self, item: tuple[Batch, dict[PolicyID, Learned]]) -> Any:
        """A result dict, or NOT_READY while the iteration is too short.

        Raises:
            NoExperience: no step was sampled or trained since the last result.
        """
        now = perf_counter()
        if now - self._reported_at < self.min_time_s:
            return NOT_READY
        totals = self._totals()
        new = {name: totals[name] - self._before[name] for name in totals}
        if not any(new[name] for name in STEPS):
            raise NoExperience("the plan gave a result, but sampled and trained not a single step")
        self._reported_at, self._before = now, totals
        _, learned = item
        return self._result(learned, totals, new)

    def __repr__(self) -> str:
        return f"StandardMetricsReporting(last {self.workers.metrics.window} episodes)"

    def state_dict(self) -> dict[str, Any]:
        # Counts go on after a restore; timings begin anew.
        return {"before": {name: self._before[name] for name in (*STEPS, "episodes")}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._before.update(state["before"])

    def _totals(self) -> dict[str, float]:
        workers = self.workers
        return {
            **{name: workers.counters[name] for name in STEPS},
            **{name: workers.timings[name] for name in STAGES},
            "episodes": workers.metrics.total,
        }

    def _result(
        self, learned: dict[PolicyID, Learned], totals: dict[str, float], new: dict[str, float]
    ) -> dict[str, Any]:
        workers = self.workers
        counters = dict(workers.counters)
        stats = {
            policy_id: {"learner_stats": finite(part.stats, f"learner_stats of {policy_id!r}")}
            for policy_id, part in learned.items()
        }
        for policy_id, told in workers.learn_metrics.items():
            if policy_id in stats and told:
                custom = finite(told, f"custom metrics of {policy_id!r}")
                stats[policy_id]["custom_metrics"] = custom
        return {
            **workers.metrics.summary(),
            "episodes_this_iter": new["episodes"],
            "timesteps_total": totals["num_env_steps_sampled"],
            "agent_timesteps_total": totals["num_agent_steps_sampled"],
            **{name: totals[name] for name in STEPS},
            **{f"{name}_this_iter": new[name] for name in STEPS},
            "num_healthy_workers": len(workers.remote_workers),
            "inference": workers.inference,
            "timers": timers(new),
            "counters": counters,
            "info": {"learner": stats, **counters},
        }


def timers(new: dict[str, float]) -> dict[str, float]:
    """Milliseconds of each stage, and env steps per second of sampling and of learning."""
    steps = {"sample": new["num_env_steps_sampled"], "learn": new["num_env_steps_trained"]}
    return {
        **{f"{stage}_time_ms": 1000.0 * new[stage] for stage in STAGES},
        **{f"{k}_throughput": n / new[k] if new[k] > 0 else 0.0 for k, n in steps.items()},
    }


def _setting(config: Any, key: str, default: Any) -> Any:
    try:
        return default if config is None else config[key]
    except KeyError:
        return default
