"""Where a run's time goes, and the one config key that would make it faster."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from rl_algos.history import Run
from rl_algos.progress import SAMPLING, stage_seconds

STAGES = {
    "environment": "stepping the environments",
    "inference": "computing actions",
    "bookkeeping": "storing and postprocessing steps",
    "transport": "asking and awaiting remote workers",
    "learning": "gradient steps",
    "publishing": "weights and filters to the workers",
    "other": "everything else in an iteration",
}
"""What the time is divided into."""
BOUND = {
    "environment": "env-bound",
    "inference": "inference-bound",
    "bookkeeping": "sampling-bound",
    "transport": "transport-bound",
    "learning": "learner-bound",
    "publishing": "learner-bound",
    "other": "bound by what no timer covers",
}
CHEAP_STEP_S = 100e-6
"""An environment step below this costs less than sending it between processes."""
WIDE = 512
"""Units of a layer from which on several threads pay."""
FEW_ENVS = 32
"""Below so many environments per worker, a step costs more in calls than in arithmetic."""


class Advice(NamedTuple):
    """One config key to change."""

    key: str | None
    """None where no key would help."""
    value: Any
    """What to set; None where the reason says it."""
    why: str

    def __str__(self) -> str:
        if self.key is None:
            return self.why
        wanted = f"change {self.key}" if self.value is None else f"set {self.key}={self.value}"
        return f"To go faster {wanted}: {self.why}."


def shares(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The part of the wall time that each of STAGES took, which add up to 1.

    What happens inside remote workers is reported summed over them. Sampling took the time that
    the driver waited for it; this is divided in the proportions that a worker's stages have.

    Args:
        rows: results with `timers`; those without are left out. Empty: no time at all.
    """
    timed = [row for row in rows if isinstance(row.get("timers"), Mapping)]
    totals = dict.fromkeys(STAGES, 0.0)
    for row in timed:
        for stage, seconds in _seconds(row).items():
            totals[stage] += seconds
    whole = sum(totals.values())
    return {stage: seconds / whole for stage, seconds in totals.items()} if whole > 0 else {}


def bound(divided: Mapping[str, float]) -> str:
    """The stage that took most, of which learning and publishing count as one."""
    joined = dict(divided)
    joined["learning"] = joined.get("learning", 0.0) + joined.pop("publishing", 0.0)
    return max(joined, key=lambda stage: joined[stage])


def advise(run: Run, divided: Mapping[str, float], cores: int | None = None) -> Advice:
    """The one key to change first, for what bounds the run.

    Args:
        run: whose config says what is set now.
        divided: its `shares`.
        cores: of the machine; None: of this one.
    """
    if not run.config:
        return Advice(None, None, "What to change depends on params.json, which is missing.")
    stage = bound(divided)
    cores = cores or usable_cores()
    advisers = {
        "environment": _for_environment,
        "inference": _for_inference,
        "bookkeeping": _for_inference,
        "transport": _for_transport,
        "learning": _for_learning,
    }
    if stage not in advisers:
        return Advice(None, None, "Callbacks, evaluation or logging may be the cause: profile it.")
    return advisers[stage](run, cores)


def env_step_s(rows: Iterable[Mapping[str, Any]]) -> float:
    """Seconds of one environment step, NaN where no timer says so."""
    timed = [row for row in rows if isinstance(row.get("timers"), Mapping)]
    steps = sum(row.get("num_env_steps_sampled_this_iter", 0) for row in timed)
    spent = sum(row["timers"].get("env_time_ms", 0.0) for row in timed) / 1000
    return spent / steps if steps else math.nan


def usable_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _seconds(row: Mapping[str, Any]) -> dict[str, float]:
    """One iteration's seconds by stage."""
    spent = stage_seconds(row)
    rest = 0.0  # what a local sampler does that none of its own timers covers
    if not row.get("num_healthy_workers", 0):
        sampled = row["timers"].get("sample_time_ms", 0.0) / 1000
        rest = sampled - sum(spent[stage] for stage in SAMPLING)
    return {
        "environment": spent["env"],
        "inference": spent["inference"],
        "bookkeeping": spent["write"] + spent["postprocess"] + rest,
        "transport": spent["wait"],
        "learning": spent["learn"],
        "publishing": spent["update"],
        "other": max(0.0, spent["evaluation"] + spent["other"] - rest),
    }


