"""Hooks into sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rl_sample.protocols import Actor, PolicyID
from rl_workers.flow.results import Episode


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
