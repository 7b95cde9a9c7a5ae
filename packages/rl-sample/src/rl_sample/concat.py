"""Joining batches end to end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np

from rl_sample.batch import SampleBatch
from rl_sample.multi_agent import MultiAgentBatch
from rl_sample.segments import concat_segments


@overload
def concat_samples(batches: Iterable[SampleBatch]) -> SampleBatch: ...
@overload
def concat_samples(batches: Iterable[MultiAgentBatch]) -> MultiAgentBatch: ...
@overload
def concat_samples(
    batches: Iterable[SampleBatch | MultiAgentBatch],
) -> SampleBatch | MultiAgentBatch: ...
def concat_samples(
    batches: Iterable[SampleBatch | MultiAgentBatch],
) -> SampleBatch | MultiAgentBatch:
    """One batch of all rows in order; a MultiAgentBatch if any of them is one.

    Empty batches are skipped; no batches give an empty SampleBatch; a single one shares its
    arrays with the result.

    Raises:
        ValueError: the batches differ in columns, in a column's shape, or in having segments or
            seq_lens; the message names the column.
    """
    batches = list(batches)
    if any(isinstance(batch, MultiAgentBatch) for batch in batches):
        return MultiAgentBatch.concat_samples(batches)
    return concat_batches([batch for batch in batches if isinstance(batch, SampleBatch)])


def concat_batches(batches: Sequence[SampleBatch]) -> SampleBatch:
    """`concat_samples` of single-policy batches."""
    full = [batch for batch in batches if batch.count]
    if len(full) <= 1:
        first = next(iter([*full, *batches]), None)
        return SampleBatch() if first is None else first.copy(shallow=True)
    _check_alike(full)
    arrays = {}
    for name, column in full[0].arrays.items():
        columns = [batch.arrays[name] for batch in full]
        for i, other in enumerate(columns):
            if other.shape[1:] != column.shape[1:]:
                raise ValueError(
                    f"cannot concatenate column {name!r}: its rows have the shape "
                    f"{other.shape[1:]} in batch {i} but {column.shape[1:]} in batch 0"
                )
        arrays[name] = np.concatenate(columns)
    lens = [batch.seq_lens for batch in full if batch.seq_lens is not None]
    lengths = [batch.max_seq_len for batch in full if batch.max_seq_len is not None]
    return SampleBatch._of(
        arrays,
        concat_segments([batch.segments for batch in full], [batch.count for batch in full]),
        np.concatenate(lens) if lens else None,
        max(lengths, default=None),
        full[0].zero_padded,
    )


def _check_alike(batches: Sequence[SampleBatch]) -> None:
    first = batches[0]
    for i, batch in enumerate(batches):
        if different := first.arrays.keys() ^ batch.arrays.keys():
            name = min(different)
            has, lacks = (0, i) if name in first.arrays else (i, 0)
            raise ValueError(
                f"cannot concatenate: batch {has} has the column {name!r}, batch {lacks} has not; "
                f"all batches need the same columns"
            )
        if (batch.seq_lens is None) != (first.seq_lens is None):
            raise ValueError(f"cannot concatenate: only one of batches 0 and {i} has 'seq_lens'")
        if batch.zero_padded != first.zero_padded or (
            batch.zero_padded and batch.max_seq_len != first.max_seq_len
        ):
            raise ValueError(
                f"cannot concatenate: batches 0 and {i} are not padded alike "
                f"(zero_padded={first.zero_padded}, {batch.zero_padded}; "
                f"max_seq_len={first.max_seq_len}, {batch.max_seq_len})"
            )
