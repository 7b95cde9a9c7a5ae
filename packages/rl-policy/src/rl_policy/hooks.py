"""The functions that shape acting and postprocessing, and the marks users put on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])


def xp_only(function: _F) -> _F:
    """Mark a hook as written on `rl_policy.xp` alone, so that workers may call it on NumPy arrays.

    An acting hook without this mark makes workers act with the framework.
    """
    function.xp_only = True  # type: ignore[attr-defined]
    return function


def whole_fragment(function: _F) -> _F:
    """Mark a `postprocess_fn` as vectorised over trajectories.

    It is called once per fragment with all trajectory pieces (their ends are in `batch.segments`)
    and not once per piece.
    """
    function.whole_fragment = True  # type: ignore[attr-defined]
    return function


@dataclass(frozen=True)
class ActingHooks:
    """The hooks of a `PolicyDefinition` that run where experience is made."""

    action_sampler_fn: Callable[..., Any] | None = None
    action_distribution_fn: Callable[..., Any] | None = None
    extra_action_out_fn: Callable[..., Any] | None = None
    make_model: Callable[..., Any] | None = None
    make_model_and_action_dist: Callable[..., Any] | None = None
    postprocess_fn: Callable[..., Any] | None = None

    @property
    def any_acting(self) -> bool:
        """`act` must call a hook."""
        return any((self.action_sampler_fn, self.action_distribution_fn, self.extra_action_out_fn))

    @property
    def any_model(self) -> bool:
        """A hook makes the model."""
        return bool(self.make_model or self.make_model_and_action_dist)

    def framework_reason(self) -> str | None:
        """Why acting needs the framework, or None where NumPy will do."""
        for field in fields(self):
            hook = getattr(self, field.name)
            if field.name == "postprocess_fn" or hook is None:
                continue
            if field.name.startswith("make_model"):
                return f"{field.name} builds its own model"
            if not getattr(hook, "xp_only", False):
                return f"{field.name} is not marked @xp_only"
        return None
