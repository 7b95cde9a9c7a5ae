"""Rows of experience while they are being written: columns of slots, one cursor per slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rl_sample.batch import SampleBatch
from rl_sample.protocols import Arrays, Segments

_LIVE = " live"
"""Column that tells rows from holes, where there are any; no other name has a space."""
_IDENTITY = ("eps_id", "env_id", "agent_index", "unroll_id")


class _Ends(NamedTuple):
    """Pieces that ended in one tick; all fields [E, …]."""

    slots: np.ndarray
    rows: np.ndarray
    eps_ids: np.ndarray
    last_obs: Arrays
    last_state: tuple[np.ndarray, ...]


class SlotWriter:
    """Columns in which each of `S` slots has its own write cursor.

    A slot is one (sub-environment, agent). A row is opened by `put` (what was seen and decided)
    and closed by another (what came of it). `take` hands the closed rows over as one batch,
    slot-major, in arrays of its own. Slots that step together (`slots=None`) cost a slice instead
    of an index; where some of them sit a step out (`live`), their rows are holes that nobody gets
    to see.

    While it is written a column is `[T, S, …]`: what one tick writes lies side by side in memory,
    which with hundreds of slots matters more than the reordering when a fragment is taken.
    """

    def __init__(self, num_slots: int, rows_per_slot: int) -> None:
        """Make room for `rows_per_slot` rows in each slot; both numbers grow when they must."""
        self.num_slots = num_slots
        self.cursors = np.zeros(num_slots, np.int64)
        """[S] closed rows of each slot, holes counted."""
        self.eps_ids = np.zeros(num_slots, np.int64)
        """[S] the episode that each slot is writing."""
        self.env_ids = np.arange(num_slots)
        self.agent_indices = np.zeros(num_slots, np.int64)
        self.lockstep: int | None = 0
        """The cursor that all slots share; None where they differ."""
        self._capacity = rows_per_slot
        self._arrays: dict[str, np.ndarray] = {}
        self._ends: list[_Ends] = []
        self._fragments = 0

    def add_slots(self, env_ids: list[int], agent_indices: list[int]) -> None:
        """Append a slot for each (sub-environment, agent index)."""
        added = len(env_ids)
        self.num_slots += added
        zeros = np.zeros(added, np.int64)
        self.cursors = np.concatenate([self.cursors, zeros])
        self.eps_ids = np.concatenate([self.eps_ids, zeros])
        self.env_ids = np.concatenate([self.env_ids, np.asarray(env_ids, np.int64)])
        self.agent_indices = np.concatenate([self.agent_indices, np.asarray(agent_indices)])
        for name, array in self._arrays.items():
            room = np.zeros((self._capacity, added, *array.shape[2:]), array.dtype)
            self._arrays[name] = np.concatenate([array, room], axis=1)
        if self.lockstep != 0:
            self.lockstep = None

    def put(
        self,
        values: Mapping[str, np.ndarray],
        slots: np.ndarray | None = None,
        *,
        close: bool = False,
        live: np.ndarray | None = None,
    ) -> None:
        """Write `values` ([S, …], or [len(slots), …]) into the open row of the given slots.

        `close=True` completes the row: the slots' cursors move on. `live` [S] bool says which of
        all slots took part; the rows of the others are holes.
        """
        cursor = self.lockstep
        if (self.cursors.max(initial=0) if cursor is None else cursor) >= self._capacity:
            self._grow()
        at: int | tuple[np.ndarray, np.ndarray]
        if slots is not None:
            at = self.cursors[slots], slots
        elif cursor is not None:
            at = cursor
        else:
            at = self.cursors, np.arange(self.num_slots)
        arrays = self._arrays
        if live is not None and _LIVE not in arrays:
            arrays[_LIVE] = np.ones((self._capacity, self.num_slots), bool)
        if close and _LIVE in arrays:
            arrays[_LIVE][at] = True if live is None else live
        for name, value in values.items():
            if name not in arrays:
                shape = (self._capacity, self.num_slots, *np.shape(value)[1:])
                arrays[name] = np.zeros(shape, np.asarray(value).dtype)
            arrays[name][at] = value
        if close:
            if slots is None:
                self.cursors += 1
                self.lockstep = None if cursor is None else cursor + 1
            else:
                self.cursors[slots] += 1
                self.lockstep = None

    def end(
        self, slots: np.ndarray, last_obs: Arrays, last_state: tuple[np.ndarray, ...] = ()
    ) -> None:
        """The episodes of `slots` [E] ended with the rows just closed; arrays are [E, …]."""
        rows, eps_ids = self.cursors[slots], self.eps_ids[slots]
        self._ends.append(_Ends(slots, rows, eps_ids, dict(last_obs), last_state))

    def truncate(
        self, slots: np.ndarray, last_obs: Arrays, last_state: tuple[np.ndarray, ...] = ()
    ) -> None:
        """End the unfinished pieces of `slots` [E] after their last closed row, as truncated.

        Slots that hold no such row are left alone; an open row is forgotten. Arrays are [E, …].
        """
        last = self.cursors[slots] - 1
        held = last >= self._finished()[slots]
        if _LIVE in self._arrays:
            held &= self._arrays[_LIVE][last, slots]
        if held.any():
            self._arrays["truncateds"][last[held], slots[held]] = True
            ended = {name: array[held] for name, array in last_obs.items()}
            self.end(slots[held], ended, tuple(state[held] for state in last_state))

    def state_dict(self, *, open_rows: bool = False) -> dict[str, Any]:
        """What `take` has left here, in arrays of its own; `open_rows` as there."""
        rows = int(self.cursors.max(initial=0)) + open_rows
        return {
            "cursors": self.cursors.copy(),
            "eps_ids": self.eps_ids.copy(),
            "env_ids": np.array(self.env_ids),
            "agent_indices": np.array(self.agent_indices),
            "fragments": self._fragments,
            "rows": {name: array[:rows].copy() for name, array in self._arrays.items() if rows},
            "ends": [{**ends._asdict(), "last_state": [*ends.last_state]} for ends in self._ends],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; nothing of it is written into."""
        self.cursors, self.eps_ids = np.array(state["cursors"]), np.array(state["eps_ids"])
        self.env_ids = np.array(state["env_ids"])
        self.agent_indices = np.array(state["agent_indices"])
        self.num_slots, self._fragments = len(self.cursors), int(state["fragments"])
        self.lockstep = 0 if not self.cursors.any() else None
        self._arrays = {}
        for name, rows in state["rows"].items():
            self._capacity = max(self._capacity, len(rows))
            self._arrays[name] = np.zeros((self._capacity, *rows.shape[1:]), rows.dtype)
            self._arrays[name][: len(rows)] = rows
        self._ends = [
            _Ends(**{**ends, "last_state": tuple(ends["last_state"])}) for ends in state["ends"]
        ]

    def _finished(self) -> np.ndarray:
        """[S] rows up to the end of the last finished episode of each slot, holes counted."""
        rows = np.zeros(self.num_slots, np.int64)
        for ends in self._ends:
            rows[ends.slots] = ends.rows
        return rows

    def take(
        self,
        next_obs: Arrays,
        next_state: tuple[np.ndarray, ...] = (),
        *,
        only_finished: bool = False,
        open_rows: bool = False,
    ) -> SampleBatch:
        """Hand over the closed rows as one batch with its segments.

        Args:
            next_obs: {name: [S, …]} what each slot sees after its last closed row.
            next_state: [S, …] each, its recurrent state there.
            only_finished: rows of unfinished episodes stay (complete_episodes).
            open_rows: some slots have an open row, which stays too.
        """
        ready = self._finished() if only_finished else self.cursors.copy()
        arrays = self._arrays
        closed = np.arange(self._capacity) < ready[:, None]
        if _LIVE in arrays:
            closed &= arrays[_LIVE].T
        segments, identity = self._segments(ready, closed, next_obs, next_state)
        places = np.arange(self._capacity * self.num_slots).reshape(-1, self.num_slots)
        which = places.T[closed]
        rows = {
            name: array.reshape(-1, *array.shape[2:]).take(which, axis=0)
            for name, array in arrays.items()
            if name != _LIVE
        }
        self._carry_over(ready, self.cursors - ready + open_rows)
        self._ends.clear()
        self.cursors -= ready
        self.lockstep = 0 if not self.cursors.any() else None
        self._fragments += 1
        return SampleBatch._of({**rows, **identity}, segments)

    def _grow(self) -> None:
        self._capacity *= 2
        for name, array in self._arrays.items():
            self._arrays[name] = np.concatenate([array, np.zeros_like(array)])

    def _carry_over(self, ready: np.ndarray, stay: np.ndarray) -> None:
        """Move the `stay` [S] rows from `ready` [S] on of each slot to the front."""
        most = int(stay.max(initial=0))
        if not most:
            self._arrays.pop(_LIVE, None)
            return
        rows = np.minimum(ready + np.arange(most)[:, None], self._capacity - 1)
        slots = np.arange(self.num_slots)
        for array in self._arrays.values():
            array[:most] = array[rows, slots]

    def _segments(
        self,
        ready: np.ndarray,
        closed: np.ndarray,
        next_obs: Arrays,
        next_state: tuple[np.ndarray, ...],
    ) -> tuple[Segments, dict[str, np.ndarray]]:
        """The pieces of the rows `closed` [S, T], slot-major, and the columns that name them."""
        counts = closed.cumsum(axis=1)
        finished = self._finished()
        cut = np.flatnonzero(_at(counts, ready) > _at(counts, finished))
        ends = self._ends
        if cut.size:
            obs = {name: value[cut] for name, value in next_obs.items()}
            state = tuple(value[cut] for value in next_state)
            ends = [*ends, _Ends(cut, ready[cut], self.eps_ids[cut], obs, state)]
        if not ends:
            nothing = np.zeros(0, np.int64)
            segments = Segments(nothing, {name: value[:0] for name, value in next_obs.items()})
            return segments, dict.fromkeys(_IDENTITY, nothing)
        slots = np.concatenate([e.slots for e in ends])
        rows = np.concatenate([e.rows for e in ends])
        order = np.lexsort((rows, slots))
        slots, rows = slots[order], rows[order]
        total = _at(counts, ready)
        segments = Segments(
            ends=(np.cumsum(total) - total)[slots] + counts[slots, rows - 1],
            last_obs={k: np.concatenate([e.last_obs[k] for e in ends])[order] for k in next_obs},
            last_state=tuple(
                np.concatenate([e.last_state[i] for e in ends])[order]
                for i in range(len(next_state))
            ),
        )
        lengths = np.diff(segments.ends, prepend=0)
        eps_ids = np.concatenate([e.eps_ids for e in ends])[order]
        unroll_ids = np.full(len(slots), self._fragments, np.int64)
        pieces = (eps_ids, self.env_ids[slots], self.agent_indices[slots], unroll_ids)
        identity = {
            name: np.repeat(of_piece, lengths)
            for name, of_piece in zip(_IDENTITY, pieces, strict=True)
        }
        return segments, identity


def _at(counts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """[S] how many of the first `rows` [S] rows of each slot count."""
    before = np.maximum(rows - 1, 0)
    return np.where(rows > 0, counts[np.arange(len(rows)), before], 0)
