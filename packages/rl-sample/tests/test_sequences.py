"""Sequences: chopping, padding, and slices that keep sequences whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_sample import SampleBatch, chop_into_sequences
from rl_sample.protocols import Segments


def pieces(lengths: list[int]) -> SampleBatch:
    ends = np.cumsum(lengths)
    rows = np.arange(1.0, ends[-1] + 1)
    segments = Segments(ends, {"obs": np.zeros((len(ends), 1))})
    return SampleBatch(obs=rows[:, None], state_in_0=rows * 10, segments=segments)


def test_sequences_end_at_segments_and_at_max_seq_len() -> None:
    batch = chop_into_sequences(pieces([5, 2]), 2)
    assert batch["seq_lens"].tolist() == [2, 2, 1, 2]
    assert batch["seq_lens"].dtype == np.int32
    assert batch["state_in_0"].tolist() == [10, 30, 50, 60]
    assert (batch.count, batch.max_seq_len, batch.zero_padded) == (7, 2, False)


def test_padding_by_hand() -> None:
    batch = chop_into_sequences(pieces([3, 1]), 2)
    batch["infos"] = [{"i": i} for i in range(4)]
    unpadded = batch["obs"]
    assert batch.right_zero_pad() is batch
    assert batch["obs"][:, 0].tolist() == [1, 2, 3, 0, 4, 0]
    assert batch["infos"].tolist() == [{"i": 0}, {"i": 1}, {"i": 2}, None, {"i": 3}, None]
    assert batch["state_in_0"].tolist() == [10, 30, 40]
    assert (batch.count, len(batch["obs"]), batch.zero_padded) == (4, 6, True)
    assert unpadded[:, 0].tolist() == [1, 2, 3, 4]
    assert batch.segments is None
    assert batch.right_zero_pad()["obs"].shape == (6, 1)
    assert [row["obs"].item() for row in batch.rows()] == [1, 2, 3, 4]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 5))
def test_every_row_lands_in_its_sequence(lengths: list[int], max_seq_len: int) -> None:
    batch = chop_into_sequences(pieces(lengths), max_seq_len)
    lens = batch["seq_lens"]
    assert lens.max() <= max_seq_len
    assert set(np.cumsum(lengths)) <= set(np.cumsum(lens).tolist())
    grid = batch.copy().right_zero_pad()["obs"].reshape(len(lens), max_seq_len)
    real = np.arange(max_seq_len) < lens[:, None]
    assert grid[real].tolist() == list(range(1, sum(lengths) + 1))
    assert not grid[~real].any()
    assert (grid[:, 0] * 10 == batch["state_in_0"]).all()


def test_burn_in_by_hand() -> None:
    batch = chop_into_sequences(pieces([5, 2]), 2, burn_in=1)
    # rows 1 2 | 3 4 | 5 and 6 7: the second and third sequence borrow rows 2 and 4
    assert batch["seq_lens"].tolist() == [2, 3, 2, 2]
    assert batch["obs"][:, 0].tolist() == [1, 2, 2, 3, 4, 4, 5, 6, 7]
    assert batch["valid"].tolist() == [True, True, False, True, True, False, True, True, True]
    assert batch["state_in_0"].tolist() == [10, 20, 40, 60]
    assert (batch.count, batch.max_seq_len, batch.segments) == (9, 3, None)
    grid = batch.right_zero_pad()["obs"].reshape(4, 3)
    assert grid.tolist() == [[1, 2, 0], [2, 3, 4], [4, 5, 0], [6, 7, 0]]
    assert batch["valid"].reshape(4, 3).astype(int).tolist() == [
        [1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 1, 0],
    ]  # fmt: skip


def by_hand(lengths: list[int], max_seq_len: int, burn_in: int) -> list[list[tuple[int, bool]]]:
    """Each padded sequence as (row number from 1 or 0 for padding, whether it counts)."""
    sequences, row = [], 1
    for length in lengths:
        for start in range(row, row + length, max_seq_len):
            stop = min(start + max_seq_len, row + length)
            first = max(row, start - burn_in)
            sequence = [(i, i >= start) for i in range(first, stop)]
            sequences.append(sequence + [(0, False)] * (max_seq_len + burn_in - len(sequence)))
        row += length
    return sequences


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 12))
def test_sequences_equal_those_of_a_loop_over_rows(
    lengths: list[int], max_seq_len: int, burn_in: int
) -> None:
    whole = pieces(lengths)
    whole["eps_id"] = np.repeat(np.arange(len(lengths)), lengths)
    told_by_columns = SampleBatch(dict(whole.arrays))
    for batch in (whole, told_by_columns):
        batch = chop_into_sequences(batch, max_seq_len, burn_in).right_zero_pad()
        expected = by_hand(lengths, max_seq_len, burn_in)
        count, length = len(expected), max_seq_len + burn_in
        rows = batch["obs"].reshape(count, length)
        assert rows.tolist() == [[row for row, _ in sequence] for sequence in expected]
        assert batch["state_in_0"].tolist() == [sequence[0][0] * 10 for sequence in expected]
        if not burn_in:
            assert "valid" not in batch
            continue
        counts = batch["valid"].reshape(count, length)
        assert counts.tolist() == [[counts for _, counts in sequence] for sequence in expected]
        # what counts is each row once and in order, so per-row results find their way back
        assert rows[counts].tolist() == list(range(1, sum(lengths) + 1))
        for of_sequence, real in zip(batch["eps_id"].reshape(count, length), rows, strict=True):
            assert len(set(of_sequence[real > 0])) == 1


def test_pieces_without_segments_are_told_by_columns() -> None:
    columns = {"eps_id": [1, 1, 1, 2], "unroll_id": [0, 1, 1, 1], "obs": [1, 2, 3, 4]}
    assert chop_into_sequences(SampleBatch(columns), 9)["seq_lens"].tolist() == [1, 2, 1]
    dones = SampleBatch(dones=[False, True, False])
    assert chop_into_sequences(dones, 9)["seq_lens"].tolist() == [2, 1]
    with pytest.raises(ValueError, match="nothing tells where trajectories end.*segments, or one"):
        chop_into_sequences(SampleBatch(obs=[1]), 9)


def test_slices_snap_down_to_sequence_starts() -> None:
    batch = chop_into_sequences(pieces([5, 2]), 3)  # sequences of 3, 2 and 2 rows
    assert batch[0:2].count == 0
    part = batch[1:6]
    assert part["obs"][:, 0].tolist() == [1, 2, 3, 4, 5]
    assert (part["seq_lens"].tolist(), part["state_in_0"].tolist()) == ([3, 2], [10, 40])
    assert batch[5:]["obs"][:, 0].tolist() == [6, 7]
    padded = batch.copy().right_zero_pad()
    assert padded[3:7]["obs"][:, 0].tolist() == [4, 5, 0, 6, 7, 0]
    assert padded[3:7].count == 4


def test_slices_of_sequences_cut_segments_at_their_states() -> None:
    batch = SampleBatch(
        obs=[1, 2, 3, 4], state_in_0=[10, 30], seq_lens=[2, 2],
        segments=Segments(np.array([4]), {"obs": np.array([99])}, (np.array([990]),)),
    )  # fmt: skip
    cut = batch[:2].segments
    assert cut is not None
    assert (cut.ends.tolist(), cut.last_obs["obs"].tolist()) == ([2], [3])
    assert cut.last_state[0].tolist() == [30]


def test_timeslices_of_sequences_part_them() -> None:
    batch = chop_into_sequences(pieces([5, 2]), 3)
    slices = batch.timeslices(2)
    assert [s["seq_lens"].tolist() for s in slices] == [[3], [2], [2]]


def test_empty_seq_lens_are_none() -> None:
    assert SampleBatch(t=[1], seq_lens=[]).seq_lens is None
    assert SampleBatch({"t": [1], "seq_lens": [1]})["seq_lens"].tolist() == [1]


def test_sequences_are_not_taken_apart() -> None:
    batch = SampleBatch(t=[1, 2], seq_lens=[2])
    for change in (batch.shuffle, lambda: batch.take([0])):
        with pytest.raises(ValueError, match="seq_lens: the rows of a sequence belong together"):
            change()
    with pytest.raises(ValueError, match="in sequences already"):
        chop_into_sequences(batch, 1)
    with pytest.raises(ValueError, match="split it before padding"):
        batch.right_zero_pad().split_by_episode()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"t": [1, 2], "seq_lens": [1]}, "'t' has 2 rows, but its sequences .* add up to 1"),
        ({"t": [1, 2], "state_in_0": [1, 2], "seq_lens": [2]}, "2 rows, but there are 1 sequences"),
        ({"t": [1], "seq_lens": [-1]}, r"row counts \[N\], all >= 0, but given \[-1\]"),
        ({"t": [1, 2], "seq_lens": [2], "max_seq_len": 1}, "2 rows, more than max_seq_len=1"),
        ({"t": [1, 2], "zero_padded": True}, "zero_padded=True needs seq_lens"),
    ],
)
def test_seq_lens_are_checked(columns: dict[str, list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SampleBatch(**columns)  # type: ignore[arg-type]


def test_padding_errors() -> None:
    with pytest.raises(ValueError, match=r"make sequences with chop_into_sequences\(batch"):
        SampleBatch(t=[1]).right_zero_pad(4)
    with pytest.raises(ValueError, match="has 2 rows, more than max_seq_len=1: chop the batch"):
        SampleBatch(t=[1, 2], seq_lens=[2]).right_zero_pad(1)
    with pytest.raises(ValueError, match="padded to 2 rows per sequence already"):
        SampleBatch(t=[1, 2], seq_lens=[2], zero_padded=True).right_zero_pad(3)
    with pytest.raises(ValueError, match="max_seq_len is 0: a sequence has at least 1 row"):
        chop_into_sequences(pieces([2]), 0)
    with pytest.raises(ValueError, match="burn_in is -1: it is a number of rows, 0 for none"):
        chop_into_sequences(pieces([2]), 1, burn_in=-1)
