"""Walk nested spaces: the leaves of Dict and Tuple spaces, and values nested the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

Path = tuple[Any, ...]


class Leaf(NamedTuple):
    """A space that is not nested, and where it stands."""

    name: str
    """Flat column name: `obs`, `obs/position/0`."""
    path: Path
    """Keys and indices that lead to it: `("position", 0)`."""
    space: Space[Any]


def leaf_spaces(space: Space[Any], name: str) -> list[Leaf]:
    """List the leaves of a space in its own order.

    Raises:
        TypeError: a leaf is of a kind that has no fixed-size array form.
        ValueError: a nested space is empty, or a key would make column names ambiguous.
    """
    return list(_walk(space, name, ()))


def _walk(space: Space[Any], name: str, path: Path) -> Iterator[Leaf]:
    if isinstance(space, Dict):
        for key, child in space.spaces.items():
            yield from _walk(child, f"{name}/{_checked(key, name)}", (*path, key))
    elif isinstance(space, Tuple):
        for index, child in enumerate(space.spaces):
            yield from _walk(child, f"{name}/{index}", (*path, index))
    elif isinstance(space, (Box, Discrete, MultiBinary, MultiDiscrete)):
        if 0 in (space.shape or ()):
            raise ValueError(f"the space at {name!r} holds no numbers: {space}")
        yield Leaf(name, path, space)
        return
    else:
        wrapper = "TransformAction" if name.startswith("action") else "TransformObservation"
        raise TypeError(
            f"the space at {name!r} is a {type(space).__name__}, whose values have no fixed-size "
            "array form; supported: Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple "
            f"of them. Wrap the environment, e.g. with gymnasium.wrappers.{wrapper}"
        )
    if not space.spaces:
        raise ValueError(f"the {type(space).__name__} space at {name!r} is empty")


def _checked(key: Any, name: str) -> str:
    """Give a Dict space's key, if column names made with it can be told apart."""
    if not isinstance(key, str) or not key or "/" in key or key.isdigit():
        raise ValueError(
            f"key {key!r} of the Dict space at {name!r} cannot be part of a column name: keys are "
            "strings without '/' that are not all digits (those mean positions in a Tuple)"
        )
    return key


def pick(nested: Any, path: Path) -> Any:
    """Give the value at `path` of a nested value."""
    for key in path:
        nested = nested[key]
    return nested


def nest(space: Space[Any], values: Iterator[Any]) -> Any:
    """Nest values, given in the order of `leaf_spaces`, as dicts and tuples like `space`."""
    if isinstance(space, Dict):
        return {key: nest(child, values) for key, child in space.spaces.items()}
    if isinstance(space, Tuple):
        return tuple(nest(child, values) for child in space.spaces)
    return next(values)


def map_nested(function: Callable[[Any], Any], nested: Any) -> Any:
    """Call a function on the values in dicts and tuples; lists become tuples."""
    if isinstance(nested, Mapping):
        return {key: map_nested(function, value) for key, value in nested.items()}
    if isinstance(nested, tuple | list):
        return tuple(map_nested(function, value) for value in nested)
    return function(nested)
