"""Inputs that look back in time, such as `prev_actions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from rl_policy import make_action_dist, space_columns
from rl_sample.protocols import Actor


class History:
    """The last rows of each column that a policy's `Needs.act` looks back at, [S, depth, …].

    Before an episode's first step everything is zero.
    """

    def __init__(self, actor: Actor, num_slots: int, action_space: gym.Space[Any]) -> None:
        """Remember what `actor.needs.act` asks for; actions are remembered raw.

        Raises:
            ValueError: a need looks at something other than earlier actions or rewards.
        """
        self.names: dict[str, tuple[str, tuple[int, ...]]] = {}
        """{input: (column, offsets)}, nested actions leaf by leaf."""
        self._rows: dict[str, np.ndarray] = {}
        if not actor.needs.act:
            return
        dist = getattr(actor, "dist_class", None) or make_action_dist(action_space)
        columns = space_columns("actions", dist.raw_space)
        columns["rewards"] = ((), np.dtype(np.float32))
        for name, (column, offsets) in actor.needs.act.items():
            leaves = [c for c in columns if c == column or c.startswith(f"{column}/")]
            if not leaves or max(offsets) >= 0:
                raise ValueError(
                    f"Needs.act[{name!r}] = ({column!r}, {offsets}): only earlier rows (offsets "
                    f"below 0) of {sorted(columns)} can be looked back at. Stack observations "
                    "with gymnasium.wrappers.FrameStackObservation."
                )
            for leaf in leaves:
                self.names[name + leaf.removeprefix(column)] = leaf, offsets
                shape, dtype = columns[leaf]
                depth = max(-min(offsets), self._rows[leaf].shape[1] if leaf in self._rows else 0)
                self._rows[leaf] = np.zeros((num_slots, depth, *shape), dtype)

    def add_slots(self, added: int) -> None:
        """Append slots with an empty past."""
        self._rows = {column: longer(rows, added) for column, rows in self._rows.items()}

    def clear(self, slots: np.ndarray) -> None:
        """Forget the past of the slots [L]: their episodes begin."""
        for rows in self._rows.values():
            rows[slots] = 0

    def push(self, row: Mapping[str, np.ndarray], slots: np.ndarray | None) -> None:
        """Shift in the newest values, [L, …] each, of the columns that are looked back at."""
        which: Any = slice(None) if slots is None else slots
        for column, rows in self._rows.items():
            if column in row:
                rows[which, :-1] = rows[which, 1:]
                rows[which, -1] = row[column]

    def state_dict(self) -> dict[str, np.ndarray]:
        """{column: [S, depth, …]}, copied."""
        return {column: rows.copy() for column, rows in self._rows.items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Look back at the rows of `state`, which is copied."""
        self._rows = {column: np.array(rows) for column, rows in state.items()}

    def inputs(self) -> dict[str, np.ndarray]:
        """{input: [S, …]}, or [S, offsets, …] where more than one row is looked at."""
        found = {}
        for name, (column, offsets) in self.names.items():
            rows = self._rows[column]
            looked = rows[:, [rows.shape[1] + offset for offset in offsets]]
            found[name] = looked[:, 0] if len(offsets) == 1 else looked
        return found


def longer(array: np.ndarray, added: int) -> np.ndarray:
    """`array` with `added` zero rows after its own."""
    return np.concatenate([array, np.zeros((added, *array.shape[1:]), array.dtype)])
