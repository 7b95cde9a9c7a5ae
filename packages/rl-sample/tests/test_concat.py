"""Joining batches: rows in order, segments and sequences kept, misfits named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rl_sample import SampleBatch, concat_samples
from rl_sample.protocols import Segments


def piece(obs: list[float], last: float, boot: float | None = None) -> SampleBatch:
    bootstrap = None if boot is None else np.array([boot])
    segments = Segments(np.array([len(obs)]), {"obs": np.array([last])}, (), bootstrap)
    return SampleBatch(obs=np.array(obs), segments=segments)


def test_rows_and_segments_follow_each_other() -> None:
    joined = concat_samples([piece([1, 2], 3, 0.5), piece([7], 8, 0.25)])
    assert joined["obs"].tolist() == [1, 2, 7]
    assert joined.segments is not None
    assert joined.segments.ends.tolist() == [2, 3]
    assert joined["new_obs"].tolist() == [2, 3, 8]
    assert joined.segments.bootstrap is not None
    assert joined.segments.bootstrap.tolist() == [0.5, 0.25]


def test_bootstrap_values_stay_only_if_all_have_them() -> None:
    joined = piece([1], 2, 0.5).concat(piece([3], 4))
    assert joined.segments is not None
    assert joined.segments.bootstrap is None


def test_sequences_follow_each_other() -> None:
    one = SampleBatch(t=[1, 2], seq_lens=[2])
    two = SampleBatch(t=[3], seq_lens=[1], max_seq_len=5)
    joined = one.concat(two)
    assert joined["seq_lens"].tolist() == [2, 1]
    assert joined.max_seq_len == 5


def test_nothing_and_empty_batches() -> None:
    assert concat_samples([]).count == 0
    one = SampleBatch(t=np.arange(2))
    joined = SampleBatch.concat_samples([SampleBatch(), one, SampleBatch(x=np.zeros(0))])
    assert joined["t"] is one["t"]
    assert joined is not one


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        ({"t": [1], "x": [1]}, {"t": [1]}, "batch 0 has the column 'x', batch 1 has not"),
        ({"t": [1]}, {"t": [1], "x": [1]}, "batch 1 has the column 'x', batch 0 has not"),
        ({"t": [[1]]}, {"t": [[1, 2]]}, r"column 't': its rows have the shape \(2,\) in batch 1"),
        ({"t": [1], "seq_lens": [1]}, {"t": [1]}, "only one of batches 0 and 1 has 'seq_lens'"),
        (
            {"t": [1], "seq_lens": [1], "zero_padded": True},
            {"t": [1], "seq_lens": [1]},
            "batches 0 and 1 are not padded alike",
        ),
    ],
)
def test_misfits_are_named(one: dict[str, Any], two: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        concat_samples([SampleBatch(**one), SampleBatch(**two)])


def test_segments_of_all_or_none() -> None:
    with pytest.raises(ValueError, match="batch 1 has no segments but others have"):
        concat_samples([piece([1], 2), SampleBatch(obs=[1.0])])
    with_state = SampleBatch(
        obs=[1.0], segments=Segments(np.array([1]), {"obs": np.zeros(1)}, (np.zeros(1),))
    )
    with pytest.raises(ValueError, match="last_state of batch 1 has 1 arrays, that of batch 0"):
        concat_samples([piece([1], 2), with_state])
    other = SampleBatch(obs=[1.0], segments=Segments(np.array([1]), {"obs/a": np.zeros(1)}))
    with pytest.raises(ValueError, match="last_obs of batch 1 and batch 0 differ in 'obs'"):
        concat_samples([piece([1], 2), other])
