"""Gradients computed, averaged and applied, where `TrainOneStep` would do all at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rl_sample import concat_samples
from rl_sample.protocols import Arrays, Learned, PolicyID
from rl_workers.flow.operators import (
    Batch,
    by_policy,
    finish_update,
    learnable,
    tell_learn_hook,
    to_train_of,
)

if TYPE_CHECKING:
    from rl_workers.worker_set import WorkerSet


class Gradients(NamedTuple):
    """What `ComputeGradients` gives and `ApplyGradients` takes."""

    batch: Batch
    grads: Mapping[PolicyID, Arrays]
    learned: dict[PolicyID, Learned]


class ComputeGradients:
    """Computes each policy's gradients on its part of a batch; nothing is changed yet."""

    def __init__(
        self,
        workers: WorkerSet,
        policies: Iterable[PolicyID] | None = None,
        *,
        microbatch_size: int | None = None,
    ) -> None:
        """Compute on `microbatch_size` env steps at a time and average; None: on all at once.

        `policies` are those that learn, by default all that the workers train.
        """
        self.workers = workers
        self.policies = to_train_of(workers, policies)
        self.microbatch_size = microbatch_size
        self._average = AverageGradients()

    def __call__(self, batch: Batch) -> Gradients:
        started, size = perf_counter(), self.microbatch_size
        # A slice may have nothing to learn on, but not all of them.
        for policy_id, rows in learnable(batch, self.policies):
            tell_learn_hook(self.workers, policy_id, rows)
        parts = [batch] if size is None else batch.timeslices(size)
        gradients = self._average([self._compute(part) for part in parts])
        self.workers.timings["learn"] += perf_counter() - started
        return gradients._replace(batch=batch)

    def __repr__(self) -> str:
        size = "" if self.microbatch_size is None else f", microbatch {self.microbatch_size}"
        return f"ComputeGradients({sorted(self.policies)}{size})"

    def _compute(self, batch: Batch) -> Gradients:
        step = self.workers.counters["num_env_steps_sampled"]
        grads, learned = {}, {}
        for policy_id, rows in by_policy(batch).items():
            if policy_id in self.policies and rows.count:
                learner = self.workers.learners[policy_id]
                grads[policy_id], learned[policy_id] = learner.gradients(rows, step=step)
        return Gradients(batch, grads, learned)


class AverageGradients:
    """Makes one of several `Gradients` (of micro-batches, say), weighted by their rows.

    For losses that are means over rows the result is the gradient of the whole batch.
    """

    def __call__(self, parts: Sequence[Gradients]) -> Gradients:
        if len(parts) == 1:
            return parts[0]
        rows = [
            {policy_id: rows.count for policy_id, rows in by_policy(part.batch).items()}
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
