"""Hooks into sampling, learning and training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from rl_sample.protocols import Actor, AgentID, Learner, PolicyID

if TYPE_CHECKING:
    from rl_sample import SampleBatch
    from rl_workers.flow.results import Episode


class Callbacks:
    """Override what you want to hear of; hooks that are not overridden cost nothing.

    Hooks of sampling are called where the environments are, each worker with an object of its
    own; those of learning and training in the trainer's process. `worker` is the index of the
    rollout worker, `base_env` its sub-environments, `policies` its actors by policy id.
    """

    def on_sub_environment_created(
        self, *, worker: int, sub_environment: Any, env_context: Any
    ) -> None:
        """A sub-environment was made."""

    def on_trainer_init(self, *, trainer: Any) -> None:
        """A Trainer is ready to train."""

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

    def on_postprocess_trajectory(
        self, *, worker: int, episode: Episode, agent_id: AgentID, policy_id: PolicyID,
        policies: Mapping[PolicyID, Actor], postprocessed_batch: SampleBatch,
        original_batches: Mapping[AgentID, tuple[PolicyID, SampleBatch]],
    ) -> None:  # fmt: skip
        """A trajectory piece of one agent was postprocessed; its columns may be set anew.

        `original_batches` holds the pieces of all agents of the episode as they were sampled.
        """

    def on_sample_end(self, *, worker: int, samples: Any) -> None:
        """A batch is about to be handed over."""

    def on_learn_on_batch(
        self, *, policy: Learner, train_batch: SampleBatch, result: MutableMapping[str, float]
    ) -> None:
        """A policy is about to learn on a batch, whose columns may be set anew.

        What is put into `result` becomes `info/learner/<policy id>/custom_metrics`.
        """

    def on_train_result(self, *, trainer: Any, result: dict[str, Any]) -> None:
        """An iteration is over; what is put into its result is reported and logged."""


HOOKS = tuple(name for name in vars(Callbacks) if name.startswith("on_"))
"""The names of all hooks."""


class MultiCallbacks(Callbacks):
    """Several callbacks in one: each hook is called on all that override it, in order."""

    def __init__(self, classes: Sequence[type[Callbacks]]) -> None:
        """Make one object of each class."""
        self.members = [make_callbacks(each) for each in classes]
        for hook in HOOKS:
            calls = [call for member in self.members if (call := overridden(member, hook))]
            if calls:
                setattr(self, hook, calls[0] if len(calls) == 1 else _InTurn(calls))


CallbacksSpec: TypeAlias = "type[Callbacks] | Sequence[type[Callbacks]] | Callbacks | None"
"""What callbacks are made of: a class, several of them, nothing, or an object that is there."""


def make_callbacks(spec: CallbacksSpec) -> Callbacks:
    """Callbacks of a class, of several (`MultiCallbacks`) or of nothing; an object stays itself.

    Raises:
        TypeError: what is given is nothing of this.
    """
    if spec is None:
        return Callbacks()
    if isinstance(spec, Callbacks):
        return spec
    if isinstance(spec, list | tuple):
        return MultiCallbacks(spec)
    if isinstance(spec, type) and issubclass(spec, Callbacks):
        return spec()
    raise TypeError(
        f"callbacks={spec!r} is neither a class that inherits rl_workers.Callbacks nor a list of "
        "such classes"
    )


def overridden(callbacks: Callbacks, hook: str) -> Any | None:
    """The bound hook where a subclass (or the object itself) defines it, else None."""
    bound = getattr(callbacks, hook)
    return None if getattr(bound, "__func__", None) is getattr(Callbacks, hook) else bound


class _InTurn:
    """Calls that are made one after the other; a class, so that it travels."""

    def __init__(self, calls: Sequence[Callable[..., None]]) -> None:
        self.calls = calls

    def __call__(self, **told: Any) -> None:
        for call in self.calls:
            call(**told)
