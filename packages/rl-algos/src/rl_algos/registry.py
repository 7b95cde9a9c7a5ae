"""Algorithms by name, each imported only when it is asked for."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from rl_algos.keys import ConfigError

if TYPE_CHECKING:
    from rl_algos.definition import TrainerDefinition

ALGORITHMS = {"A2C": "rl_algos.a2c:A2C", "PG": "rl_algos.pg:PG", "PPO": "rl_algos.ppo:PPO"}
"""{name: module:attribute} of the algorithms that come with this package."""


def get_algorithm(name: str) -> TrainerDefinition:
    """The trainer definition called `name`, or the one that `module:attribute` names.

    Raises:
        ConfigError: there is no such algorithm; the nearest one is named.
    """
    target = {known.lower(): path for known, path in ALGORITHMS.items()}.get(name.lower(), name)
    module, colon, attribute = target.partition(":")
    if not colon:
        near = difflib.get_close_matches(name.upper(), ALGORITHMS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"there is no algorithm {name!r}; {hint}Known: {', '.join(ALGORITHMS)}, "
            "or your own as 'module:name'"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"algorithm {name!r} cannot be imported: {error}") from error
    if not hasattr(found, "execution_plan"):
        raise ConfigError(
            f"{name!r} is {found!r} and no algorithm: make one with rl_algos.build_trainer"
        )
    return found  # type: ignore[no-any-return]


def reference(definition: TrainerDefinition) -> str | None:
    """The name under which `get_algorithm` finds a definition again; None where there is none."""
    known = ALGORITHMS.get(definition.name)
    return definition.name if known and get_algorithm(definition.name) is definition else None
