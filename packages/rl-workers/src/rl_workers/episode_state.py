"""Open episodes as plain data: what hooks and books know of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rl_sample.protocols import AgentID, PolicyID
from rl_workers.env_state import NotPlain, plain
from rl_workers.flow.results import Episode


def episode_state(episode: Episode) -> dict[str, Any]:
    """What `restored_episode` makes an equal episode of; agents go by their `repr`.

    Where hooks have kept what is neither JSON nor an array, `why` says so: the episode cannot go
    on without it.
    """
    state = {
        "eps_id": episode.eps_id,
        "env_index": episode.env_index,
        "length": episode.length,
        "returns": {repr(agent): float(total) for agent, total in episode.returns.items()},
        "policies": {repr(agent): pid for agent, pid in episode.policies.items()},
    }
    try:
        state["user_data"] = plain(episode.user_data, "episode.user_data")
        state["custom_metrics"] = plain(episode.custom_metrics, "episode.custom_metrics")
    except NotPlain as e:
        state["why"] = str(e)
    return state


def restored_episode(
    state: Mapping[str, Any],
    agents: Mapping[str, AgentID],
    policies: dict[AgentID, PolicyID] | None = None,
) -> Episode:
    """The episode that `episode_state` was given; `agents` are known by their `repr`.

    `policies` is a mapping that several episodes share; without it the episode has its own.

    Raises:
        KeyError: an agent is unknown.
    """
    if policies is None:
        policies = {agents[name]: pid for name, pid in state["policies"].items()}
    episode = Episode(state["eps_id"], state["env_index"], policies)
    episode.length = state["length"]
    episode.returns = {agents[name]: total for name, total in state["returns"].items()}
    episode.user_data = plain(state.get("user_data", {}), "episode.user_data")
    episode.custom_metrics = plain(state.get("custom_metrics", {}), "episode.custom_metrics")
    return episode


def pack_infos(
    rows: np.ndarray | None, cursors: np.ndarray
) -> tuple[list[list[Any]], dict[str, str]]:
    """Info dicts [T, S] as JSON, and of slots that have others why not; there they become {}."""
    packed: list[list[Any]] = []
    odd: dict[str, str] = {}
    for t, row in enumerate(() if rows is None else rows):
        packed.append([None] * len(row))
        for slot in np.flatnonzero(cursors > t).tolist():
            try:
                packed[-1][slot] = plain(row[slot], f"the info of step {t}")
            except NotPlain as e:
                packed[-1][slot], odd[str(slot)] = {}, str(e)
    return packed, odd


def unpack_infos(packed: list[list[Any]]) -> np.ndarray:
    """The object array [T, S] that `pack_infos` packed."""
    rows = np.empty((len(packed), len(packed[0])), object)
    for t, row in enumerate(packed):
        for slot, info in enumerate(row):
            rows[t, slot] = info
    return rows
