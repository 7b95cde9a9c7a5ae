"""Observations of every space: their columns, batching, checking, and coding as network inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space, Tuple

from rl_policy.space_tree import Leaf, Path, leaf_spaces, pick
from rl_policy.xp import array_namespace

Array: TypeAlias = Any
Shape: TypeAlias = tuple[int, ...]
Columns: TypeAlias = dict[str, np.ndarray]

_LEAST_SIDE = 10
"""Both sides of an image of rank 2: smaller tables are numbers, not pictures."""


def identity(value: Any) -> Any:
    """Give the value; callers may compare with `is` and skip the call."""
    return value


class Image(NamedTuple):
    """A leaf that convolutions read: networks get it raw, and cast, scale and order it."""

    name: str
    """Flat column name: `obs`, `obs/eye`."""
    path: Path
    """Where it is in a nested observation; () if the observation is this image alone."""
    axes: tuple[int, ...]
    """Axes of the raw value: height, width, and those that become channels, slowest first."""
    shape: Shape
    """(height, width, channels) for the network."""
    scale: float
    """What the numbers are multiplied with: 1 / upper bound for unsigned integers, else 1."""


def find_images(space: Space[Any], order: str | None = None) -> tuple[Image, ...]:
    """List the leaves of an observation space that are images, in the order of the space.

    A Box is an image if it has rank 3; or rank 2 with both sides at least 10 (one channel); or
    rank 4 (a stack of images of rank 3, whose channels are put side by side). Of three axes the
    first is the channel axis if it is smaller than both others and at most 4, or smaller than
    both others and these are equal; else the last. Integers without sign are divided by their
    upper bound.

    Args:
        space: of observations; a Dict's key `action_mask` is no input of networks.
        order: "HWC" or "CHW" where the rule on axes is wrong, "flat" for no images at all.
    """
    found = []
    for leaf in _input_leaves(space):
        axes = _image_axes(leaf.space, order)
        if axes is not None:
            shape = tuple(leaf.space.shape or ())
            height, width, *channels = (shape[axis] for axis in axes)
            size = (height, width, math.prod(channels))
            found.append(Image(leaf.name, leaf.path, axes, size, _image_scale(leaf.space)))
    return tuple(found)


def encoded_shape(space: Space[Any], order: str | None = None) -> Shape:
    """Give the shape (D,) of one observation's encoded vector, which images are no part of."""
    leaves = _vector_leaves(space, order)
    return (sum(_encoded_size(leaf.space) for leaf in leaves),)


def make_encoder(space: Space[Any], order: str | None = None) -> Callable[[Any], Array]:
    """Make the function from raw observations [B, …] to network inputs float32 [B, D].

    Discrete and MultiDiscrete become one-hot codes (counted from `start`), numbers are cast and
    flattened; leaves of Dict and Tuple spaces are joined in the order of the space. Images (see
    `find_images`) are no part of it: networks read them as they are. An observation that is one
    image is given back as it is. Works on every array library of `rl_policy.xp`.

    Args:
        space: of observations.
        order: of image axes; "flat" for no images at all.

    Returns:
        `identity` itself for a vector of float32 and for an image.
    """
    leaves = _vector_leaves(space, order)
    if leaf_spaces(space, "obs")[0].path == ():
        return _leaf_encoder(space) if leaves else identity
    encoders = [(leaf.path, _leaf_encoder(leaf.space)) for leaf in leaves]
    first = leaf_spaces(space, "obs")[0].path

    def encode_nested(obs: Any) -> Array:
        parts = [encode(pick(obs, path)) for path, encode in encoders]
        if parts:
            return array_namespace(parts[0]).concat(parts, axis=-1)
        image = pick(obs, first)  # nothing but images: a vector without numbers, as long as they
        xp = array_namespace(image)
        return xp.astype(xp.reshape(image, (len(image), -1))[:, :0], "float32")

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


def _input_leaves(space: Space[Any]) -> list[Leaf]:
    """The leaves that networks read: all but the mask of a Dict that holds more than it."""
    leaves = leaf_spaces(space, "obs")
    return [leaf for leaf in leaves if leaf.path != ("action_mask",)] or leaves


def _vector_leaves(space: Space[Any], order: str | None) -> list[Leaf]:
    leaves = _input_leaves(space)
    return [leaf for leaf in leaves if _image_axes(leaf.space, order) is None]


def _image_axes(space: Space[Any], order: str | None) -> tuple[int, ...] | None:
    """Axes in the order height, width, channels; None for what is no image."""
    shape = tuple(space.shape or ())
    if order == "flat" or not isinstance(space, Box) or not 2 <= len(shape) <= 4:
        return None
    if len(shape) == 2:
        return (0, 1) if min(shape) >= _LEAST_SIDE else None
    first, second, third = shape[-3:]
    smaller = first < min(second, third)
    leads = smaller and (first <= 4 or second == third) if order is None else order == "CHW"
    stack = len(shape) - 3
    axes = (stack + 1, stack + 2, stack) if leads else (stack, stack + 1, stack + 2)
    return (*axes[:2], *range(stack), axes[2])


def _image_scale(space: Space[Any]) -> float:
    dtype = np.dtype(space.dtype)
    return 1.0 / float(max(np.max(space.high), 1)) if dtype.kind == "u" else 1.0  # type: ignore[attr-defined]


def _encoded_size(space: Space[Any]) -> int:
    if isinstance(space, (Discrete, MultiDiscrete)):
        return int(np.sum(_choices(space)[1]))
    return math.prod(space.shape or ())


def _leaf_encoder(space: Space[Any]) -> Callable[[Array], Array]:
    """Make the function from values [B, *shape] of a leaf to float32 [B, D]."""
    if isinstance(space, (Discrete, MultiDiscrete)):
        return _one_hot_encoder(*(np.ravel(x) for x in _choices(space)))
    shape = tuple(space.shape or ())
    size = math.prod(shape)
    if space.dtype == np.float32 and shape == (size,):
        return identity

    def encode_numbers(values: Array) -> Array:
        xp = array_namespace(values)
        return xp.reshape(xp.astype(values, "float32"), (-1, size))

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
