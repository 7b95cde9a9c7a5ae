"""From raw actions, which policies deal in, to those that an environment takes.

Raw actions count choices from 0, and bounded numbers run from -1 to 1; batches store them as
sampled. Only what is sent to the environment is shifted, scaled and clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

from rl_policy.space_tree import leaf_spaces, nest, pick
from rl_policy.spaces import identity

LARGEST_INT_CHOICE = 2**16
"""An integer Box with more values per number than this is refused: each would be one logit."""


def raw_action_space(action_space: Space[Any]) -> Space[Any]:
    """Give the space of raw actions: its columns are what batches store.

    Discrete and MultiDiscrete count from 0 in int64, an integer Box becomes a MultiDiscrete, a
    Box of floats an unbounded float32 Box, MultiBinary stays; nested spaces leaf by leaf.

    Raises:
        TypeError: a leaf cannot be acted on; the message names it and the way out.
    """
    raw = [_raw_leaf(leaf.name, leaf.space) for leaf in leaf_spaces(action_space, "actions")]
    return _like(action_space, iter(raw))


def make_action_map(
    action_space: Space[Any], normalize_actions: bool = True, clip_actions: bool = False
) -> Callable[[Any], Any]:
    """Make the function from raw actions [B, …] to the environment's, in its dtype (NumPy).

    Args:
        action_space: the environment's.
        normalize_actions: scale numbers bounded on both sides from [-1, 1] to their bounds, and
            clip all to the bounds.
        clip_actions: clip to the bounds without scaling.

    Returns:
        `identity` itself where nothing is to be done.
    """
    raw_action_space(action_space)
    return _map_leaves(action_space, lambda leaf: _leaf_map(leaf, normalize_actions, clip_actions))


def make_raw_map(action_space: Space[Any], normalize_actions: bool = True) -> Callable[[Any], Any]:
    """Make the function from an environment's actions [B, …] to raw ones (NumPy).

    It undoes `make_action_map`, but for what was clipped.
    """
    return _map_leaves(action_space, lambda leaf: _raw_leaf_map(leaf, normalize_actions))


def _map_leaves(
    action_space: Space[Any], make: Callable[[Space[Any]], Callable[[Any], Any]]
) -> Callable[[Any], Any]:
    """One function for nested actions from those that `make` gives for the leaves."""
    leaves = leaf_spaces(action_space, "actions")
    maps = [make(leaf.space) for leaf in leaves]
    if all(leaf_map is identity for leaf_map in maps):
        return identity
    if not leaves[0].path:
        return maps[0]

    def map_nested(actions: Any) -> Any:
        mapped = [m(pick(actions, leaf.path)) for m, leaf in zip(maps, leaves, strict=True)]
        return nest(action_space, iter(mapped))

    return map_nested


def _raw_leaf(name: str, space: Space[Any]) -> Space[Any]:
    if isinstance(space, Discrete):
        return Discrete(int(space.n))
    if isinstance(space, MultiDiscrete):
        return MultiDiscrete(np.asarray(space.nvec, dtype=np.int64))
    if isinstance(space, Box) and not np.issubdtype(space.dtype, np.floating):
        if not space.is_bounded("both"):
            raise TypeError(f"actions at {name!r} are unbounded integers: {space}; give bounds")
        count = space.high.astype(object) - space.low.astype(object) + 1
        if np.max(count) > LARGEST_INT_CHOICE:
            raise TypeError(
                f"actions at {name!r} have {np.max(count)} values per number, each would be one "
                f"choice; at most {LARGEST_INT_CHOICE} are. Use a Box of floats and round in the "
                f"environment: {space}"
            )
        return MultiDiscrete(count.astype(np.int64)) if space.shape else Discrete(int(count))
    if isinstance(space, Box):
        return Box(-np.inf, np.inf, space.shape, np.float32)
    return space


def _leaf_map(space: Space[Any], normalize: bool, clip: bool) -> Callable[[Any], Any]:
    if isinstance(space, Box) and np.issubdtype(space.dtype, np.floating):
        return _box_map(space, normalize, clip)
    if isinstance(space, MultiBinary):
        return identity
    first = space.low if isinstance(space, Box) else getattr(space, "start", 0)
    start, dtype = np.asarray(first), space.dtype
    if not start.any() and dtype == np.int64:
        return identity
    wide = start.astype(np.int64)
    return lambda actions: (actions + wide).astype(dtype)


def _box_map(space: Box, normalize: bool, clip: bool) -> Callable[[Any], Any]:
    low, high, dtype = space.low, space.high, space.dtype
    if not (normalize or clip) or not (np.isfinite(low).any() or np.isfinite(high).any()):
        return identity if dtype == np.float32 else lambda actions: actions.astype(dtype)
    if not normalize:
        return lambda actions: np.minimum(np.maximum(actions.astype(dtype), low), high)
    middle, half = _middle_and_half(space)
    return lambda actions: np.minimum(np.maximum(actions.astype(dtype) * half + middle, low), high)


def _raw_leaf_map(space: Space[Any], normalize: bool) -> Callable[[Any], Any]:
    if isinstance(space, MultiBinary):
        return identity
    if isinstance(space, Box) and np.issubdtype(space.dtype, np.floating):
        middle, half = _middle_and_half(space) if normalize else (np.float32(0), np.float32(1))
        return lambda actions: ((np.asarray(actions) - middle) / half).astype(np.float32)
    start = np.asarray(space.low if isinstance(space, Box) else getattr(space, "start", 0))
    return lambda actions: np.asarray(actions, np.int64) - start.astype(np.int64)


def _middle_and_half(space: Box) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half the width of a Box in its dtype; 0 and 1 where a bound is infinite."""
    low, high = space.low, space.high
    bounded = np.isfinite(low) & np.isfinite(high)
    wide_low, wide_high = (np.where(bounded, x.astype(np.float64), 0) for x in (low, high))
    middle = (wide_low / 2 + wide_high / 2).astype(space.dtype)
    half = np.where(bounded, wide_high / 2 - wide_low / 2, 1).astype(space.dtype)
    return middle, half


def _like(space: Space[Any], leaves: Any) -> Space[Any]:
    """Build a space nested like `space` from its leaves in order, keeping the order of keys."""
    if isinstance(space, Dict):
        return Dict([(key, _like(child, leaves)) for key, child in space.spaces.items()])
    if isinstance(space, Tuple):
        return Tuple([_like(child, leaves) for child in space.spaces])
    built: Space[Any] = next(leaves)
    return built
