"""Nested values (Dict and Tuple spaces) as flat columns named `obs/position/x`, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def flatten_nested(name: str, value: Any) -> dict[str, np.ndarray]:
    """Flatten nested dicts and tuples of arrays into `{name: array}`.

    `flatten_nested("obs", {"a": x, "b": (y, z)})` gives the columns `obs/a`, `obs/b/0` and
    `obs/b/1`; an array (or a list, which becomes one) gives the column `obs`.

    Args:
        name: the column's name.
        value: an array, a list, or dicts (string keys) and tuples of them.

    Raises:
        ValueError: a key that could not be told from a path or an index, an empty dict or tuple,
            a list whose items differ in shape.
    """
    if isinstance(value, np.ndarray):
        return {name: value}
    flat: dict[str, np.ndarray] = {}
    _flatten_into(flat, name, value)
    return flat


def _flatten_into(flat: dict[str, np.ndarray], path: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key in value:
            _check_key(path, key)
        children = list(value.items())
    elif isinstance(value, tuple):
        children = list(enumerate(value))
    else:
        flat[path] = _as_array(path, value)
        return
    if not children:
        raise ValueError(
            f"column {path!r} is an empty {type(value).__name__}: a nested column needs at least "
            "one array in it; leave the column out instead"
        )
    for key, child in children:
        _flatten_into(flat, f"{path}/{key}", child)


def _check_key(path: str, key: object) -> None:
    if not isinstance(key, str) or not key or "/" in key:
        raise ValueError(
            f"column {path!r} has the key {key!r}: a key of a nested column is a string, not empty "
            "and without '/', which joins the parts of a flat column name such as "
            f"{path + '/position'!r}"
        )
    if key.isdigit():
        raise ValueError(
            f"column {path!r} has the key {key!r}: a key may not be all digits, because "
            f"{path + '/' + key!r} names an item of a tuple; call it for example {'k' + key!r}"
        )


def _as_array(path: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"column {path!r} does not form an array, its items differ in shape: {error}"
        ) from error


def unflatten_nested(name: str, flat: Mapping[str, np.ndarray]) -> Any:
    """Undo `flatten_nested`: the array, dict or tuple that the flat columns of `name` stand for.

    Only `name` and names that start with `name + "/"` are read; arrays are not copied. Children
    whose names are all digits make a tuple.

    Raises:
        KeyError: there is no such column.
    """
    if name in flat:
        return flat[name]
    prefix = name + "/"
    children = {
        column[len(prefix) :].split("/", 1)[0]: None for column in flat if column.startswith(prefix)
    }
    if not children:
        raise KeyError(f"no column {name!r}; there are {sorted(flat)}")
    if all(child.isdigit() for child in children):
        return tuple(unflatten_nested(prefix + child, flat) for child in sorted(children, key=int))
    return {child: unflatten_nested(prefix + child, flat) for child in children}
