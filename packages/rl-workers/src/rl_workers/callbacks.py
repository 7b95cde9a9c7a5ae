"""Hooks into sampling, and the running episode that they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rl_sample.protocols import Actor, AgentID, EpisodeRecord, PolicyID


class Episode:
    """An episode under way.

    Attributes:
        eps_id: unique over workers and restarts.
        env_index: the sub-environment it runs in.
        length: environment steps so far.
        returns: undiscounted sum of raw rewards so far, per agent.
        policies: which policy each agent plays.
        user_data: anything hooks want to remember until the episode ends.
        custom_metrics: numbers that hooks want to see averaged in the results.
    """

    __slots__ = (
        "custom_metrics",
        "env_index",
        "eps_id",
        "length",
        "policies",
        "returns",
        "user_data",
    )

    def __init__(self, eps_id: int, env_index: int) -> None:
        self.eps_id = eps_id
        self.env_index = env_index
        self.length = 0
        self.returns: dict[AgentID, float] = {}
        self.policies: dict[AgentID, PolicyID] = {}
        self.user_data: dict[str, Any] = {}
        self.custom_metrics: dict[str, float] = {}

    @property
    def total_reward(self) -> float:
        """The return of all agents together."""
        return sum(self.returns.values())

    def record(self, worker: int, terminated: bool) -> EpisodeRecord:
        """What remains of it when it has ended."""
        return EpisodeRecord(
            eps_id=self.eps_id,
            env_id=self.env_index,
            worker=worker,
            length=self.length,
            returns=dict(self.returns),
            policies=dict(self.policies),
            custom={name: float(value) for name, value in self.custom_metrics.items()},
            terminated=terminated,
        )


class Callbacks:
    """Override what you want to hear of; hooks that are not overridden cost nothing.

    `worker` is the index of the rollout worker, `base_env` its sub-environments, `policies` its
    actors by policy id.
    """

    def on_sub_environment_created(
        self, *, worker: int, sub_environment: Any, env_context: Any
    ) -> None:
        """A sub-environment was made."""

    def on_episode_start(
        self, *, worker: int, base_env: Sequence[Any], policies: Mapping[PolicyID, Actor],
        episode: Episode, env_index: int,
    ) -> None:  # fmt: skip
        """An episode has begun."""

    def on_episode_step(
        self, *, worker: int, base_env: Sequence[Any], policies: Mapping[PolicyID, Actor],
        episode: Episode, env_index: int,
    ) -> None:  # fmt: skip
        """An episode went one step on."""

    def on_episode_end(
        self, *, worker: int, base_env: Sequence[Any], policies: Mapping[PolicyID, Actor],
        episode: Episode, env_index: int,
    ) -> None:  # fmt: skip
        """An episode has ended; its custom_metrics go into the results."""

    def on_sample_end(self, *, worker: int, samples: Any) -> None:
        """A batch is about to be handed over."""


def overridden(callbacks: Callbacks, hook: str) -> Any | None:
    """The bound hook where a subclass defines it, else None."""
    defined = getattr(type(callbacks), hook) is not getattr(Callbacks, hook)
    return getattr(callbacks, hook) if defined else None
