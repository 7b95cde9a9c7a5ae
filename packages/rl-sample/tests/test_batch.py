"""SampleBatch as a mapping: columns, nested views, derived columns, checks, copies."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from rl_sample import SampleBatch
from rl_sample.protocols import Segments


def two_pieces(**columns: Any) -> SampleBatch:
    """Five rows; an episode of three and the beginning of another."""
    return SampleBatch(
        obs=np.arange(5.0)[:, None],
        terminateds=np.array([0, 0, 1, 0, 0], bool),
        truncateds=np.zeros(5, bool),
        segments=Segments(np.array([3, 5]), {"obs": np.array([[30.0], [50.0]])}),
        **columns,
    )


def test_lists_become_arrays() -> None:
    batch = SampleBatch({"rewards": [1.0, 2.0]}, actions=[0, 1])
    assert isinstance(batch["rewards"], np.ndarray)
    assert batch["actions"].tolist() == [0, 1]
    assert batch.count == len(batch) == batch.env_steps() == batch.agent_steps() == 2


def test_empty_batch() -> None:
    batch = SampleBatch()
    assert (batch.count, list(batch), list(batch.rows())) == (0, [], [])
    assert not batch


def test_a_flat_column_is_the_array_that_was_given() -> None:
    obs = np.zeros((2, 3))
    batch = SampleBatch(obs=obs)
    assert batch["obs"] is obs
    assert batch.arrays["obs"] is obs


def test_nested_columns_are_flat_inside_and_nested_outside() -> None:
    batch = SampleBatch(obs={"pos": np.zeros((2, 3)), "who": (np.zeros(2), np.ones(2))}, t=[0, 1])
    assert list(batch.arrays) == ["obs/pos", "obs/who/0", "obs/who/1", "t"]
    assert list(batch) == ["obs", "t"]
    assert batch["obs"]["who"][1].tolist() == [1.0, 1.0]
    assert batch["obs/pos"] is batch.arrays["obs/pos"]
    batch["obs"] = np.ones(2)
    assert list(batch) == ["t", "obs"]
    assert dict(batch)["obs"].tolist() == [1.0, 1.0]


def test_deleting_takes_all_parts() -> None:
    batch = SampleBatch(obs={"a": [1], "b": [2]}, t=[0])
    del batch["obs"]
    assert list(batch.arrays) == ["t"]
    assert batch.pop("t").tolist() == [0]
    with pytest.raises(KeyError, match="no column 't'"):
        del batch["t"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"obs": [1, 2], "rewards": [1.0]}, "'rewards' has 1 rows, but 'obs' has 2"),
        ({"obs": [1, 2], "x": {"a": [1, 2], "b": [1]}}, "column 'x/b' has 1 rows"),
        ({"t": 3}, "column 't' has no rows, it is the single value 3"),
        ({"t": (1, 2)}, "column 't/0' has no rows.*a tuple or dict makes a nested column"),
    ],
)
def test_unequal_columns_are_named(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SampleBatch(columns)


def test_setting_a_column_of_another_length_changes_nothing() -> None:
    batch = two_pieces(rewards=np.ones(5))
    with pytest.raises(ValueError, match="'rewards' has 4 rows, but .* 5: all columns"):
        batch["rewards"] = np.zeros(4)
    assert batch["rewards"].tolist() == [1.0] * 5
    with pytest.raises(ValueError, match="seq_lens are set when a batch is made"):
        batch["seq_lens"] = [5]


def test_missing_columns_name_the_nearest() -> None:
    batch = SampleBatch(rewards=[1.0], obs={"position": [1.0]})
    with pytest.raises(KeyError, match="^no column 'reward', did you mean 'rewards'"):
        batch["reward"]
    with pytest.raises(KeyError, match="did you mean 'obs/position'"):
        batch["obs/positon"]
    assert batch.get("reward") is None
    assert "reward" not in batch
    with pytest.raises(TypeError, match=r"not by 0: use batch\[i:i \+ 1\] or batch.take"):
        batch[0]  # type: ignore[call-overload]


def test_dones_are_either_flag() -> None:
    batch = SampleBatch(terminateds=[True, False, False], truncateds=[False, True, False])
    assert batch["dones"].tolist() == [True, True, False]
    assert "dones" in batch
    assert "dones" not in list(batch)
    assert SampleBatch(terminateds=[True, False])["dones"].tolist() == [True, False]


def test_dones_alone_mean_terminated() -> None:
    batch = SampleBatch(dones=[True, False])
    assert batch["terminateds"].tolist() == [True, False]
    assert batch["truncateds"].tolist() == [False, False]
    later = SampleBatch(t=[0, 1])
    later["dones"] = [0, 1]
    assert later["terminateds"].tolist() == [False, True]


def test_dones_may_not_contradict_the_flags() -> None:
    flags = {"terminateds": [True, False], "truncateds": [False, False]}
    assert SampleBatch(flags, dones=[True, False])["dones"].tolist() == [True, False]
    with pytest.raises(ValueError, match="dones disagree with terminateds and truncateds"):
        SampleBatch(flags, dones=[True, True])
    with pytest.raises(KeyError, match="derived from 'terminateds', which is missing"):
        SampleBatch(t=[0])["dones"]


def test_new_obs_is_the_next_row_or_the_true_last_observation() -> None:
    batch = two_pieces()
    assert batch["new_obs"][:, 0].tolist() == [1, 2, 30, 4, 50]
    assert "new_obs" in batch
    assert "new_obs" not in batch.arrays
    batch["new_obs"] = batch["new_obs"]
    assert batch.shuffle(np.random.default_rng(0)).segments is None
    assert (batch["new_obs"] - batch["obs"])[batch["obs"] == 3] == 1


def test_new_obs_of_nested_observations() -> None:
    last = {"obs": {"a": np.array([[9.0]])}}
    batch = SampleBatch(obs={"a": [[1.0], [2.0]]}, segments=Segments(np.array([2]), last))
    assert batch.segments is not None
    assert list(batch.segments.last_obs) == ["obs/a"]
    assert batch["new_obs"]["a"][:, 0].tolist() == [2, 9]


def test_new_obs_without_segments_says_what_to_do() -> None:
    batch = SampleBatch(obs=[1, 2])
    assert batch.get("new_obs") is None
    with pytest.raises(KeyError, match="cannot be derived: that takes 'obs' and segments"):
        batch["new_obs"]


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (Segments(np.array([1]), {}), r"rise strictly .* to the row count 2, but it is \[1\]"),
        (Segments(np.array([2, 2]), {}), r"but it is \[2, 2\]"),
        (Segments(np.array([0, 2]), {}), "a segment has at least one row"),
        (Segments(np.array([2]), {"obs": np.zeros(2)}), r"last_obs\['obs'\] has the shape \(2,\)"),
        (Segments(np.array([2]), {}, (np.zeros(3),)), r"last_state\[0\].*there are 1 segments"),
        (Segments(np.array([2]), {}, (), np.zeros(2)), "segments.bootstrap has the shape"),
    ],
)
def test_segments_are_checked(segments: Segments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SampleBatch(obs=[1, 2], segments=segments)


def test_columns_and_rows() -> None:
    batch = SampleBatch(obs={"a": [1, 2]}, t=[0, 1])
    assert [c.tolist() for c in batch.columns(["t", "obs/a"])] == [[0, 1], [1, 2]]
    assert list(batch.rows()) == [{"obs": {"a": 1}, "t": 0}, {"obs": {"a": 2}, "t": 1}]


def test_take_by_index_and_mask() -> None:
    batch = two_pieces()
    assert batch.take([4, 0, 0])["obs"][:, 0].tolist() == [4, 0, 0]
    assert batch.take(batch["dones"])["obs"][:, 0].tolist() == [2]
    assert batch.take([0]).segments is None


def test_shuffle_binds_new_arrays_with_one_permutation() -> None:
    obs = np.arange(50)
    obs.flags.writeable = False
    batch = SampleBatch(obs=obs, twice=obs * 2)
    assert batch.shuffle(np.random.default_rng(0)) is batch
    assert obs.tolist() == list(range(50))
    assert batch["obs"].tolist() != obs.tolist()
    assert sorted(batch["obs"].tolist()) == obs.tolist()
    assert (batch["twice"] == 2 * batch["obs"]).all()


def test_copy_is_deep_unless_shallow() -> None:
    batch = two_pieces()
    deep, shallow = batch.copy(), batch.copy(shallow=True)
    assert deep["obs"] is not batch["obs"]
    assert deep.segments is not None
    assert batch.segments is not None
    assert deep.segments.last_obs["obs"] is not batch.segments.last_obs["obs"]
    assert shallow["obs"] is batch["obs"]
    shallow["t"] = np.arange(5)
    assert "t" not in batch


def test_batches_compare_by_identity() -> None:
    batch = two_pieces()
    assert batch != batch.copy()
    assert len({batch, batch}) == 1


def test_size_bytes() -> None:
    batch = SampleBatch(obs=np.zeros((4, 3), np.float32), t=np.zeros(4, np.int64))
    assert batch.size_bytes() == 4 * 3 * 4 + 4 * 8
    assert SampleBatch(infos=[{}, {"a": 1}]).size_bytes() > 2 * 16


def test_pickle_carries_arrays_out_of_band() -> None:
    batch = two_pieces(image=np.zeros((5, 200, 200), np.uint8))
    buffers: list[pickle.PickleBuffer] = []
    inside = pickle.dumps(batch, protocol=5, buffer_callback=buffers.append)
    assert len(inside) < 2_000
    again = pickle.loads(inside, buffers=buffers)
    assert np.shares_memory(again["image"], batch["image"])
    assert again["new_obs"].tolist() == batch["new_obs"].tolist()
    assert copy.deepcopy(batch).segments.ends.tolist() == [3, 5]


def test_repr_and_summary() -> None:
    batch = SampleBatch(
        actions=[0, 1, 1, 1], action_logp=np.float32([-0.7014, -0.6849, -0.69, -0.69]),
        infos=[{}, {}, {}, {"a": 1}], flags=[True, False, True, False],
    )  # fmt: skip
    assert repr(batch) == "SampleBatch(4: ['actions', 'action_logp', 'infos', 'flags'])"
    assert repr(SampleBatch(t=[1, 2], seq_lens=[2])) == "SampleBatch(2 (seqs=1): ['t'])"
    assert batch.summary() == (
        "{'action_logp': np.ndarray((4,), dtype=float32, min=-0.701, max=-0.685, mean=-0.692),\n"
        " 'actions': np.ndarray((4,), dtype=int64, min=0.0, max=1.0, mean=0.75),\n"
        " 'flags': np.ndarray((4,), dtype=bool, min=0.0, max=1.0, mean=0.5),\n"
        " 'infos': np.ndarray((4,), dtype=object, head={})}"
    )
    assert SampleBatch(t=np.zeros(0)).summary() == "{'t': np.ndarray((0,), dtype=float64)}"


def test_column_name_constants() -> None:
    batch = SampleBatch({SampleBatch.REWARDS: [1.0], SampleBatch.DONES: [True]})
    assert list(batch) == ["rewards", "terminateds", "truncateds"]
    assert SampleBatch.NEXT_OBS == "new_obs"
