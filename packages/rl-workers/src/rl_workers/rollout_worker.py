"""One worker: environments, actors and the sampler that joins them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

import gymnasium as gym

from rl_sample.protocols import Fragment, InputReader, PolicyID, PolicyTable, Snapshot
from rl_workers.callbacks import Callbacks, CallbacksSpec, make_callbacks, overridden
from rl_workers.envs import EnvContext, EnvSpec, make_env, make_vector_env
from rl_workers.gym_vector_envs import GymVectorEnvs
from rl_workers.multi_agent_env import MultiAgentEnv
from rl_workers.multi_agent_sampler import MultiAgentSampler
from rl_workers.options import RolloutOptions
from rl_workers.sampler import Sampler
from rl_workers.vector_envs import LocalEnvs


class RolloutWorker:
    """Samples fragments with its own environments and actors.

    Attributes:
        input: the InputReader that gives the fragments.
        worker_index: 0 in the driver's process, from 1 on in Ray's.
        num_envs: sub-environments that it steps.
    """

    def __init__(
        self,
        env: EnvSpec,
        table: PolicyTable,
        options: RolloutOptions,
        *,
        callbacks: CallbacksSpec = None,
        worker_index: int = 0,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        """Make the environments and actors; ready to sample afterwards."""
        self.worker_index = worker_index
        self._idle_since = perf_counter()
        hooks = make_callbacks(callbacks)
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
        self.num_envs = len(envs) if isinstance(envs, list) else envs.num_envs
        sampler_class: Any = options.sampler_class or (MultiAgentSampler if multi else Sampler)
        self._make_input: Callable[..., InputReader] = partial(
            sampler_class,
            envs,
            policies,
            options,
            mapping_fn=table.mapping_fn,
            callbacks=hooks,
            worker=worker_index,
        )
        self.input: InputReader = self._make_input(seed=seed)

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

    def state_dict(self) -> dict[str, Any]:
        """Where its environments and episodes are, as JSON-able values and arrays."""
        return {"worker": self.worker_index, "input": self.input.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Go on where `state` was taken; a line for each open episode that could not."""
        return self.input.load_state_dict(state["input"])

    def restart(self, seed: int) -> None:
        """Reset the environments and forget everything: the worker is as if made with `seed`."""
        self.input = self._make_input(seed=seed)

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

    def state_dict(self) -> dict[str, Any]:
        """As RolloutWorker.state_dict."""
        assert self._worker is not None
        return self._worker.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """As RolloutWorker.load_state_dict."""
        assert self._worker is not None
        return self._worker.load_state_dict(state)

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
        if any(envs[-1] is other for other in envs[:-1]):
            raise ValueError(
                f"env={spec!r} returned the same object twice; each call makes an environment of "
                "its own"
            )
        if isinstance(envs[-1], gym.vector.VectorEnv):
            return GymVectorEnvs(envs[-1], worker)
    if isinstance(envs[0], MultiAgentEnv):
        return envs
    return LocalEnvs(envs, worker)