def _for_environment(run: Run, cores: int) -> Advice:
    workers, envs = run.config.get("num_workers", 0), run.config.get("num_envs_per_worker", 1)
    step = env_step_s(run.rows)
    cost = f"a step of {run.env} takes {1e6 * step:,.0f} µs"
    if not run.config.get("vectorize") and step < CHEAP_STEP_S and has_own_vector(run.env):
        return Advice("vectorize", True, f"{cost}, and it has a vectorised version of its own")
    if step < CHEAP_STEP_S and workers == 0:
        return Advice(
            None, None, f"No key would help: {cost}, less than to send it to another process."
        )
    wanted = _dividing(run, [*range(min(cores - 1, 2 * max(1, workers)), workers, -1)], envs)
    if wanted is None:
        return Advice(None, None, f"No key would help: {cost}, and all {cores} cores are taken.")
    return Advice("num_workers", wanted, f"{cost}; workers step theirs at the same time")


def _for_inference(run: Run, cores: int) -> Advice:
    workers, envs = run.config.get("num_workers", 0), run.config.get("num_envs_per_worker", 1)
    slow = [
        (policy_id, said["why"])
        for policy_id, said in run.rows[-1].get("inference", {}).items()
        if isinstance(said, Mapping) and said.get("engine") == "framework"
    ]
    if slow and run.config.get("inference") == "framework":
        return Advice("inference", "auto", "NumPy acts several times faster where it can")
    if envs < FEW_ENVS:
        sizes = [n for n in range(4 * envs, envs, -1) if _divides(run, max(1, workers) * n)]
        if sizes:
            return Advice(
                "num_envs_per_worker",
                sizes[0],
                "one call computes the actions of all environments of a worker",
            )
    wanted = _dividing(run, [*range(min(cores - 1, 2 * max(1, workers)), workers, -1)], envs)
    if wanted is not None:
        return Advice("num_workers", wanted, "workers compute their actions at the same time")
    why = f" (policy {slow[0][0]} acts with the framework: {slow[0][1]})" if slow else ""
    return Advice("fcnet_hiddens", None, f"smaller layers; this machine's cores are taken{why}")


def _for_transport(run: Run, cores: int) -> Advice:
    if env_step_s(run.rows) < CHEAP_STEP_S:
        return Advice("num_workers", 0, "steps so cheap cost less here than their transport does")
    size = run.config.get("train_batch_size", 1)
    return Advice("train_batch_size", 2 * size, "fewer, larger pieces travel; it learns less often")


def _for_learning(run: Run, cores: int) -> Advice:
    batch, passes = run.config.get("train_batch_size"), run.config.get("num_sgd_iter", 1)
    minibatch = run.config.get("sgd_minibatch_size")
    if batch and minibatch and 2 * minibatch <= batch:
        return Advice(
            "sgd_minibatch_size",
            2 * minibatch,
            f"half as many gradient steps per batch, each less noisy (now {minibatch} of {batch})",
        )
    if passes > 3:
        return Advice(
            "num_sgd_iter", passes // 2, f"half the gradient steps per batch (now {passes} passes)"
        )
    if minibatch is None and batch:
        return Advice(
            "train_batch_size", 2 * batch, "half as many gradient steps for the same experience"
        )
    threads, widths = run.config.get("num_cpus_for_driver"), run.config.get("fcnet_hiddens", ())
    if threads is not None and threads < cores and (max(widths, default=0) >= WIDE or images(run)):
        return Advice("num_cpus_for_driver", cores, "large nets learn faster with more threads")
    return Advice("fcnet_hiddens", None, "smaller layers are all that is left to save")


def images(run: Run) -> bool:
    """Whether a policy reads images, for which convolutions are the work."""
    told = run.rows[-1].get("inference", {}).values()
    return any("convolutional" in said.get("why", "") for said in told if isinstance(said, Mapping))


def has_own_vector(env: str) -> bool:
    """Whether a Gymnasium id comes with a vectorised version of its own."""
    import gymnasium as gym

    return env in gym.registry and gym.registry[env].vector_entry_point is not None


def _dividing(run: Run, counts: list[int], envs: int) -> int | None:
    """The first of some numbers of workers whose environments divide a batch."""
    return next((n for n in counts if _divides(run, n * envs)), None)


def _divides(run: Run, environments: int) -> bool:
    """Whether a batch is made of whole fragments of so many environments."""
    length = run.config.get("rollout_fragment_length", "auto")
    unit = environments * (length if isinstance(length, int) else 1)
    whole = run.config.get("batch_mode") == "complete_episodes"
    batch = run.config.get("train_batch_size", unit)
    return whole or bool(unit <= batch and batch % unit == 0)
