"""From workers to batches: `ParallelRollouts` and the operators that shape what is learned on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from functools import partial
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from rl_sample import MultiAgentBatch, SampleBatch, concat_samples
from rl_sample.protocols import DEFAULT_POLICY_ID, Fragment, PolicyID
from rl_workers.flow.iterators import LocalIterator
from rl_workers.flow.parallel import AsReady, InRounds, ParallelIterator, Request, Shard

if TYPE_CHECKING:
    from rl_workers.worker_set import WorkerSet

Batch: TypeAlias = "SampleBatch | MultiAgentBatch"


class NoExperience(RuntimeError):
    """Something that must give experience gave none; says what."""


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
            operators run inside the workers (after gathering, `.for_each(workers.receive)` does the
            counting that the other modes do).
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


class LocalRollouts:
    """Source of the local sampler's batches."""

    def __init__(self, workers: WorkerSet) -> None:
        self.workers = workers

    def __call__(self) -> Batch:
        started = perf_counter()
        fragment = self.workers.local_input.next()
        self.workers.timings["sample"] += perf_counter() - started
        return _as_one_batch(self.workers, [fragment], "the local sampler")

    def __repr__(self) -> str:
        return "ParallelRollouts(local worker)"


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
            return _as_one_batch(self.workers, arrived, "a round of all remote workers")
        source = f"worker {arrived.worker}" if arrived is not None else "a remote worker"
        return _as_one_batch(self.workers, [arrived], source)

    def __repr__(self) -> str:
        return f"ParallelRollouts({self.fragments})"


class ConcatBatches:
    """Collects batches until they hold `min_batch_size` steps, then gives them as one.

    Used with `combine`. What was collected is part of `state_dict`.
    """

    def __init__(
        self,
        min_batch_size: int,
        count_steps_by: Literal["env_steps", "agent_steps"] = "env_steps",
    ) -> None:
        if count_steps_by not in ("env_steps", "agent_steps"):
            raise ValueError(
                f"count_steps_by must be 'env_steps' or 'agent_steps', not {count_steps_by!r}"
            )
        if min_batch_size < 1:
            raise ValueError(f"min_batch_size is a number of steps, at least 1: {min_batch_size}")
        self.min_batch_size = min_batch_size
        self.count_steps_by = count_steps_by
        self.collected: list[Batch] = []
        self.steps = 0

    def __call__(self, batch: Batch) -> list[Batch]:
        self.collected.append(batch)
        self.steps += getattr(batch, self.count_steps_by)()
        if self.steps < self.min_batch_size:
            return []
        collected, self.collected, self.steps = self.collected, [], 0
        return collected if len(collected) == 1 else [concat_samples(collected)]

    def __repr__(self) -> str:
        return f"ConcatBatches({self.min_batch_size} {self.count_steps_by})"

    def state_dict(self) -> dict[str, Any]:
        return {"collected": list(self.collected), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.collected, self.steps = list(state["collected"]), state["steps"]


class SelectExperiences:
    """Keeps the experience of some policies; the count of environment steps stays."""

    def __init__(self, policy_ids: Iterable[PolicyID]) -> None:
        self.policy_ids = frozenset([policy_ids] if isinstance(policy_ids, str) else policy_ids)

    def __call__(self, batch: Batch) -> Batch:
        if isinstance(batch, MultiAgentBatch):
            kept = {k: v for k, v in batch.policy_batches.items() if k in self.policy_ids}
            return MultiAgentBatch(kept, batch.env_steps())
        if DEFAULT_POLICY_ID not in self.policy_ids:
            raise ValueError(
                f"the batch is all of {DEFAULT_POLICY_ID!r}, which is not among the selected "
                f"policies {sorted(self.policy_ids)}"
            )
        return batch

    def __repr__(self) -> str:
        return f"SelectExperiences({sorted(self.policy_ids)})"


class StandardizeFields:
    """Gives columns mean 0 and deviation 1, over the whole batch of each policy.

    (x - mean) / max(1e-4, std), float32; rows that only pad sequences neither count nor change. A
    batch of one row stays as it is. New arrays are bound, none is written into.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        self.fields = [fields] if isinstance(fields, str) else list(fields)

    def __call__(self, batch: Batch) -> Batch:
        for policy_id, rows in batch.as_multi_agent().policy_batches.items():
            for field in self.fields:
                if field not in rows:
                    raise KeyError(_no_such_field(field, policy_id, rows))
                if rows.count > 1:
                    rows[field] = standardized(rows[field], _valid_rows(rows))
        return batch

    def __repr__(self) -> str:
        return f"StandardizeFields({self.fields})"


def standardized(x: np.ndarray, valid: np.ndarray | slice = slice(None)) -> np.ndarray:
    """(x - mean) / max(1e-4, std) of `x` [B, …] over its rows `valid`, as float32; others are 0."""
    values = x[valid]
    mean, std = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    result = np.zeros(x.shape, np.float32)
    result[valid] = (values - mean) / max(1e-4, std)
    return result


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


def _as_one_batch(workers: WorkerSet, fragments: Sequence[Fragment | None], source: str) -> Batch:
    batches = [workers.receive(fragment) for fragment in fragments if fragment is not None]
    if not any(batch.count for batch in batches):
        raise NoExperience(f"{source} gave no experience: not a single step was sampled")
    return batches[0] if len(batches) == 1 else concat_samples(batches)


def _valid_rows(rows: SampleBatch) -> np.ndarray | slice:
    """Rows that are experience, not padding."""
    if not rows.zero_padded or rows.seq_lens is None or rows.max_seq_len is None:
        return slice(None)
    return (np.arange(rows.max_seq_len) < rows.seq_lens[:, None]).reshape(-1)


def _no_such_field(field: str, policy_id: PolicyID, rows: SampleBatch) -> str:
    near = difflib.get_close_matches(field, list(rows), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"columns: {sorted(rows)}"
    return (
        f"StandardizeFields: policy {policy_id!r} has no column {field!r}; {hint} "
        "(policies that do not learn are left out by SelectExperiences(workers.to_train))"
    )
