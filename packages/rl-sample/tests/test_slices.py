"""Slices share the arrays; a cut inside a segment makes a new end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_sample import SampleBatch, concat_samples
from rl_sample.protocols import Segments

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=6)


def pieces(lengths: list[int], *, values: bool = True) -> SampleBatch:
    """Rows 0, 1, 2, …; what follows the piece that ends at row e is 100 * e."""
    ends = np.cumsum(lengths)
    rows = np.arange(ends[-1], dtype=np.float32)
    columns = {"obs": rows[:, None], "state_in_0": rows[:, None] + 0.5}
    columns |= {"vf_preds": rows + 0.25} if values else {}
    last = 100.0 * ends.astype(np.float32)
    segments = Segments(ends, {"obs": last[:, None]}, (last[:, None] + 0.5,), last + 0.25)
    return SampleBatch(columns, eps_id=np.repeat(np.arange(len(ends)), lengths), segments=segments)


def parts(batch: SampleBatch) -> tuple[list[float], ...]:
    assert batch.segments is not None
    assert batch.segments.bootstrap is not None
    return (
        batch.segments.ends.tolist(),
        batch.segments.last_obs["obs"][:, 0].tolist(),
        batch.segments.last_state[0][:, 0].tolist(),
        batch.segments.bootstrap.tolist(),
    )


def test_slices_are_views() -> None:
    batch = pieces([3, 2])
    part = batch[1:4]
    assert part.count == 3
    assert np.shares_memory(part["obs"], batch["obs"])
    assert part["obs"][:, 0].tolist() == [1, 2, 3]


def test_a_cut_at_an_end_keeps_what_came_after() -> None:
    assert parts(pieces([3, 2])[0:3]) == ([3], [300], [300.5], [300.25])
    assert parts(pieces([3, 2])[3:]) == ([2], [500], [500.5], [500.25])


def test_a_cut_inside_a_segment_ends_with_the_next_row() -> None:
    assert parts(pieces([3, 2])[1:4]) == ([2, 3], [300, 4], [300.5, 4.5], [300.25, 4.25])
    assert parts(pieces([5])[1:2]) == ([1], [2], [2.5], [2.25])


def test_a_cut_without_vf_preds_drops_the_bootstrap_values() -> None:
    cut = pieces([5], values=False)[:2].segments
    assert cut is not None
    assert cut.bootstrap is None
    whole = pieces([5], values=False)[2:].segments
    assert whole is not None
    assert whole.bootstrap is not None


def test_empty_slices() -> None:
    empty = pieces([3, 2])[3:3]
    assert empty.count == 0
    assert parts(empty) == ([], [], [], [])
    assert pieces([3])[9:12].count == 0
    assert pieces([3])[2:1].count == 0


@pytest.mark.parametrize("rows", [slice(-1, None), slice(0, -1), slice(0, 4, 2)])
def test_other_slices_are_refused(rows: slice) -> None:
    with pytest.raises(ValueError, match=r"bounds are >= 0 and its step is 1; use\s+batch.take"):
        pieces([5])[rows]


@given(LENGTHS, st.data())
def test_new_obs_and_segments_survive_any_cut(lengths: list[int], data: st.DataObject) -> None:
    batch = pieces(lengths)
    size = data.draw(st.integers(1, batch.count))
    slices = batch.timeslices(size)
    assert [s.count for s in slices[:-1]] == [size] * (len(slices) - 1)
    joined = concat_samples(slices)
    assert joined["obs"].tolist() == batch["obs"].tolist()
    assert joined["new_obs"].tolist() == batch["new_obs"].tolist()
    assert joined.segments is not None
    assert joined.segments.ends[-1] == batch.count
    assert set(np.cumsum(lengths)) <= set(joined.segments.ends.tolist())


def test_timeslices_by_size_or_number() -> None:
    batch = SampleBatch(t=np.arange(7))
    assert [s["t"].tolist() for s in batch.timeslices(3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [s.count for s in batch.timeslices(num_slices=3)] == [2, 2, 3]
    for sizes in ({}, {"size": 2, "num_slices": 2}, {"size": 0}):
        with pytest.raises(ValueError, match="either size or num_slices, at least 1; given size="):
            batch.timeslices(**sizes)


def test_split_by_episode_cuts_where_eps_id_changes() -> None:
    batch = SampleBatch(eps_id=[7, 7, 8, 7], t=[0, 1, 0, 2])
    assert [part["t"].tolist() for part in batch.split_by_episode()] == [[0, 1], [0], [2]]
    assert [parts(part)[1] for part in pieces([3, 2]).split_by_episode()] == [[300], [500]]
    assert SampleBatch(eps_id=np.zeros(0, int)).split_by_episode() == []


def test_split_without_eps_id_is_one_episode() -> None:
    batch = SampleBatch(t=[0, 1], dones=[False, True])
    (whole,) = batch.split_by_episode()
    assert whole["eps_id"].tolist() == [0, 0]
    assert "eps_id" not in batch
    with pytest.raises(ValueError, match="ends before the last row, and there is no column"):
        SampleBatch(dones=[True, False]).split_by_episode()
