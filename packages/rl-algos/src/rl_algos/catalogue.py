"""Which algorithm learns with which framework in which spaces, asked of the code itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, get_args

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

from rl_algos.definition import TrainerDefinition
from rl_algos.frameworks import is_installed
from rl_algos.keys import ConfigError, key_index, locate
from rl_algos.registry import ALGORITHMS, get_algorithm
from rl_policy import PolicyDefinition, make_action_dist, make_encoder

_vector, _choice = Box(-1, 1, (3,), np.float32), Discrete(3)

OBSERVATIONS: Mapping[str, Space[Any]] = {
    "Box": _vector,
    "image": Box(0, 255, (42, 42, 3), np.uint8),
    "Discrete": _choice,
    "MultiDiscrete": MultiDiscrete([2, 3]),
    "MultiBinary": MultiBinary(3),
    "Dict": Dict(a=_vector, b=_choice),
    "Tuple": Tuple((_vector, _choice)),
    "Text": Text(5),
}
"""{kind: a small space of it}; `image` is a Box of rank 3."""
ACTIONS: Mapping[str, Space[Any]] = {
    "Discrete": _choice,
    "MultiDiscrete": MultiDiscrete([2, 3]),
    "MultiBinary": MultiBinary(3),
    "Box": Box(-2, 2, (2,), np.float32),
    "integer Box": Box(0, 3, (2,), np.int64),
    "Dict": Dict(a=_choice, b=Box(-1, 1, (2,), np.float32)),
    "Tuple": Tuple((_choice, Box(-1, 1, (2,), np.float32))),
    "Text": Text(5),
}
"""{kind: a small space of it}."""


class Grid(NamedTuple):
    """One of the tables that show the catalogue: its head, and a row for each algorithm.

    It has a row for each framework where they differ.
    """

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def table(algorithms: Sequence[str] = tuple(ALGORITHMS)) -> list[dict[str, Any]]:
    """One row for each algorithm, framework, observation space and action space.

    No framework is imported. What decides is what a policy is built with: the encoder of
    observations, the distribution of actions, and the definition's own `validate_spaces`.

    Args:
        algorithms: names, or `module:name` of your own.

    Returns:
        Rows `{"algorithm", "framework", "installed", "observation_space", "action_space",
        "supported", "why" (not), "action_mask", "recurrent", "several_policies"}`.

    Raises:
        ConfigError: there is no such algorithm, or it has no policy of its own.
    """
    rows = []
    for name in algorithms:
        definition = get_algorithm(name)
        recurrent, several = (
            is_recurrent(definition),
            "policies" in key_index(definition.config_class),
        )
        for framework in frameworks(definition):
            for observed, observation_space in OBSERVATIONS.items():
                for acted, action_space in ACTIONS.items():
                    why = obstacle(definition, observation_space, action_space)
                    rows.append(
                        {
                            "algorithm": definition.name,
                            "framework": framework,
                            "installed": is_installed(framework),
                            "observation_space": observed,
                            "action_space": acted,
                            "supported": why is None,
                            "why": why,
                            "action_mask": why is None and takes_mask(action_space),
                            "recurrent": recurrent,
                            "several_policies": several,
                        }
                    )
    return rows


def frameworks(definition: TrainerDefinition) -> list[str]:
    """What the policy of an algorithm can learn with; `numpy` where it is written without one."""
    policy = definition.default_policy
    if policy is None:
        raise ConfigError(
            f"{definition.name} has no policy of its own, so its spaces are those of the policies "
            "that you give it"
        )
    if not isinstance(policy, PolicyDefinition):
        return ["numpy"]
    if policy.framework is not None:
        return [policy.framework]
    section, field = locate(definition.config_class, "framework")
    kind: Any = definition.config_class
    for name in filter(None, (section, field)):
        kind = kind.model_fields[name].annotation
    return [name for name in get_args(kind) if name != "auto"]


def learns_with(definition: TrainerDefinition) -> str:
    """`framework: torch, tf, tf2 (not installed: tf, tf2); auto: torch` of an algorithm."""
    try:
        names = frameworks(definition)
    except ConfigError:
        return "framework: that of the policies that you give it"
    there = [name for name in names if is_installed(name)]
    absent = ", ".join(name for name in names if name not in there)
    auto = f"; auto: {there[0]}" if len(names) > 1 and there else ""
    return f"framework: {', '.join(names)}{f' (not installed: {absent})' if absent else ''}{auto}"


def obstacle(
    definition: TrainerDefinition, observation_space: Space[Any], action_space: Space[Any]
) -> str | None:
    """Why an algorithm's policy cannot be built for two spaces, or None where it can."""
    policy = definition.default_policy
    spaces = (observation_space, action_space)
    try:
        if not isinstance(policy, PolicyDefinition):
            policy(*spaces, {})
            return None
        make_encoder(observation_space)
        make_action_dist(action_space)
        if policy.validate_spaces is not None:
            config = policy.default_config()
            known = SimpleNamespace(
                config=config, observation_space=observation_space, action_space=action_space
            )
            policy.validate_spaces(known, *spaces, config)
    except (TypeError, ValueError, NotImplementedError) as error:
        return str(error)
    return None


