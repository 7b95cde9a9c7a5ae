"""Spaces as JSON and back: how a saved policy remembers what it was made for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

from rl_policy.space_tree import leaf_spaces


def space_to_json(space: Space[Any]) -> dict[str, Any]:
    """Describe a space in JSON values.

    Bounds that are the same everywhere become one number; infinities become strings, which strict
    JSON readers accept.

    Raises:
        TypeError, ValueError: a leaf is of an unsupported kind, see `leaf_spaces`.
    """
    leaf_spaces(space, "space")
    return _describe(space)


def space_from_json(data: Any) -> Space[Any]:
    """Rebuild a space from `space_to_json`'s description.

    Raises:
        ValueError: the description is damaged or of an unknown kind; the message says where.
    """
    return _read(data, "space")


def _read(data: Any, name: str) -> Space[Any]:
    kind = data.get("type") if isinstance(data, dict) else None
    if kind not in [*_LEAVES, "Dict", "Tuple"]:
        raise ValueError(
            f"at {name!r} stands no description of a space: {data!r:.200}; expected a dict whose "
            f"'type' is one of {[*_LEAVES, 'Dict', 'Tuple']}"
        )
    try:
        if kind in _LEAVES:
            return _LEAVES[kind](data)
        pairs = list(data["spaces"] if kind == "Dict" else enumerate(data["spaces"]))
        children = [(key, child, f"{name}/{key}") for key, child in pairs]
    except (AssertionError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(
            f"the description of a {kind} at {name!r} is damaged ({error!r}): {data!r:.200}"
        ) from error
    if kind == "Dict":
        return Dict([(key, _read(child, where)) for key, child, where in children])
    return Tuple([_read(child, where) for _, child, where in children])


def _describe(space: Space[Any]) -> dict[str, Any]:
    if isinstance(space, Dict):
        children = [[key, _describe(child)] for key, child in space.spaces.items()]
        return {"type": "Dict", "spaces": children}
    if isinstance(space, Tuple):
        return {"type": "Tuple", "spaces": [_describe(child) for child in space.spaces]}
    if isinstance(space, Discrete):
        start = int(space.start)
        return {"type": "Discrete", "n": int(space.n), "start": start, "dtype": _dtype(space)}
    if isinstance(space, MultiDiscrete):
        nvec, start = np.asarray(space.nvec).tolist(), np.asarray(space.start).tolist()
        return {"type": "MultiDiscrete", "nvec": nvec, "start": start, "dtype": _dtype(space)}
    if isinstance(space, MultiBinary):
        size = space.n if isinstance(space.n, int) else list(space.shape)
        return {"type": "MultiBinary", "n": size}
    if not isinstance(space, Box):
        raise TypeError(f"{space} has no description")
    return {
        "type": "Box",
        "low": _bounds_to_json(space.low),
        "high": _bounds_to_json(space.high),
        "shape": list(space.shape),
        "dtype": _dtype(space),
    }


def _dtype(space: Space[Any]) -> str:
    return str(np.dtype(space.dtype))


def _bounds_to_json(bounds: np.ndarray) -> Any:
    flat = [_number_to_json(x) for x in bounds.ravel().tolist()]
    if all(x == flat[0] for x in flat):
        return flat[0]
    return flat


def _number_to_json(x: Any) -> Any:
    return x if math.isfinite(x) else str(x)


def _box(data: dict[str, Any]) -> Box:
    shape = tuple(data["shape"])
    dtype = np.dtype(data["dtype"])
    low, high = (_bounds_from_json(data[key], shape, dtype) for key in ("low", "high"))
    return Box(low, high, shape, dtype.type)


def _bounds_from_json(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Read one number for all, or a flat list of them; "inf" and "-inf" are floats."""
    if not isinstance(value, list):
        return np.full(shape, float(value) if isinstance(value, str) else value, dtype=dtype)
    return np.array([float(x) if isinstance(x, str) else x for x in value], dtype).reshape(shape)


def _discrete(data: dict[str, Any]) -> Discrete:
    dtype = np.dtype(data["dtype"]).type
    others = {} if dtype is np.int64 else {"dtype": dtype}  # Gymnasium 1.1 knows int64 only
    return Discrete(data["n"], start=data["start"], **others)


def _multi_discrete(data: dict[str, Any]) -> MultiDiscrete:
    dtype = np.dtype(data["dtype"]).type
    nvec, start = (np.array(data[key], dtype=np.int64) for key in ("nvec", "start"))
    return MultiDiscrete(nvec, dtype=dtype, start=start)


def _multi_binary(data: dict[str, Any]) -> MultiBinary:
    return MultiBinary(data["n"])


_LEAVES: dict[str, Callable[[dict[str, Any]], Space[Any]]] = {
    "Box": _box,
    "Discrete": _discrete,
    "MultiBinary": _multi_binary,
    "MultiDiscrete": _multi_discrete,
}
