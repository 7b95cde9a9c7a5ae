"""Rows of experience while they are being written: slot-major columns, one cursor per slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rl_sample.batch import SampleBatch
from rl_sample.protocols import Arrays, Segments

_IDENTITY = ("eps_id", "env_id", "agent_index", "unroll_id")


class _Ends(NamedTuple):
    """Pieces that ended in one tick; all fields [E, …]."""

    slots: np.ndarray
    rows: np.ndarray
    eps_ids: np.ndarray
    last_obs: Arrays
    last_state: tuple[np.ndarray, ...]


class SlotWriter:
    """Columns `[S, T, …]` in which each slot has its own write cursor.

    A slot is one (sub-environment, agent). A row is opened by `put` (what was seen and decided)
    and closed by another (what came of it). `take` hands the closed rows over as one batch,
    slot-major, and starts new arrays; nobody writes into an array that was handed over. Slots
    that step together (`slots=None`) cost a slice instead of an index.
    """

    def __init__(self, num_slots: int, rows_per_slot: int) -> None:
        """Make room for `rows_per_slot` rows in each slot; both numbers grow when they must."""
        self.num_slots = num_slots
        self.cursors = np.zeros(num_slots, np.int64)
        """[S] closed rows of each slot."""
        self.taken = np.zeros(num_slots, np.int64)
        """[S] lifetime rows of each slot that were handed over."""
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
        self.taken = np.concatenate([self.taken, zeros])
        self.eps_ids = np.concatenate([self.eps_ids, zeros])
        self.env_ids = np.concatenate([self.env_ids, np.asarray(env_ids, np.int64)])
        self.agent_indices = np.concatenate([self.agent_indices, np.asarray(agent_indices)])
        for name, array in self._arrays.items():
            room = np.zeros((added, *array.shape[1:]), array.dtype)
            self._arrays[name] = np.concatenate([array, room])
        if self.lockstep != 0:
            self.lockstep = None

    def put(
        self,
        values: Mapping[str, np.ndarray],
        slots: np.ndarray | None = None,
        *,
        close: bool = False,
    ) -> None:
        """Write `values` ([S, …], or [len(slots), …]) into the open row of the given slots.

        `close=True` completes the row: the slots' cursors move on.
        """
        cursor = self.lockstep
        if (self.cursors.max(initial=0) if cursor is None else cursor) >= self._capacity:
            self._grow()
        at: tuple[slice | np.ndarray, int | np.ndarray]
        if slots is not None:
            at = slots, self.cursors[slots]
        elif cursor is not None:
            at = slice(None), cursor
        else:
            at = np.arange(self.num_slots), self.cursors
        arrays = self._arrays
        for name, value in values.items():
            if name not in arrays:
                shape = (self.num_slots, self._capacity, *np.shape(value)[1:])
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

    def finished_rows(self) -> np.ndarray:
        """[S] rows up to the end of the last finished episode of each slot."""
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
        ready = self.finished_rows() if only_finished else self.cursors.copy()
        segments, identity = self._segments(ready, next_obs, next_state)
        old = self._arrays
        stay = self.cursors - ready + open_rows
        self._arrays = self._carry_over(ready, int(stay.max(initial=0)))
        if self.lockstep is not None and self.lockstep * self.num_slots == ready.sum():
            columns = {
                name: array[:, : self.lockstep].reshape(-1, *array.shape[2:])
                for name, array in old.items()
            }
        else:
            closed = np.arange(self._capacity) < ready[:, None]
            columns = {name: array[closed] for name, array in old.items()}
        self._ends.clear()
        self.cursors -= ready
        self.taken += ready
        self.lockstep = 0 if not self.cursors.any() else None
        self._fragments += 1
        return SampleBatch._of({**columns, **identity}, segments)

    def _grow(self) -> None:
        self._capacity *= 2
        for name, array in self._arrays.items():
            self._arrays[name] = np.concatenate([array, np.zeros_like(array)], axis=1)

    def _carry_over(self, ready: np.ndarray, stay: int) -> dict[str, np.ndarray]:
        """New arrays that begin with the (at most `stay`) rows from `ready` on of each slot."""
        fresh = {name: np.empty_like(array) for name, array in self._arrays.items()}
        if stay:
            rows = np.minimum(ready[:, None] + np.arange(stay), self._capacity - 1)
            slots = np.arange(self.num_slots)[:, None]
            for name, array in self._arrays.items():
                fresh[name][:, :stay] = array[slots, rows]
        return fresh

    def _segments(
        self, ready: np.ndarray, next_obs: Arrays, next_state: tuple[np.ndarray, ...]
    ) -> tuple[Segments, dict[str, np.ndarray]]:
        """The pieces of rows `[:ready]`, in slot-major order, and the columns that name them."""
        finished = self.finished_rows()
        cut = np.flatnonzero(ready > finished)
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
        offsets = np.cumsum(ready) - ready
        segments = Segments(
            ends=offsets[slots] + rows,
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