def takes_mask(action_space: Space[Any]) -> bool:
    """Whether choices of a space can be masked by an observation's `action_mask`."""
    return make_action_dist(action_space).mask_size is not None


def is_recurrent(definition: TrainerDefinition) -> bool:
    """Whether `use_lstm` and `use_gru` mean something: the config decides about the net."""
    policy = definition.default_policy
    return (
        isinstance(policy, PolicyDefinition)
        and policy.make_model is None
        and policy.make_model_and_action_dist is None
        and "use_lstm" in key_index(definition.config_class)
    )


def grids(rows: Sequence[Mapping[str, Any]]) -> list[Grid]:
    """The rows of `table` as three small tables: observations, actions, and what else there is.

    ✓ supported, m supported with action masks, – not supported, (✓) supported by what is not
    installed. A space counts as supported if it is together with every other that the algorithm
    supports at all.
    """
    known = list(dict.fromkeys(row["framework"] for row in rows))
    observations = Grid(("observations", *OBSERVATIONS), [])
    actions = Grid(("actions", *ACTIONS), [])
    more = Grid(("", *known, "LSTM, GRU", "several policies"), [])
    for name in dict.fromkeys(row["algorithm"] for row in rows):
        mine = [row for row in rows if row["algorithm"] == name]
        observations.rows.extend(_per_framework(name, mine, "observation_space", OBSERVATIONS))
        actions.rows.extend(_per_framework(name, mine, "action_space", ACTIONS))
        there = {row["framework"]: "✓" if row["installed"] else "(✓)" for row in mine}
        facts = [mine[0][fact] for fact in ("recurrent", "several_policies")]
        marks = ["✓" if fact else "–" for fact in facts]
        more.rows.append((name, *(there.get(framework, "–") for framework in known), *marks))
    return [observations, actions, more]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The tables of `grids` in Markdown."""
    parts = []
    for grid in grids(rows):
        lines = [grid.head, tuple("---" for _ in grid.head), *grid.rows]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _per_framework(
    name: str, rows: Sequence[Mapping[str, Any]], axis: str, kinds: Iterable[str]
) -> list[tuple[str, ...]]:
    """An algorithm's marks along an axis, in one row unless its frameworks differ in them."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for framework in dict.fromkeys(row["framework"] for row in rows):
        mine = [row for row in rows if row["framework"] == framework]
        alike.setdefault(tuple(_mark(mine, axis, kind) for kind in kinds), []).append(framework)
    if len(alike) == 1:
        return [(name, *marks) for marks in alike]
    return [(f"{name} ({', '.join(which)})", *marks) for marks, which in alike.items()]


def _mark(rows: Sequence[Mapping[str, Any]], axis: str, kind: str) -> str:
    """One cell: what becomes of a kind of space with all others that are supported at all."""
    other = "action_space" if axis == "observation_space" else "observation_space"
    possible = {row[other] for row in rows if row["supported"]}
    cells = [row for row in rows if row[axis] == kind and row[other] in possible]
    if not cells or not all(row["supported"] for row in cells):
        return "–" if not any(row["supported"] for row in cells) else "some"
    return "m" if axis == "action_space" and cells[0]["action_mask"] else "✓"
