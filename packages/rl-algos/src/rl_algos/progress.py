"""How a run goes, out of its results: curve, rates, where the time goes, how much is left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rl_algos.stopping import BUDGETS, value_of

MEMORY_S = 10.0
"""Rates and shares are means over about so many seconds, at least over one iteration."""
CURVE = 2048
"""Points of the curve that are kept; beyond it neighbours are merged."""
SAMPLING = ("env", "inference", "write", "postprocess")
DRIVING = ("learn", "update")
GAINS = {
    "timesteps_total": "num_env_steps_sampled_this_iter",
    "agent_timesteps_total": "num_agent_steps_sampled_this_iter",
    "episodes_total": "episodes_this_iter",
}
"""What each budget has grown by since the last result."""
STAGES = (*SAMPLING, "wait", *DRIVING, "evaluation", "other")
"""What the time of an iteration goes to, in the order of its passing."""


class Progress:
    """What is remembered of the results so far.

    Attributes:
        curve: the mean returns so far, of equally many results each.
        best: the highest mean return.
        first: {key of the stop criteria: its first value}.
        evaluation: the last evaluation and the iteration it was of, if there was one.
    """

    def __init__(self, stop: Mapping[str, float]) -> None:
        self.stop = stop
        self.curve: list[float] = []
        self.best: float | None = None
        self.first: dict[str, float] = {}
        self.evaluation: tuple[int, Mapping[str, Any]] | None = None
        self._merged, self._gathered = 1, [0.0, 0.0]
        self._sums: dict[str, float] = {}

    def add(self, result: Mapping[str, Any]) -> None:
        """Take in the next result."""
        seconds = result["time_this_iter_s"]
        if "episode_reward_mean" in result:
            self._extend(result["episode_reward_mean"])
        for key in self.stop:
            if key not in self.first and math.isfinite(value := value_of(result, key)):
                self.first[key] = value
        if "evaluation" in result:
            self.evaluation = (result["training_iteration"], result["evaluation"])
        new = {**stage_seconds(result), "seconds": seconds}
        new.update({total: result.get(gain, 0) for total, gain in GAINS.items()})
        new["training_iteration"] = 1
        fading = math.exp(-seconds / MEMORY_S)
        self._sums = {k: fading * self._sums.get(k, 0.0) + v for k, v in new.items()}

    def steps_per_s(self) -> float:
        """Environment steps per second of wall time."""
        return self._sums["timesteps_total"] / max(self._sums["seconds"], 1e-9)

    def shares(self) -> dict[str, float]:
        """Part of the time that each stage takes, of those that take any; they add up to 1."""
        total = sum(self._sums[stage] for stage in STAGES) or 1.0
        return {s: self._sums[s] / total for s in STAGES if self._sums[s] > 0}

    def idle(self) -> float | None:
        """Part of the workers' time in which they had nothing to do; None without workers."""
        workers = self._sums["idle"] + self._sums["busy"]
        return self._sums["idle"] / workers if workers > 0 else None

    def seconds_left(self, result: Mapping[str, Any]) -> float | None:
        """Until the first budget is spent; None where there is none or no rate yet."""
        times = [
            self.seconds_to(key, target - result[key])
            for key, target in self.stop.items()
            if key in BUDGETS and key in result
        ]
        known = [seconds for seconds in times if seconds is not None]
        return min(known) if known else None

    def seconds_to(self, key: str, amount: float) -> float | None:
        """Until a budget has grown by `amount` at its present rate; None without one."""
        if key == "time_total_s" or amount <= 0:
            return max(0.0, amount)
        gained, seconds = self._sums.get(key, 0.0), self._sums["seconds"]
        return amount * seconds / gained if gained > 0 else None

    def _extend(self, value: float) -> None:
        """Add a point to the curve; a long one gets coarser instead of longer."""
        self.best = value if self.best is None else max(self.best, value)
        count, total = self._gathered[0] + 1, self._gathered[1] + value
        self._gathered = [count, total]
        if count < self._merged:
            return
        self.curve.append(total / count)
        self._gathered = [0.0, 0.0]
        if len(self.curve) == CURVE:
            pairs = zip(self.curve[::2], self.curve[1::2], strict=True)
            self.curve = [(a + b) / 2 for a, b in pairs]
            self._merged *= 2


def stage_seconds(result: Mapping[str, Any]) -> dict[str, float]:
    """Wall seconds of an iteration by stage, and `busy` and `idle` seconds of remote workers.

    What workers do at the same time counts once: their stages are means over workers, shrunk to the
    time that the driver sampled where they overlap with learning. `wait` is what is left of that
    time: for the slowest worker and for the transfer.
    """
    spent = {k[: -len("_time_ms")]: v / 1000.0 for k, v in result["timers"].items() if "_ms" in k}
    remote = result.get("num_healthy_workers", 0)
    workers, sampled = max(1, remote), spent.get("sample", 0.0)
    inside = {stage: spent.get(stage, 0.0) / workers for stage in SAMPLING}
    busy = sum(inside.values())
    shrink = min(1.0, sampled / busy) if busy > 0 else 0.0
    seconds = {stage: shrink * value for stage, value in inside.items()}
    seconds["wait"] = max(0.0, sampled - busy) if remote else 0.0
    seconds.update({stage: spent.get(stage, 0.0) for stage in DRIVING})
    rest = max(0.0, result.get("time_this_iter_s", 0.0) - sum(seconds.values()))
    evaluation = result.get("evaluation", {}).get("time_this_iter_s", 0.0)
    seconds["evaluation"] = min(rest, evaluation)  # less where it ran beside the training
    seconds["other"] = rest - seconds["evaluation"]
    return {
        **seconds,
        "busy": busy * workers if remote else 0.0,
        "idle": spent.get("wait", 0.0) if remote else 0.0,
    }
