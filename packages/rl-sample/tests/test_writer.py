"""The slot writer against a plain list of rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rl_sample import SlotWriter


def put(writer, slots, values, close_with=None):
    values = np.asarray(values, np.float32)
    writer.put({"obs": values}, slots)
    writer.put({"rewards": values * 10}, slots, close=True)


def test_a_fragment_is_slot_major():
    writer = SlotWriter(2, 3)
    for t in range(3):
        put(writer, None, [t, 100 + t])
    batch = writer.take({"obs": np.array([3.0, 103.0])})
    np.testing.assert_array_equal(batch["obs"], [0, 1, 2, 100, 101, 102])
    np.testing.assert_array_equal(batch["env_id"], [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(batch.segments.ends, [3, 6])
    np.testing.assert_array_equal(batch["new_obs"], [1, 2, 3, 101, 102, 103])


def test_ends_split_pieces_and_keep_the_true_last_observation():
    writer = SlotWriter(1, 4)
    writer.eps_ids[:] = 7
    put(writer, None, [0])
    put(writer, None, [1])
    writer.end(np.array([0]), {"obs": np.array([99.0])})
    writer.eps_ids[:] = 8
    put(writer, None, [50])
    batch = writer.take({"obs": np.array([51.0])})
    np.testing.assert_array_equal(batch["eps_id"], [7, 7, 8])
    np.testing.assert_array_equal(batch["new_obs"], [1, 99, 51])


def test_unfinished_rows_stay_when_only_finished_ones_are_taken():
    writer = SlotWriter(2, 2)
    put(writer, None, [0, 10])
    writer.end(np.array([0]), {"obs": np.array([1.0])})
    put(writer, None, [5, 11])
    put(writer, None, [6, 12])
    batch = writer.take({"obs": np.array([7.0, 13.0])}, only_finished=True)
    np.testing.assert_array_equal(batch["obs"], [0])
    writer.end(np.array([0, 1]), {"obs": np.array([7.0, 13.0])})
    batch = writer.take({"obs": np.array([0.0, 0.0])}, only_finished=True)
    np.testing.assert_array_equal(batch["obs"], [5, 6, 10, 11, 12])
    np.testing.assert_array_equal(batch["rewards"], [50, 60, 100, 110, 120])


def test_an_open_row_waits_for_its_end():
    writer = SlotWriter(1, 2)
    slots = np.array([0])
    writer.put({"obs": np.array([1.0])}, slots)
    empty = writer.take({"obs": np.array([1.0])}, open_rows=True)
    assert len(empty) == 0
    writer.put({"rewards": np.array([10.0])}, slots, close=True)
    batch = writer.take({"obs": np.array([2.0])}, open_rows=True)
    np.testing.assert_array_equal(batch["obs"], [1])
    np.testing.assert_array_equal(batch["rewards"], [10])


def test_slots_can_be_added_while_others_write():
    writer = SlotWriter(0, 2)
    writer.add_slots([4], [1])
    put(writer, np.array([0]), [1])
    writer.add_slots([5], [0])
    put(writer, np.array([0, 1]), [2, 20])
    batch = writer.take({"obs": np.array([3.0, 21.0])})
    np.testing.assert_array_equal(batch["obs"], [1, 2, 20])
    np.testing.assert_array_equal(batch["env_id"], [4, 4, 5])
    np.testing.assert_array_equal(batch["agent_index"], [1, 1, 0])


def test_a_batch_is_never_written_again():
    writer = SlotWriter(1, 1)
    put(writer, None, [1])
    batch = writer.take({"obs": np.array([2.0])})
    put(writer, None, [9])
    np.testing.assert_array_equal(batch["obs"], [1])


def test_slots_that_sit_a_step_out_leave_no_row():
    writer = SlotWriter(2, 4)
    live = np.array([True, False])
    put(writer, None, [0, 10])
    writer.put({"obs": np.array([1, 99.0])}, None)
    writer.put({"rewards": np.array([10, 99.0])}, None, close=True, live=live)
    put(writer, None, [2, 11])
    batch = writer.take({"obs": np.array([3.0, 12.0])})
    np.testing.assert_array_equal(batch["obs"], [0, 1, 2, 10, 11])
    np.testing.assert_array_equal(batch["env_id"], [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(batch.segments.ends, [3, 5])
    np.testing.assert_array_equal(batch["new_obs"], [1, 2, 3, 11, 12])


def test_a_truncated_piece_ends_with_its_last_closed_row():
    writer = SlotWriter(3, 4)
    flags = {"truncateds": np.zeros(2, bool), "terminateds": np.zeros(2, bool)}
    for t in range(2):
        writer.put({"obs": np.array([t, 10.0 + t])}, np.array([0, 1]))
        writer.put(flags, np.array([0, 1]), close=True)
    writer.put({"obs": np.array([2.0])}, np.array([0]))  # an open row is forgotten
    writer.truncate(np.arange(3), {"obs": np.array([2.0, 12.0, 99.0])})
    batch = writer.take({"obs": np.zeros(3)}, only_finished=True)
    np.testing.assert_array_equal(batch["new_obs"], [1, 2, 11, 12])
    np.testing.assert_array_equal(batch["truncateds"], [False, True, False, True])
    np.testing.assert_array_equal(batch.segments.ends, [2, 4])


def test_rows_that_others_finished_or_sat_out_are_not_truncated():
    writer = SlotWriter(2, 4)
    row = {"truncateds": np.zeros(2, bool)}
    writer.put({"obs": np.array([0.0, 10.0])})
    writer.put(row, close=True)
    writer.end(np.array([0, 1]), {"obs": np.array([1.0, 11.0])})
    writer.put({"obs": np.array([5.0, 0.0])})
    writer.put(row, close=True, live=np.array([True, False]))
    writer.truncate(np.array([0, 1]), {"obs": np.array([6.0, 0.0])})
    batch = writer.take({"obs": np.zeros(2)}, only_finished=True)
    np.testing.assert_array_equal(batch["obs"], [0, 5, 10])
    np.testing.assert_array_equal(batch["truncateds"], [False, True, False])


slot_sets = st.lists(st.sampled_from([None, (0,), (1,), (0, 2), (0, 1, 2)]), max_size=30)


@given(
    ticks=slot_sets,
    ends=st.sets(st.tuples(st.integers(0, 29), st.integers(0, 2))),
    takes=st.sets(st.integers(0, 29)),
    only_finished=st.booleans(),
    restores=st.booleans(),
)
def test_any_schedule_gives_every_row_once_and_in_order(
    ticks, ends, takes, only_finished, restores
):
    writer = SlotWriter(3, 2)
    writer.eps_ids[:] = [0, 1000, 2000]
    written = {slot: [] for slot in range(3)}
    taken = {slot: [] for slot in range(3)}

    def take():
        batch = writer.take({"obs": np.zeros(3, np.float32)}, only_finished=only_finished)
        for slot in range(3):
            mine = batch["env_id"] == slot
            rows = zip(batch["obs"][mine].tolist(), batch["eps_id"][mine].tolist(), strict=True)
            taken[slot] += list(rows)
        assert batch.segments.ends.tolist() == sorted(set(batch.segments.ends.tolist()))
        assert len(batch) == 0 or batch.segments.ends[-1] == len(batch)

    value = 0.0
    finished = dict.fromkeys(range(3), 0)
    for tick, slots in enumerate(ticks):
        which = range(3) if slots is None else slots
        values = [value + slot for slot in which]
        for slot, number in zip(which, values, strict=True):
            written[slot].append((number, int(writer.eps_ids[slot])))
        put(writer, None if slots is None else np.array(slots), values)
        value += 10
        over = [slot for slot in which if (tick, slot) in ends]
        if over:
            writer.end(np.array(over), {"obs": np.zeros(len(over), np.float32)})
            writer.eps_ids[over] += 1
            for slot in over:
                finished[slot] = len(written[slot])
        if tick in takes:
            take()
            if restores:  # another writer goes on
                state, writer = writer.state_dict(), SlotWriter(0, 1)
                writer.load_state_dict(state)
    if ticks:
        take()
    for slot in range(3):
        expected = written[slot][: finished[slot]] if only_finished else written[slot]
        assert taken[slot] == expected
