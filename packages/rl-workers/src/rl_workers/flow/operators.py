"""The operators of a synchronous plan, in the order of a training iteration."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from rl_sample import MultiAgentBatch, SampleBatch, concat_samples
from rl_sample.protocols import DEFAULT_POLICY_ID, Fragment, Learned, PolicyID

if TYPE_CHECKING:
    from rl_workers.worker_set import WorkerSet

Batch: TypeAlias = "SampleBatch | MultiAgentBatch"


class NoExperience(RuntimeError):
    """Something that must give experience gave none; says what."""


class LocalRollouts:
    """Source of the local sampler's batches."""

    def __init__(self, workers: WorkerSet) -> None:
        self.workers = workers
        self.source = workers.local_input

    def __call__(self) -> Batch:
        started = perf_counter()
        fragment = self.source.next()
        self.workers.timings["sample"] += perf_counter() - started
        return as_one_batch(self.workers, [fragment], "the local sampler")

    def __repr__(self) -> str:
        return "ParallelRollouts(local worker)"


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
    batch of one row stays as it is, and so does a policy that makes no such column; a column that
    no policy has is a KeyError. New arrays are bound, none is written into.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        self.fields = [fields] if isinstance(fields, str) else list(fields)

    def __call__(self, batch: Batch) -> Batch:
        parts = by_policy(batch).values()
        for field in self.fields:
            having = [rows for rows in parts if field in rows]
            if parts and not having:
                raise KeyError(_no_such_field(field, parts))
            for rows in having:
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


class TrainOneStep:
    """Lets each policy learn on its part of a batch, then publishes new snapshots.

    An item `batch` becomes `(batch, {policy id: Learned})`.
    """

    def __init__(
        self,
        workers: WorkerSet,
        num_sgd_iter: int = 1,
        sgd_minibatch_size: int | None = None,
        policies: Iterable[PolicyID] | None = None,
    ) -> None:
        """Learn for `num_sgd_iter` epochs of `sgd_minibatch_size` rows (None: all at once).

        `policies` are those that learn, by default all that the workers train.
        """
        self.workers = workers
        self.num_sgd_iter = num_sgd_iter
        self.sgd_minibatch_size = sgd_minibatch_size
        self.policies = to_train_of(workers, policies)
        self.rng = np.random.default_rng(workers.seed)

    def __call__(self, batch: Batch) -> tuple[Batch, dict[PolicyID, Learned]]:
        workers, started = self.workers, perf_counter()
        learned = {}
        for policy_id, rows in learnable(batch, self.policies):
            tell_learn_hook(workers, policy_id, rows)
            learned[policy_id] = workers.learners[policy_id].learn_on_batch(
                rows,
                step=workers.counters["num_env_steps_sampled"],
                epochs=self.num_sgd_iter,
                minibatch_size=self.sgd_minibatch_size,
                rng=self.rng,
            )
        workers.timings["learn"] += perf_counter() - started
        finish_update(workers, batch, learned)
        return batch, learned

    def __repr__(self) -> str:
        size = self.sgd_minibatch_size or "all rows"
        return f"TrainOneStep({self.num_sgd_iter} epochs, minibatch {size})"

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


def as_one_batch(workers: WorkerSet, fragments: Sequence[Fragment | None], source: str) -> Batch:
    """Receive fragments; their batches, as one.

    Raises:
        NoExperience: there is not a single step in them.
    """
    batches = [receive(workers, fragment) for fragment in fragments if fragment is not None]
    if not any(batch.count for batch in batches):
        raise NoExperience(f"{source} gave no experience: not a single step was sampled")
    return batches[0] if len(batches) == 1 else concat_samples(batches)


def receive(workers: WorkerSet, fragment: Fragment) -> Batch:
    """Count a fragment, keep its episodes and filter deltas, and return its batch."""
    batch = fragment.batch
    workers.counters["num_env_steps_sampled"] += batch.env_steps()
    workers.counters["num_agent_steps_sampled"] += batch.agent_steps()
    workers.metrics.add(fragment.episodes)
    for policy_id, delta in fragment.filter_deltas.items():
        if delta:
            workers.filter_deltas[policy_id].append(delta)
    for stage, seconds in fragment.timings.items():
        workers.timings[stage] += seconds
    return batch


def learnable(batch: Batch, policies: frozenset[PolicyID]) -> list[tuple[PolicyID, SampleBatch]]:
    """The parts of a batch that policies of `policies` learn on.

    Raises:
        NoExperience: there are none.
    """
    parts = by_policy(batch)
    found = [(policy_id, rows) for policy_id, rows in parts.items() if policy_id in policies]
    if not any(rows.count for _, rows in found):
        raise NoExperience(
            f"nothing to learn on: {sorted(policies)} learn, "
            f"the batch has experience of {sorted(k for k, rows in parts.items() if rows.count)}"
        )
    return [(policy_id, rows) for policy_id, rows in found if rows.count]


def tell_learn_hook(workers: WorkerSet, policy_id: PolicyID, rows: SampleBatch) -> None:
    """Tell `on_learn_on_batch`, where it is overridden, what a policy is about to learn on."""
    if workers.on_learn_on_batch is not None:
        learner = workers.learners[policy_id]
        result = workers.learn_metrics[policy_id] = {}
        workers.on_learn_on_batch(policy=learner, train_batch=rows, result=result)


def finish_update(workers: WorkerSet, batch: Batch, learned: Iterable[PolicyID]) -> None:
    """After an update: count it, merge the filters' statistics and publish snapshots."""
    started = perf_counter()
    workers.counters["num_env_steps_trained"] += batch.env_steps()
    parts = by_policy(batch)
    agent_steps = sum(parts[policy_id].agent_steps() for policy_id in learned)
    workers.counters["num_agent_steps_trained"] += agent_steps
    workers.merge_filters()
    workers.publish()
    workers.timings["update"] += perf_counter() - started


def to_train_of(workers: WorkerSet, policies: Iterable[PolicyID] | None) -> frozenset[PolicyID]:
    """The ids given, or all that the workers train; an unknown one is a ValueError."""
    chosen = workers.to_train if policies is None else frozenset(policies)
    if unknown := sorted(chosen - workers.learners.keys()):
        raise ValueError(f"no policies {unknown}; there are {sorted(workers.learners)}")
    return frozenset(chosen)


def by_policy(batch: Batch) -> Mapping[PolicyID, SampleBatch]:
    """{policy id: rows} of either kind of batch."""
    return {DEFAULT_POLICY_ID: batch} if isinstance(batch, SampleBatch) else batch.policy_batches


def _valid_rows(rows: SampleBatch) -> np.ndarray | slice:
    """Rows that are experience, not padding."""
    if not rows.zero_padded or rows.seq_lens is None or rows.max_seq_len is None:
        return slice(None)
    return (np.arange(rows.max_seq_len) < rows.seq_lens[:, None]).reshape(-1)


def _no_such_field(field: str, parts: Iterable[SampleBatch]) -> str:
    names = sorted({name for rows in parts for name in rows})
    near = difflib.get_close_matches(field, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"columns: {names}"
    return f"StandardizeFields: no policy has a column {field!r}; {hint}"
