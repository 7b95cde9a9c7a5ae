"""What can go wrong between an environment and a batch, named with worker, env and step."""

from __future__ import annotations


class EnvError(RuntimeError):
    """An environment failed, broke the Gymnasium API or gave what its spaces do not allow."""


class WorkerError(RuntimeError):
    """A rollout worker could not be started, or died."""


def at(worker: int, env: int, step: int | None = None) -> str:
    """`worker 1, env 3, step 17`: the place that every sampling error names."""
    place = f"worker {worker}, env {env}"
    return place if step is None else f"{place}, step {step}"
