"""Runs of consecutive rows that share a batch's arrays: slices, time slices, episodes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from rl_sample.columns import is_per_sequence
from rl_sample.segments import cut_segments
from rl_sample.sequences import snap_to_sequences

if TYPE_CHECKING:
    from rl_sample.batch import SampleBatch


def slice_batch(batch: SampleBatch, rows: slice) -> SampleBatch:
    """`batch[a:b]`, see `SampleBatch.__getitem__`."""
    count = batch.count
    start = 0 if rows.start is None else rows.start
    stop = count if rows.stop is None else rows.stop
    if start < 0 or stop < 0 or rows.step not in (None, 1):
        raise ValueError(
            f"cannot slice with start={rows.start}, stop={rows.stop}, step={rows.step}: a slice "
            "shares the arrays of one run of rows, so its bounds are >= 0 and its step is 1; use "
            "batch.take(indices) for other rows"
        )
    stop = min(stop, count)
    start = min(start, stop)
    segments, lens = batch.segments, batch.seq_lens
    if lens is None:
        if segments is not None:
            segments = cut_segments(segments, batch.arrays, start, stop, state_row=stop)
        arrays = {name: array[start:stop] for name, array in batch.arrays.items()}
        return batch._of(arrays, segments, None, batch.max_seq_len)
    (first, start), (last, stop) = snap_to_sequences(lens, start, stop)
    if segments is not None:
        segments = cut_segments(segments, batch.arrays, start, stop, state_row=last)
    if batch.zero_padded and batch.max_seq_len is not None:
        start, stop = first * batch.max_seq_len, last * batch.max_seq_len
    arrays = {
        name: array[first:last] if is_per_sequence(name) else array[start:stop]
        for name, array in batch.arrays.items()
    }
    return batch._of(arrays, segments, lens[first:last], batch.max_seq_len, batch.zero_padded)


def timeslices(batch: SampleBatch, size: int | None, num_slices: int | None) -> list[SampleBatch]:
    """`batch.timeslices(…)`, see there."""
    if (size is None) == (num_slices is None) or (size or num_slices or 0) < 1:
        raise ValueError(
            f"timeslices takes either size or num_slices, at least 1; given size={size}, "
            f"num_slices={num_slices}"
        )
    count = batch.count
    if size is not None:
        bounds = [*range(0, count, size), count]
    else:
        assert num_slices is not None
        bounds = [count * i // num_slices for i in range(num_slices + 1)]
    slices = [batch[a:b] for a, b in pairwise(bounds)]
    return slices if batch.seq_lens is None else [part for part in slices if part.count]


def split_by_episode(batch: SampleBatch) -> list[SampleBatch]:
    """`batch.split_by_episode()`, see there."""
    if batch.zero_padded:
        raise ValueError("cannot split a zero-padded batch by episode: split it before padding")
    if "eps_id" not in batch.arrays:
        if "dones" in batch and batch["dones"][:-1].any():
            raise ValueError(
                "cannot split by episode: an episode ends before the last row, and there is no "
                "column 'eps_id' that would tell the episodes apart"
            )
        whole = batch.copy(shallow=True)
        whole["eps_id"] = np.zeros(batch.count, np.int64)
        return [whole]
    eps_ids = batch.arrays["eps_id"]
    starts = np.flatnonzero(eps_ids[1:] != eps_ids[:-1]) + 1
    return [batch[a:b] for a, b in pairwise([0, *starts.tolist(), batch.count]) if b > a]
