"""One worker: environments, actors and the sampler that joins them."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import gymnasium as gym

from rl_sample.protocols import Fragment, InputReader, PolicyID, PolicyTable, Snapshot
from rl_workers.callbacks import Callbacks, overridden
from rl_workers.envs import EnvContext, EnvSpec, make_env, make_vector_env
from rl_workers.multi_agent_env import MultiAgentEnv
from rl_workers.multi_agent_sampler import MultiAgentSampler
from rl_workers.options import RolloutOptions
from rl_workers.sampler import Sampler
from rl_workers.vector_envs import GymVectorEnvs, LocalEnvs


class RolloutWorker:
    """Samples fragments with its own environments and actors.

    Attributes:
        input: the InputReader that gives the fragments.
        worker_index: 0 in the driver's process, from 1 on in Ray's.
    """

    def __init__(
        self,
        env: EnvSpec,
        table: PolicyTable,
        options: RolloutOptions,
        *,
        callbacks: type[Callbacks] | Callbacks | None = None,
        worker_index: int = 0,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        """Make the environments and actors; ready to sample afterwards."""
        self.worker_index = worker_index
        self._idle_since = perf_counter()
        hooks = callbacks() if isinstance(callbacks, type) else callbacks or Callbacks()
        policies = {
            pid: spec.build(options.inference, worker_index=worker_index, num_workers=num_workers)
            for pid, spec in table.specs.items()
        }
        contexts = [
            EnvContext(
                options.env_config,
                worker_index=worker_index,
                vector_index=i,
                num_workers=num_workers,
            )
            for i in range(options.num_envs_per_worker)
        ]
        envs = _make_envs(env, contexts, options, hooks, worker_index)
        multi = isinstance(envs, list)
        sampler_class: Any = options.sampler_class or (MultiAgentSampler if multi else Sampler)
        self.input: InputReader = sampler_class(
            envs,
            policies,
            options,
            mapping_fn=table.mapping_fn,
            callbacks=hooks,
            worker=worker_index,
            seed=seed,
        )

    def sample(self, snapshots: dict[PolicyID, Snapshot] | None = None) -> Fragment | None:
        """One fragment, sampled with the given parameters, or with those it had."""
        waited = perf_counter() - self._idle_since
        if snapshots is not None:
            self.input.publish(snapshots)
        fragment = self.input.next()
        self._idle_since = perf_counter()
        if fragment is not None:
            fragment.timings["wait"] = waited
        return fragment

    def stop(self) -> None:
        """Close the environments."""
        self.input.close()


class RemoteWorker:
    """A RolloutWorker as a Ray actor sees it.

    The worker is made by a call and not with the actor, because Ray reports what an actor's
    constructor raises as a death, not as the exception that it was.
    """

    def __init__(self) -> None:
        self._worker: RolloutWorker | None = None

    def start(self, *args: Any, **kwargs: Any) -> int:
        """Make the worker; returns its process id."""
        import os

        self._worker = RolloutWorker(*args, **kwargs)
        return os.getpid()

    def sample(self, snapshots: dict[PolicyID, Snapshot] | None = None) -> Fragment | None:
        """As RolloutWorker.sample."""
        assert self._worker is not None
        return self._worker.sample(snapshots)

    def apply(self, function: Any, *args: Any) -> Any:
        """`function(worker, *args)`, run where the worker lives."""
        return function(self._worker, *args)

    def stop(self) -> None:
        """Close the environments, if it came to that."""
        if self._worker is not None:
            self._worker.stop()


def _make_envs(
    spec: EnvSpec,
    contexts: list[EnvContext],
    options: RolloutOptions,
    callbacks: Callbacks,
    worker: int,
) -> LocalEnvs | GymVectorEnvs | list[MultiAgentEnv]:
    """What the sampler steps: a list of multi-agent environments, or single-agent ones as one."""
    if options.vectorize:
        return GymVectorEnvs(make_vector_env(spec, contexts[0], len(contexts)), worker)
    envs = []
    created = overridden(callbacks, "on_sub_environment_created")
    for context in contexts:
        envs.append(make_env(spec, context))
        if created is not None:
            created(worker=worker, sub_environment=envs[-1], env_context=context)
        if isinstance(envs[-1], gym.vector.VectorEnv):
            return GymVectorEnvs(envs[-1], worker)
    if isinstance(envs[0], MultiAgentEnv):
        return envs
    return LocalEnvs(envs, worker)
