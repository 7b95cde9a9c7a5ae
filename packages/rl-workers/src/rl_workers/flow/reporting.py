"""`StandardMetricsReporting`: the last operator of a plan turns an update into a result dict."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from rl_sample.protocols import Learned, PolicyID
from rl_workers.flow.iterators import NOT_READY
from rl_workers.flow.rollouts import Batch, NoExperience
from rl_workers.metrics import finite

if TYPE_CHECKING:
    from rl_workers.worker_set import WorkerSet

STEPS = (
    "num_env_steps_sampled",
    "num_agent_steps_sampled",
    "num_env_steps_trained",
    "num_agent_steps_trained",
)
STAGES = ("env", "inference", "write", "wait", "sample", "learn", "update")
"""Timed in every result: four inside the workers (summed over them), three of the plan itself."""


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
        return {
            **workers.metrics.summary(),
            "episodes_this_iter": new["episodes"],
            "timesteps_total": totals["num_env_steps_sampled"],
            "agent_timesteps_total": totals["num_agent_steps_sampled"],
            **{name: totals[name] for name in STEPS},
            **{f"{name}_this_iter": new[name] for name in STEPS},
            "num_healthy_workers": len(workers.remote_workers),
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
