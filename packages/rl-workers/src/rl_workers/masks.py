"""Legal actions that environments tell in their infos, as the column `action_mask`.

An environment whose first reset gives `infos["action_mask"]` gives one with every reset and step:
1 where an action is legal, for several choices (MultiDiscrete) one after the other, or a tuple of
them. With the last observation of an episode, on which nobody acts, it may be left out. Where Dict
observations have a key `action_mask`, that one counts and infos are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rl_sample.protocols import Arrays
from rl_workers.errors import EnvError, at

MASK = "action_mask"
OBS_MASK = "obs/action_mask"

Where = tuple[int, ...]
"""Worker, environment and perhaps the step, for errors."""


def new_masks(info: Mapping[str, Any], slots: int, where: Where) -> np.ndarray:
    """[S, M] bool, all legal, for masks such as the first reset's info has."""
    return np.ones((slots, _flat(info[MASK], where).size), bool)


def mask_of(
    info: Mapping[str, Any], like: np.ndarray | None, where: Where, *, over: bool = False
) -> np.ndarray:
    """The legal actions [M] bool that one info dict tells.

    Args:
        info: of a reset or a step.
        like: masks of this environment [S, M]; None: its first reset had none.
        where: what errors name.
        over: the episode is over; without a mask all actions then count as legal.

    Raises:
        EnvError: there is no mask although there were some before, or the other way round, or it
            is none, or one of another size.
    """
    mask = info.get(MASK)
    if mask is None and over and like is not None:
        return np.ones(like.shape[1], bool)
    if mask is None:
        raise EnvError(
            f"{at(*where)}: the info has no {MASK!r}, but others had one. Give one with "
            "every reset and step, all ones where every action is legal."
        )
    if like is None:
        raise EnvError(
            f"{at(*where)}: the info has an {MASK!r}, but that of the first reset had none. Give "
            "one with every reset too: the first action needs it."
        )
    legal = _flat(mask, where)
    if legal.size != like.shape[1]:
        raise EnvError(
            f"{at(*where)}: infos[{MASK!r}] has {legal.size} entries, others had "
            f"{like.shape[1]}. A mask has one entry for each action, legal or not."
        )
    if not over and not legal.any():
        raise EnvError(
            f"{at(*where)}: infos[{MASK!r}] allows no action. Leave at least one legal until the "
            "episode ends."
        )
    return legal


def with_masks(buffers: Mapping[str, np.ndarray], info: Mapping[str, Any], where: Where) -> Arrays:
    """Observation buffers [S, …], and one for masks if the first info has one that counts."""
    slots = len(next(iter(buffers.values())))
    if OBS_MASK in buffers or info.get(MASK) is None:
        return dict(buffers)
    return {**buffers, MASK: new_masks(info, slots, where)}


def mask_column(
    buffers: Arrays, info: Mapping[str, Any], where: Where, *, over: bool = False
) -> dict[str, np.ndarray]:
    """{"action_mask": [M] bool}, if there are masks in the infos; arguments as of `mask_of`."""
    if OBS_MASK in buffers or (MASK not in buffers and info.get(MASK) is None):
        return {}
    return {MASK: mask_of(info, buffers.get(MASK), where, over=over)}


def info_of(infos: Mapping[str, Any], i: int) -> dict[str, Any]:
    """The mask of sub-environment `i` in Gymnasium's dict of arrays, as its info; {} without."""
    if MASK not in infos or not infos.get(f"_{MASK}", {i: True})[i]:
        return {}
    return {MASK: infos[MASK][i]}


def all_legal(obs: Arrays, slots: np.ndarray) -> dict[str, np.ndarray]:
    """`obs` with masks that allow everything in `slots`, where nobody heeds what is done."""
    opened = dict(obs)
    for name in (MASK, OBS_MASK):
        if name in obs:
            opened[name] = np.array(obs[name])
            opened[name][slots] = 1
    return opened


def _flat(mask: Any, where: Where) -> np.ndarray:
    """[M] bool of an array, or of a tuple of arrays."""
    try:
        parts = [np.ravel(part) for part in (mask if isinstance(mask, tuple) else (mask,))]
        legal = np.concatenate(parts)
    except ValueError:
        legal = np.empty(0, object)
    if legal.dtype.kind not in "biuf" or not legal.size:
        raise EnvError(
            f"{at(*where)}: infos[{MASK!r}] is {mask!r:.80}; it should be an array with 1 for "
            "every action that is legal and 0 for the others, or a tuple of such arrays."
        )
    return legal.astype(bool)
