"""Sequences for recurrent policies: chopping trajectories, zero padding, snapping to boundaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rl_sample.columns import is_per_sequence

if TYPE_CHECKING:
    from rl_sample.batch import SampleBatch


def chop_into_sequences(batch: SampleBatch, max_seq_len: int, burn_in: int = 0) -> SampleBatch:
    """The same rows as sequences of at most `max_seq_len`, not padded, arrays shared.

    A sequence starts at the batch's start, after every segment end, and after `max_seq_len` rows.
    Without segments, pieces end where `eps_id`, `unroll_id` or `agent_index` changes or an episode
    is done. Of `state_in_i` the row at each sequence's start is kept.

    With `burn_in` each sequence begins with up to so many earlier rows of its piece, copies that
    only warm the recurrent state (Kapturowski et al. 2019). The column `valid` [B] bool tells them:
    it is False there, and of the rows where it is True each row of `batch` is one, in its order.

    Args:
        batch: [B] rows, not yet in sequences.
        max_seq_len: at least 1; burn-in rows are not counted.
        burn_in: rows before a sequence that its piece lends it where it has them; 0: none.

    Returns:
        A batch with `seq_lens` ([N] int32, burn-in included) and `max_seq_len`; call
        `right_zero_pad()` on it. With `burn_in` it has no segments.

    Raises:
        ValueError: max_seq_len < 1, burn_in < 0, or nothing tells where trajectories end.
    """
    from rl_sample.batch import SampleBatch

    if max_seq_len < 1:
        raise ValueError(f"max_seq_len is {max_seq_len}: a sequence has at least 1 row")
    if burn_in < 0:
        raise ValueError(f"burn_in is {burn_in}: it is a number of rows, 0 for none")
    if batch.seq_lens is not None:
        raise ValueError("the batch is in sequences already: it has seq_lens")
    ends = _piece_ends(batch)
    piece_lens = np.diff(ends, prepend=0)
    numbers = -(-piece_lens // max_seq_len)
    seq_lens = np.full(numbers.sum(), max_seq_len, np.int32)
    seq_lens[np.cumsum(numbers) - 1] = piece_lens - (numbers - 1) * max_seq_len
    starts = np.cumsum(seq_lens) - seq_lens
    arrays, segments = batch.arrays, batch.segments
    if burn_in:
        counted = starts
        starts = np.maximum(starts - burn_in, np.repeat(ends - piece_lens, numbers))
        seq_lens += (counted - starts).astype(np.int32)
        rows = np.repeat(starts - (np.cumsum(seq_lens) - seq_lens), seq_lens)
        rows += np.arange(len(rows))
        arrays = {k: v if is_per_sequence(k) else v.take(rows, 0) for k, v in arrays.items()}
        arrays["valid"], segments = rows >= np.repeat(counted, seq_lens), None
    arrays = {k: v[starts] if is_per_sequence(k) else v for k, v in arrays.items()}
    return SampleBatch._of(arrays, segments, seq_lens, max_seq_len + burn_in)


def _piece_ends(batch: SampleBatch) -> np.ndarray:
    if batch.segments is not None:
        return batch.segments.ends
    names = [n for n in ("eps_id", "unroll_id", "agent_index") if n in batch.arrays]
    if not names and "dones" not in batch:
        raise ValueError(
            "cannot chop into sequences: nothing tells where trajectories end; the batch needs "
            "segments, or one of the columns eps_id, unroll_id, agent_index, terminateds"
        )
    rows = batch.count
    last = np.zeros(rows, bool)
    last[-1:] = True
    for name in names:
        last[:-1] |= np.diff(batch.arrays[name]) != 0
    if "dones" in batch:
        last |= batch["dones"]
    return np.flatnonzero(last) + 1


def checked_lengths(
    seq_lens: Any, max_seq_len: int | None, zero_padded: bool
) -> tuple[np.ndarray | None, int | None]:
    """([N] int32 or None, max_seq_len or the longest length); no sequences at all are None."""
    lens = np.asarray([] if seq_lens is None else seq_lens, np.int32)
    if lens.ndim != 1 or (lens < 0).any():
        raise ValueError(f"seq_lens are row counts [N], all >= 0, but given {lens.tolist()}")
    if not lens.size:
        if zero_padded:
            raise ValueError("zero_padded=True needs seq_lens: how many rows of each are real?")
        return None, max_seq_len
    longest = int(lens.max())
    if max_seq_len is not None and longest > max_seq_len:
        raise ValueError(f"a sequence has {longest} rows, more than max_seq_len={max_seq_len}")
    return lens, longest if max_seq_len is None else max_seq_len


def row_index(seq_lens: np.ndarray, max_seq_len: int | None) -> np.ndarray:
    """[B] position that each row takes when its sequence is padded to `max_seq_len` rows."""
    lens = seq_lens.astype(np.int64)
    gaps = np.arange(len(lens)) * int(max_seq_len or 0) - (np.cumsum(lens) - lens)
    index: np.ndarray = np.arange(lens.sum()) + np.repeat(gaps, lens)
    return index


def padded_columns(
    arrays: Mapping[str, np.ndarray], seq_lens: np.ndarray, max_seq_len: int
) -> dict[str, np.ndarray]:
    """Columns with every sequence filled up to `max_seq_len` rows: zeros, None for objects."""
    longest = int(seq_lens.max(initial=0))
    if longest > max_seq_len:
        raise ValueError(
            f"a sequence has {longest} rows, more than max_seq_len={max_seq_len}: chop the batch "
            f"with chop_into_sequences(batch, {max_seq_len}) or pad to {longest}"
        )
    rows, index = len(seq_lens) * max_seq_len, row_index(seq_lens, max_seq_len)
    padded = {}
    for name, array in arrays.items():
        if is_per_sequence(name):
            padded[name] = array
            continue
        full = np.zeros((rows, *array.shape[1:]), array.dtype)
        if array.dtype == object:
            full.fill(None)
        full[index] = array
        padded[name] = full
    return padded


def snap_to_sequences(
    seq_lens: np.ndarray, start: int, stop: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((sequence, row), (sequence, row)): both bounds moved down to their sequence's start.

    The end of the batch stays where it is. Rows are counted without padding.
    """
    bounds = np.concatenate([[0], np.cumsum(seq_lens, dtype=np.int64)])
    first, last = bounds.searchsorted([start, stop], "right") - 1
    return (int(first), int(bounds[first])), (int(last), int(bounds[last]))
