"""`ParallelRollouts`: batches of experience from all workers, in rounds, as they come, or raw."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, overload

from rl_sample.protocols import Fragment
from rl_workers.flow.iterators import LocalIterator
from rl_workers.flow.operators import Batch, LocalRollouts, as_one_batch
from rl_workers.flow.parallel import AsReady, InRounds, ParallelIterator, Request, Shard

if TYPE_CHECKING:
    from rl_workers.worker_set import WorkerSet


@overload
def ParallelRollouts(
    workers: WorkerSet, *, mode: Literal["bulk_sync", "async"] = ..., num_async: int = ...
) -> LocalIterator[Batch]: ...
@overload
def ParallelRollouts(
    workers: WorkerSet, *, mode: Literal["raw"], num_async: int = ...
) -> ParallelIterator[Fragment]: ...
def ParallelRollouts(  # noqa: N802 - reads as the operator that it is in a plan
    workers: WorkerSet,
    *,
    mode: Literal["bulk_sync", "async", "raw"] = "bulk_sync",
    num_async: int = 1,
) -> Any:
    """Batches of experience from all workers, or from the local one if there are no others.

    Args:
        workers: who samples; each request carries the newest snapshot of the policies.
        mode: `bulk_sync`: one batch per round of all workers, concatenated in worker order;
            `async`: each worker's batch as it comes; `raw`: a ParallelIterator of `Fragment`s whose
            operators run inside the workers (then `.for_each(partial(receive, workers))`
            counts what was gathered, as the other modes do by themselves).
        num_async: requests in flight to each worker, for `async`.

    Returns:
        LocalIterator of batches; ParallelIterator for `raw`.
    """
    if mode not in ("bulk_sync", "async", "raw"):
        raise ValueError(f"mode must be 'bulk_sync', 'async' or 'raw', not {mode!r}")
    if mode == "raw":
        return _raw_rollouts(workers)
    if not workers.remote_workers:
        return LocalIterator[Batch](LocalRollouts(workers))
    requests = [
        Request(f"worker {i}", partial(_ask_for_fragment, worker, workers))
        for i, worker in enumerate(workers.remote_workers, start=1)
    ]
    source = InRounds(requests) if mode == "bulk_sync" else AsReady(requests, num_async)
    return LocalIterator[Batch](RemoteRollouts(workers, source))


class RemoteRollouts:
    """Source of the remote workers' batches: one for each item of `fragments`."""

    def __init__(self, workers: WorkerSet, fragments: InRounds | AsReady) -> None:
        self.workers = workers
        self.fragments = fragments

    def __call__(self) -> Batch:
        started = perf_counter()
        arrived = self.fragments()
        self.workers.timings["sample"] += perf_counter() - started
        if isinstance(arrived, list):
            return as_one_batch(self.workers, arrived, "a round of all remote workers")
        source = f"worker {arrived.worker}" if arrived is not None else "a remote worker"
        return as_one_batch(self.workers, [arrived], source)

    def __repr__(self) -> str:
        return f"ParallelRollouts({self.fragments})"


def _ask_for_fragment(worker: Any, workers: WorkerSet) -> Any:
    """One remote call for one fragment; the newest snapshots go along."""
    return worker.sample.remote(workers.snapshot_ref())


def _raw_rollouts(workers: WorkerSet) -> ParallelIterator[Fragment]:
    if not workers.remote_workers:
        raise ValueError("mode='raw' runs operators inside remote workers: set num_workers >= 1")
    return ParallelIterator(
        Shard(f"worker {i}", worker, attrgetter("sample"), lambda: (workers.snapshot_ref(),))
        for i, worker in enumerate(workers.remote_workers, start=1)
    )
