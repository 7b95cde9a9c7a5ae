"""Observations of every space: their columns, batching, checking, and coding as network inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space, Tuple

from rl_policy.space_tree import leaf_spaces, pick
from rl_policy.xp import array_namespace

Array: TypeAlias = Any
Shape: TypeAlias = tuple[int, ...]
Columns: TypeAlias = dict[str, np.ndarray]


def identity(value: Any) -> Any:
    """Give the value; callers may compare with `is` and skip the call."""
    return value


def encoded_shape(space: Space[Any]) -> Shape:
    """Give the shape of one encoded observation: (D,), or (H, W, C) for a Box that is an image."""
    if _is_image(space):
        return tuple(space.shape or ())
    return (sum(_encoded_size(leaf.space) for leaf in leaf_spaces(space, "obs")),)


def make_encoder(space: Space[Any]) -> Callable[[Any], Array]:
    """Make the function from raw observations [B, …] to network inputs float32 [B, D].

    Discrete and MultiDiscrete become one-hot codes (counted from `start`), numbers are cast and
    flattened, `uint8` arrays of rank 3 are divided by 255; leaves of Dict and Tuple spaces are
    joined in the order of the space. A single Box of rank 3 keeps its shape [B, H, W, C].
    Works on every array library of `rl_policy.xp`.

    Returns:
        `identity` itself for a vector of float32.
    """
    leaves = leaf_spaces(space, "obs")
    if not leaves[0].path:
        return _leaf_encoder(space, keep_shape=True)
    encoders = [(leaf.path, _leaf_encoder(leaf.space, keep_shape=False)) for leaf in leaves]

    def encode_nested(obs: Any) -> Array:
        parts = [encode(pick(obs, path)) for path, encode in encoders]
        return array_namespace(parts[0]).concat(parts, axis=-1)

    return encode_nested


def space_columns(name: str, space: Space[Any]) -> dict[str, tuple[Shape, np.dtype[Any]]]:
    """Give {column: (shape of one row, dtype)} of values of `space`; float64 is kept as float32."""
    return {
        leaf.name: (tuple(leaf.space.shape or ()), _column_dtype(leaf.space))
        for leaf in leaf_spaces(space, name)
    }


def make_batcher(space: Space[Any], name: str = "obs") -> Callable[[Sequence[Any]], Columns]:
    """Make the function that stacks B observations into flat columns [B, …].

    Values are copied and cast as `space_columns` says.
    """
    leaves = leaf_spaces(space, name)
    dtypes = [_column_dtype(leaf.space) for leaf in leaves]
    if not leaves[0].path:
        dtype = dtypes[0]
        return lambda obs: {name: np.array(obs, dtype=dtype)}

    def batch_nested(obs: Sequence[Any]) -> Columns:
        return {
            leaf.name: np.array([pick(one, leaf.path) for one in obs], dtype=dtype)
            for leaf, dtype in zip(leaves, dtypes, strict=True)
        }

    return batch_nested


def batch_obs(space: Space[Any], obs: Sequence[Any], name: str = "obs") -> Columns:
    """Stack B observations into flat columns [B, …]; for many times, keep a `make_batcher`."""
    return make_batcher(space, name)(obs)


def check_obs(
    space: Space[Any], obs: Any, name: str = "obs", batch_size: int | None = None
) -> None:
    """Check that an observation has its space's structure, shape, kind of dtype and choices.

    The bounds of a Box are not checked (environments overstep them by rounding), nor NaN.

    Args:
        space: what was promised.
        obs: one observation, or a batch of them when `batch_size` is given.
        name: what messages call it.
        batch_size: the leading axis that every array has to have.

    Raises:
        ValueError: naming the place, what was found there and what was expected.
    """
    if isinstance(space, Dict):
        _check_keys(name, obs, dict, set(space.spaces))
        children: list[tuple[Any, Space[Any]]] = list(space.spaces.items())
    elif isinstance(space, Tuple):
        _check_keys(name, obs, tuple, set(range(len(space.spaces))))
        children = list(enumerate(space.spaces))
    else:
        _check_leaf(space, obs, name, batch_size)
        return
    for key, child in children:
        check_obs(child, obs[key], f"{name}/{key}", batch_size)


def _check_keys(name: str, value: Any, kind: type, expected: set[Any]) -> None:
    """Check that a nested value is a dict (tuple or list) with just the expected keys."""
    if not isinstance(value, (tuple, list) if kind is tuple else dict):
        raise ValueError(
            f"{name!r} should be a {kind.__name__}, got {type(value).__name__}: {value!r:.80}"
        )
    found = set(range(len(value))) if kind is tuple else set(value)
    if found != expected:
        raise ValueError(
            f"{name!r} should hold {sorted(expected)}; missing: {sorted(expected - found)}, "
            f"unexpected: {sorted(found - expected, key=str)}"
        )


def _check_leaf(space: Space[Any], value: Any, name: str, batch_size: int | None) -> None:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name!r} does not make one array: {error}") from error
    lead = () if batch_size is None else (batch_size,)
    shape = (*lead, *(space.shape or ()))
    if array.shape != shape:
        raise ValueError(f"{name!r} has shape {array.shape}, expected {shape} as of {space}")
    if not np.can_cast(array.dtype, np.dtype(space.dtype), "same_kind"):
        raise ValueError(
            f"{name!r} has dtype {array.dtype}, expected {space.dtype} as of {space}; "
            "cast it in the environment or mend its observation_space"
        )
    if isinstance(space, Box):
        return
    first, count = _choices(space)
    wrong = (array < first) | (array >= first + count)
    if wrong.any():
        raise ValueError(f"{name!r} holds {array[wrong].flat[0]}, which is no value of {space}")


def _choices(space: Space[Any]) -> tuple[Any, Any]:
    """Give (first value, number of values) of a discrete leaf, [*shape] each."""
    if isinstance(space, Discrete):
        return np.asarray(space.start), np.asarray(space.n)
    if isinstance(space, MultiDiscrete):
        return np.asarray(space.start), np.asarray(space.nvec)
    return np.zeros(space.shape, np.int64), np.full(space.shape, 2)


def _column_dtype(space: Space[Any]) -> np.dtype[Any]:
    dtype = np.dtype(space.dtype)
    return np.dtype(np.float32) if dtype == np.float64 else dtype


def _is_image(space: Space[Any]) -> bool:
    return isinstance(space, Box) and len(space.shape) == 3


def _encoded_size(space: Space[Any]) -> int:
    if isinstance(space, (Discrete, MultiDiscrete)):
        return int(np.sum(_choices(space)[1]))
    return math.prod(space.shape or ())


def _leaf_encoder(space: Space[Any], *, keep_shape: bool) -> Callable[[Array], Array]:
    """Make the function from values [B, *shape] of a leaf to float32 [B, D] (or images)."""
    if isinstance(space, (Discrete, MultiDiscrete)):
        return _one_hot_encoder(*(np.ravel(x) for x in _choices(space)))
    shape = tuple(space.shape or ())
    target = shape if keep_shape and len(shape) == 3 else (math.prod(shape),)
    if _is_image(space) and space.dtype == np.uint8:
        scale = np.float32(1 / 255)

        def encode_image(values: Array) -> Array:
            xp = array_namespace(values)
            return xp.reshape(xp.astype(values, "float32") * float(scale), (-1, *target))

        return encode_image
    if space.dtype == np.float32 and shape == target:
        return identity

    def encode_numbers(values: Array) -> Array:
        xp = array_namespace(values)
        return xp.reshape(xp.astype(values, "float32"), (-1, *target))

    return encode_numbers


def _one_hot_encoder(first: np.ndarray, count: np.ndarray) -> Callable[[Array], Array]:
    """Make the function from integers [B, *shape] to one-hot codes side by side, [B, Σ count].

    Output j is 1 where the number `owner[j]` of a row equals `value[j]`: one comparison for all.
    """
    owner = np.repeat(np.arange(len(count)), count)
    value = np.concatenate([start + np.arange(n) for start, n in zip(first, count, strict=True)])

    def encode_choices(values: Array) -> Array:
        xp = array_namespace(values)
        flat = xp.reshape(values, (-1, len(count)))
        if len(count) > 1:
            flat = xp.take(flat, xp.asarray(owner, values, dtype="int64"), axis=-1)
        return xp.astype(xp.equal(flat, xp.asarray(value, values)), "float32")

    return encode_choices
