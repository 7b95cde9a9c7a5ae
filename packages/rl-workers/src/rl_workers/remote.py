"""Rollout workers as Ray actors: started, waited for and ended."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from rl_workers.errors import WorkerError
from rl_workers.rollout_worker import RemoteWorker

_KNOCK_SECONDS = 5.0
_STOP_SECONDS = 5.0


def start_remote_workers(
    num_workers: int,
    num_cpus_per_worker: float,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    cpus_taken: float = 0,
) -> tuple[list[Any], bool]:
    """Actor handles of workers that are ready to sample, and whether Ray was started for them.

    `cpus_taken` are asked for beside them, by other workers of the same training.

    Raises:
        WorkerError: Ray is missing, unreachable or too small, or a worker failed to start.
    """
    ray, started = _ray()
    workers: list[Any] = []
    try:
        _check_room(ray, num_workers * num_cpus_per_worker, cpus_taken)
        actor = ray.remote(num_cpus=num_cpus_per_worker)(RemoteWorker)
        workers = [actor.remote() for _ in range(num_workers)]
        ready = [
            worker.start.remote(*arguments, worker_index=i, **keywords)
            for i, worker in enumerate(workers, start=1)
        ]
        for i, reference in enumerate(ready, start=1):
            _wait_for(ray, reference, i)
    except BaseException:
        stop_remote_workers(workers, started)
        raise
    return workers, started


def stop_remote_workers(workers: list[Any], shut_down_ray: bool) -> None:
    """Let the workers close their environments, then end them, whether they answer or not."""
    import ray

    if ray.is_initialized():
        closing = [worker.stop.remote() for worker in workers]
        ray.wait(closing, num_returns=len(closing), timeout=_STOP_SECONDS) if closing else None
        for worker in workers:
            ray.kill(worker)
        if shut_down_ray:
            ray.shutdown()


def _ray() -> tuple[Any, bool]:
    """Ray, initialised, and whether that was done here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as e:
        raise WorkerError(
            f"num_workers > 0 needs Ray, which cannot be imported here ({e}). Install it with "
            "`pip install ray`, or sample in this process with num_workers=0."
        ) from e
    if ray.is_initialized():
        return ray, False
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        _check_reachable(address)
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as e:
        raise WorkerError(
            f"Ray could not be reached or started (RAY_ADDRESS: {address or 'not set'}): {e}. "
            "Start a cluster with `ray start --head`, unset RAY_ADDRESS to use this machine alone, "
            "or sample in this process with num_workers=0."
        ) from e
    return ray, True


def _check_reachable(address: str) -> None:
    """Knock at the cluster's door: Ray itself would go on trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


def _check_room(ray: Any, cpus: float, taken: float) -> None:
    there = ray.cluster_resources().get("CPU", 0)
    if cpus + taken > there:
        beside = f" beside the {taken:g} of those that sample for training" if taken else ""
        which = "evaluation_num_workers, num_workers" if taken else "num_workers"
        raise WorkerError(
            f"The workers ask for {cpus:g} CPUs in all{beside}; the Ray cluster has {there:g}. "
            f"Lower {which} or num_cpus_per_worker (fractions are allowed), or add nodes."
        )


def _wait_for(ray: Any, reference: Any, index: int) -> None:
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as e:
        cause = getattr(e, "cause", None) or e
        raise WorkerError(f"worker {index} could not start: {cause}") from cause
    except ray.exceptions.RayActorError as e:
        raise WorkerError(f"worker {index} died while it was starting: {e}") from e
