"""All rollout workers of a training, the policies they act with, and the books kept on both."""

from __future__ import annotations

import logging
import secrets
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rl_sample.protocols import (
    DEFAULT_POLICY_ID,
    AgentID,
    Arrays,
    InputReader,
    Learner,
    PolicyID,
    PolicyTable,
    Snapshot,
)
from rl_workers.callbacks import CallbacksSpec, make_callbacks, overridden
from rl_workers.envs import EnvSpec, resolve_env
from rl_workers.flow.results import EpisodeMetrics
from rl_workers.options import RolloutOptions
from rl_workers.remote import start_remote_workers, stop_remote_workers
from rl_workers.rollout_worker import RolloutWorker

CUT = "num_episodes_cut_by_restore"
_SHOWN = 3
_log = logging.getLogger(__name__)


class WorkerSet:
    """Rollout workers, local or on Ray, and the learners whose snapshots they act with.

    With `num_workers=0` sampling happens here and Ray is neither started nor imported;
    otherwise `num_workers` Ray actors sample, which import no deep-learning framework.

    Attributes:
        learners: the policies, which learn here.
        to_train: ids of those that shall learn.
        local_worker: the worker in this process; None with remote ones.
        remote_workers: Ray actor handles, worker 1 first.
        counters: lifetime counts, e.g. `num_env_steps_sampled`.
        timings: lifetime seconds, per stage.
        callbacks: hooks in this process.
        on_learn_on_batch: the hook of that name, None where it is not overridden.
        learn_metrics: per policy, what `on_learn_on_batch` has to report of its last update.
        metrics: finished episodes.
        inference: per policy, what evaluates it while sampling, and why.
        filter_deltas: per policy, what received fragments add to its filter.
        seed: of all sampling; drawn where none was given.
    """

    def __init__(
        self,
        env: EnvSpec,
        policies: Learner | Mapping[PolicyID, Learner],
        *,
        num_workers: int = 0,
        policy_mapping_fn: Callable[..., PolicyID] | None = None,
        policies_to_train: Iterable[PolicyID] | None = None,
        callbacks: CallbacksSpec = None,
        num_cpus_per_worker: float = 1,
        **options: Any,
    ) -> None:
        """Start the workers; `options` are those of RolloutOptions.

        Args:
            env: Gymnasium id, `module:Class`, class, callable or registered name.
            policies: one policy, or {id: policy}.
            num_workers: Ray actors; 0 samples in this process.
            policy_mapping_fn: `(agent_id, eps_id, worker_index) -> policy id`; may be left out
                where there is one policy.
            policies_to_train: ids of the policies that learn; all if left out.
            callbacks: a Callbacks class or several, made once in each worker; the one made here
                also hears of learning.
            num_cpus_per_worker: what each Ray actor asks of the cluster.

        Raises:
            ValueError: an option contradicts another or names nothing.
            WorkerError: Ray is missing, unreachable or too small, or a worker failed to start.
        """
        self.learners: dict[PolicyID, Learner] = (
            dict(policies) if isinstance(policies, Mapping) else {DEFAULT_POLICY_ID: policies}
        )
        self.to_train = frozenset(self.learners if policies_to_train is None else policies_to_train)
        self.options = RolloutOptions(**options)
        self.inference = {pid: self._inference(learner) for pid, learner in self.learners.items()}
        self.num_workers = num_workers
        self.counters: defaultdict[str, int] = defaultdict(int)
        self.timings: defaultdict[str, float] = defaultdict(float)
        self.metrics = EpisodeMetrics()
        self.filter_deltas: defaultdict[PolicyID, list[Arrays]] = defaultdict(list)
        self._snapshots: Any = None
        self.seed = secrets.randbits(31) if self.options.seed is None else self.options.seed
        self.callbacks = make_callbacks(callbacks)
        self.on_learn_on_batch = overridden(self.callbacks, "on_learn_on_batch")
        self.learn_metrics: dict[PolicyID, dict[str, float]] = {}
        arguments = (resolve_env(env), self._table(policy_mapping_fn), self.options)
        keywords: dict[str, Any] = {
            "callbacks": callbacks if num_workers else self.callbacks,
            "num_workers": num_workers,
            "seed": self.seed,
        }
        self.local_worker: RolloutWorker | None = None
        self.remote_workers: list[Any] = []
        if num_workers == 0:
            self.local_worker = RolloutWorker(*arguments, **keywords)
        else:
            self.remote_workers, self._owns_ray = start_remote_workers(
                num_workers, num_cpus_per_worker, arguments, keywords
            )
        self.publish()

    @property
    def local_input(self) -> InputReader:
        """The sampler in this process.

        Raises:
            RuntimeError: sampling happens in Ray workers.
        """
        if self.local_worker is None:
            raise RuntimeError(
                f"There is no local sampler: {self.num_workers} Ray workers sample. Use "
                "ParallelRollouts, which asks whoever does."
            )
        return self.local_worker.input

    def publish(self) -> None:
        """Let the workers act with the learners' newest parameters, once per update."""
        step = self.counters["num_env_steps_sampled"]
        snapshots = {
            pid: learner.snapshot()._replace(step=step) for pid, learner in self.learners.items()
        }
        if self.local_worker is not None:
            self.local_worker.input.publish(snapshots)
            self._snapshots = snapshots
        else:
            import ray

            self._snapshots = ray.put(snapshots)

    def snapshot_ref(self) -> Mapping[PolicyID, Snapshot] | Any:
        """What was last published: the snapshots, or for remote workers a reference to them."""
        return self._snapshots

    def merge_filters(self) -> None:
        """Merge what the received fragments add to the filters, in the order they came."""
        for pid, deltas in self.filter_deltas.items():
            self.learners[pid].merge_filters(deltas)
        self.filter_deltas.clear()

    def state_dict(self) -> dict[str, Any]:
        """Where sampling is, in worker order, as JSON-able values and arrays; between iterations.

        Learners, counters and finished episodes have states of their own.
        """
        if self.local_worker is not None:
            states = [self.local_worker.state_dict()]
        else:
            import ray

            states = ray.get([worker.state_dict.remote() for worker in self.remote_workers])
        return {"workers": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let each worker go on where it was when `state` was taken.

        An open episode that cannot go on is closed as truncated, counted in
        `num_episodes_cut_by_restore` and warned of. Publish snapshots afterwards.
        """
        saved = {part["worker"]: part for part in state["workers"]}
        if self.local_worker is not None:
            mine: dict[int, Any] = {0: self.local_worker}
            lines = self.local_worker.load_state_dict(saved[0]) if 0 in saved else []
        else:
            import ray

            mine = dict(enumerate(self.remote_workers, start=1))
            going_on = [mine[i].load_state_dict.remote(saved[i]) for i in saved if i in mine]
            lines = [line for of_worker in ray.get(going_on) for line in of_worker]
        gone = [i for i in saved if i not in mine]
        for i in gone:
            episodes = saved[i]["input"].get("episodes", ())
            self.counters[CUT] += len(episodes)
        if gone:
            _log.info("the state is of workers %s, there are %s", sorted(saved), sorted(mine))
        if lines:
            self.counters[CUT] += len(lines)
            _warn_of_cut(lines)

    def stop(self) -> None:
        """Close the environments and end the workers; Ray too, if it was started here."""
        if self.local_worker is not None:
            self.local_worker.stop()
        if self.remote_workers:
            stop_remote_workers(self.remote_workers, self._owns_ray)
            self.remote_workers = []

    def __enter__(self) -> WorkerSet:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _inference(self, learner: Learner) -> dict[str, str]:
        if self.options.inference != "auto":
            return {"engine": self.options.inference, "why": "as the option inference says"}
        engine, why = getattr(learner, "inference", ("own", "the policy is its own actor"))
        return {"engine": engine, "why": why}

    def _table(self, mapping_fn: Callable[..., PolicyID] | None) -> PolicyTable:
        unknown = self.to_train - set(self.learners)
        if unknown:
            raise ValueError(
                f"policies_to_train names {sorted(unknown)}; the policies are "
                f"{sorted(self.learners)}."
            )
        if mapping_fn is None:
            if len(self.learners) > 1:
                raise ValueError(
                    f"{len(self.learners)} policies ({', '.join(self.learners)}) need a "
                    "policy_mapping_fn that says which agent plays which."
                )
            mapping_fn = Always(next(iter(self.learners)))
        specs = {pid: learner.actor_spec() for pid, learner in self.learners.items()}
        return PolicyTable(0, specs, mapping_fn, self.to_train)


def _warn_of_cut(lines: Sequence[str]) -> None:
    shown = [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else lines
    listed = "".join(f"\n  {line}" for line in shown)
    warnings.warn(
        f"{len(lines)} open episodes could not go on where they were saved: they end as truncated "
        f"and others begin, so training does not go on bit for bit.{listed}\n"
        "Give the environment `get_state()` and `set_state(state)` (JSON values and arrays), or "
        "let it draw all its random numbers from `self.np_random` and keep nothing from one "
        "episode to the next, so that its actions can be replayed.",
        RuntimeWarning,
        stacklevel=3,
    )


class Always:
    """The mapping where there is one policy; a class, so that it travels."""

    def __init__(self, pid: PolicyID) -> None:
        self.pid = pid

    def __call__(self, agent_id: AgentID, eps_id: int, worker_index: int) -> PolicyID:
        return self.pid
