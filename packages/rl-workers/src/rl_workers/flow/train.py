"""From batches to updates: `TrainOneStep`, or gradients computed, averaged and applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rl_sample import SampleBatch, concat_samples
from rl_sample.protocols import Arrays, Learned, PolicyID
from rl_workers.flow.rollouts import Batch, NoExperience

if TYPE_CHECKING:
    from rl_workers.worker_set import WorkerSet


class Gradients(NamedTuple):
    """What `ComputeGradients` gives and `ApplyGradients` takes."""

    batch: Batch
    grads: Mapping[PolicyID, Arrays]
    learned: dict[PolicyID, Learned]


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
        self.policies = _to_train(workers, policies)
        self.rng = np.random.default_rng(workers.seed)

    def __call__(self, batch: Batch) -> tuple[Batch, dict[PolicyID, Learned]]:
        workers, started = self.workers, perf_counter()
        learned = {}
        for policy_id, rows in learnable(batch, self.policies):
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


class ComputeGradients:
    """Computes each policy's gradients on its part of a batch; nothing is changed yet."""

    def __init__(self, workers: WorkerSet, policies: Iterable[PolicyID] | None = None) -> None:
        self.workers = workers
        self.policies = _to_train(workers, policies)

    def __call__(self, batch: Batch) -> Gradients:
        started = perf_counter()
        grads, learned = {}, {}
        for policy_id, rows in learnable(batch, self.policies):
            grads[policy_id], learned[policy_id] = self.workers.learners[policy_id].gradients(rows)
        self.workers.timings["learn"] += perf_counter() - started
        return Gradients(batch, grads, learned)

    def __repr__(self) -> str:
        return f"ComputeGradients({sorted(self.policies)})"


class AverageGradients:
    """Makes one of several `Gradients` (of micro-batches, say), weighted by their rows.

    For losses that are means over rows the result is the gradient of the whole batch.
    """

    def __call__(self, parts: Sequence[Gradients]) -> Gradients:
        if len(parts) == 1:
            return parts[0]
        rows = [
            {policy_id: rows.count for policy_id, rows in _by_policy(part.batch).items()}
            for part in parts
        ]
        grads, learned = {}, {}
        for policy_id in dict.fromkeys(policy_id for part in parts for policy_id in part.grads):
            having = [i for i, part in enumerate(parts) if policy_id in part.grads]
            weights = np.array([rows[i][policy_id] for i in having], np.float64)
            weights /= weights.sum()
            grads[policy_id] = _weighted_sum([parts[i].grads[policy_id] for i in having], weights)
            learned[policy_id] = _merged([parts[i].learned[policy_id] for i in having], weights)
        return Gradients(concat_samples([part.batch for part in parts]), grads, learned)

    def __repr__(self) -> str:
        return "AverageGradients()"


class ApplyGradients:
    """Applies gradients, then publishes new snapshots.

    An item `Gradients` becomes `(batch, {policy id: Learned})`, as after TrainOneStep.
    """

    def __init__(self, workers: WorkerSet) -> None:
        self.workers = workers

    def __call__(self, item: Gradients) -> tuple[Batch, dict[PolicyID, Learned]]:
        workers, started = self.workers, perf_counter()
        for policy_id, grads in item.grads.items():
            workers.learners[policy_id].apply(grads)
        workers.timings["learn"] += perf_counter() - started
        finish_update(workers, item.batch, item.learned)
        return item.batch, item.learned

    def __repr__(self) -> str:
        return "ApplyGradients()"


def learnable(batch: Batch, policies: frozenset[PolicyID]) -> list[tuple[PolicyID, SampleBatch]]:
    """The parts of a batch that policies of `policies` learn on.

    Raises:
        NoExperience: there are none.
    """
    parts = _by_policy(batch)
    found = [(policy_id, rows) for policy_id, rows in parts.items() if policy_id in policies]
    if not any(rows.count for _, rows in found):
        raise NoExperience(
            f"nothing to learn on: {sorted(policies)} learn, "
            f"the batch has experience of {sorted(k for k, rows in parts.items() if rows.count)}"
        )
    return [(policy_id, rows) for policy_id, rows in found if rows.count]


def finish_update(workers: WorkerSet, batch: Batch, learned: Iterable[PolicyID]) -> None:
    """After an update: count it, merge the filters' statistics and publish snapshots."""
    started = perf_counter()
    workers.counters["num_env_steps_trained"] += batch.env_steps()
    parts = _by_policy(batch)
    agent_steps = sum(parts[policy_id].agent_steps() for policy_id in learned)
    workers.counters["num_agent_steps_trained"] += agent_steps
    workers.merge_filters()
    workers.publish()
    workers.timings["update"] += perf_counter() - started


def _to_train(workers: WorkerSet, policies: Iterable[PolicyID] | None) -> frozenset[PolicyID]:
    chosen = workers.to_train if policies is None else frozenset(policies)
    if unknown := sorted(chosen - workers.learners.keys()):
        raise ValueError(f"no policies {unknown}; there are {sorted(workers.learners)}")
    return frozenset(chosen)


def _by_policy(batch: Batch) -> Mapping[PolicyID, SampleBatch]:
    return batch.as_multi_agent().policy_batches


def _weighted_sum(parts: Sequence[Arrays], weights: np.ndarray) -> Arrays:
    return {
        name: sum(w * part[name] for w, part in zip(weights.tolist(), parts, strict=True))
        for name in parts[0]
    }


def _merged(parts: Sequence[Learned], weights: np.ndarray) -> Learned:
    """Mean of the statistics, rows one after the other."""
    stats = {
        name: float(sum(w * p.stats[name] for w, p in zip(weights, parts, strict=True)))
        for name in parts[0].stats
    }
    rows = {name: np.concatenate([part.rows[name] for part in parts]) for name in parts[0].rows}
    return Learned(stats, rows)
