"""Batches as bytes: what goes in comes out, and damage is a ValueError."""

from __future__ import annotations

import contextlib
import datetime
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from rl_sample import SampleBatch
from rl_sample.protocols import Segments

DTYPES = st.sampled_from(
    ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">f4", ">i8"]
)
NAMES = st.text("abcdefgh_", min_size=1, max_size=6)
INFO_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def full_batch() -> SampleBatch:
    segments = Segments(
        np.array([3, 5]), {"obs/a": np.ones((2, 2)), "obs/b/0": np.arange(2)},
        (np.full((2, 4), 7.0),), np.array([0.0, 1.5]),
    )  # fmt: skip
    return SampleBatch(
        obs={"a": np.arange(10.0).reshape(5, 2), "b": (np.arange(5),)},
        infos=[{}, {"lives": 3}, {"x": [1.5, None]}, {}, {"name": "ü"}],
        skill=np.array(["low", "high", "low", "low", "x"]),
        rewards=np.arange(5, dtype=np.float32),
        state_in_0=np.zeros((5, 4)),
        segments=segments,
    )


def assert_same(a: SampleBatch, b: SampleBatch) -> None:
    assert list(a.arrays) == list(b.arrays)
    for name, array in a.arrays.items():
        np.testing.assert_array_equal(array, b.arrays[name])
        assert array.dtype.newbyteorder("=") == b.arrays[name].dtype
    assert (a.seq_lens is None) == (b.seq_lens is None)
    assert (a.max_seq_len, a.zero_padded) == (b.max_seq_len, b.zero_padded)


def test_everything_comes_back() -> None:
    batch = full_batch()
    again = SampleBatch.from_bytes(batch.to_bytes())
    assert_same(batch, again)
    assert again["infos"].tolist() == batch["infos"].tolist()
    assert isinstance(again["obs"]["b"], tuple)
    assert again.segments is not None
    assert again.segments.ends.tolist() == [3, 5]
    assert again.segments.last_state[0].tolist() == [[7.0] * 4] * 2
    assert again.segments.bootstrap is not None
    assert again["new_obs"]["a"].tolist() == batch["new_obs"]["a"].tolist()


def test_sequences_come_back() -> None:
    batch = SampleBatch(t=[1, 2, 3], seq_lens=[2, 1], max_seq_len=4).right_zero_pad()
    assert_same(batch, SampleBatch.from_bytes(batch.to_bytes()))
    assert_same(SampleBatch(), SampleBatch.from_bytes(SampleBatch().to_bytes()))


def test_slices_and_strided_columns_are_written_as_seen() -> None:
    batch = SampleBatch(x=np.arange(12).reshape(3, 4).T[1:3], y=np.arange(8)[::4])
    again = SampleBatch.from_bytes(batch.to_bytes())
    assert again["x"].tolist() == [[1, 5, 9], [2, 6, 10]]
    assert again["y"].tolist() == [0, 4]


@given(st.dictionaries(NAMES, st.tuples(DTYPES, st.lists(st.integers(0, 3), max_size=2))))
def test_any_dtype_and_shape(columns: dict[str, tuple[str, list[int]]]) -> None:
    arrays = {
        name: np.arange(2 * int(np.prod(shape)), dtype=np.int64).astype(dtype).reshape(2, *shape)
        for name, (dtype, shape) in columns.items()
    }
    arrays.pop("dones", None)
    batch = SampleBatch(arrays)
    assert_same(batch, SampleBatch.from_bytes(batch.to_bytes()))


@given(st.lists(INFO_VALUES, min_size=1, max_size=4))
def test_any_json_info(infos: list[Any]) -> None:
    column = np.empty(len(infos), object)
    column[:] = infos
    again = SampleBatch.from_bytes(SampleBatch(infos=column).to_bytes())
    assert again["infos"].tolist() == infos


def test_numpy_scalars_in_infos_become_numbers() -> None:
    batch = SampleBatch(infos=[{"r": np.float32(0.5), "ok": np.bool_(True), "n": np.int64(3)}])
    assert SampleBatch.from_bytes(batch.to_bytes())["infos"][0] == {"r": 0.5, "ok": True, "n": 3}


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"when": datetime.date(2024, 1, 1)}, "'infos', row 1, key 'when': .*date.* as JSON"),
        ({"a": [0, (1, 2)]}, r"row 1, key 'a', item 1: \(1, 2\) \(tuple\)"),
        ({"a": np.zeros(2)}, r"row 1, key 'a': .*ndarray\) cannot be written"),
        ({1: 2}, r"row 1: \{1: 2\} \(dict\) .*string keys.*or leave the column out"),
    ],
)
def test_other_infos_are_named(info: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SampleBatch(infos=[{}, info]).to_bytes()


def test_other_dtypes_are_named() -> None:
    with pytest.raises(ValueError, match=r"column 'when' has the dtype datetime64\[D\]"):
        SampleBatch(when=np.zeros(2, "datetime64[D]")).to_bytes()
    with pytest.raises(ValueError, match="column 'z' has the dtype complex128"):
        SampleBatch(z=np.zeros(2, complex)).to_bytes()


def test_every_truncation_is_noticed() -> None:
    data = full_batch().to_bytes()
    for length in range(len(data)):
        with pytest.raises(ValueError, match="not a whole SampleBatch"):
            SampleBatch.from_bytes(data[:length])
    with pytest.raises(ValueError, match="not a whole SampleBatch"):
        SampleBatch.from_bytes(data + b"\0")


def test_every_flipped_byte_is_a_value_error_or_a_batch() -> None:
    data = full_batch().to_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for position in [*range(header), *range(header, len(data), 7)]:
        for bit in (1, 2, 0x20, 0x80):
            damaged = bytearray(data)
            damaged[position] ^= bit
            try:
                batch = SampleBatch.from_bytes(bytes(damaged))
            except ValueError:
                continue
            assert batch.count >= 0


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a whole SampleBatch"):
        SampleBatch.from_bytes(data)


@given(st.data())
def test_random_damage_is_a_value_error_or_a_batch(data: st.DataObject) -> None:
    whole = full_batch().to_bytes()
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    with contextlib.suppress(ValueError):
        SampleBatch.from_bytes(whole[:start] + data.draw(st.binary(max_size=30)) + whole[stop:])


def test_foreign_and_newer_files_are_told_apart() -> None:
    with pytest.raises(ValueError, match=r"safetensors file, but not one that SampleBatch\.to_byt"):
        SampleBatch.from_bytes(save({"x": np.zeros(2)}))
    newer = save(
        {"count": np.zeros(1)},
        metadata={"rl_sample": '{"format": "rl_sample.SampleBatch", "version": 2}'},
    )
    with pytest.raises(ValueError, match="version 2; this version of rl-sample reads .* version 1"):
        SampleBatch.from_bytes(newer)


def with_head(**changes: Any) -> bytes:
    head = {
        "format": "rl_sample.SampleBatch", "version": 1, "columns": ["x"], "json": {},
        "max_seq_len": None, "zero_padded": False, "segments": False, **changes,
    }  # fmt: skip
    tensors = {"columns/x": np.zeros(2), "count": np.array([2])}
    return bytes(save(tensors, metadata={"rl_sample": json.dumps(head)}))


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": None}, {"columns": [[]]}, {"columns": ["y"]}, {"segments": True},
        {"max_seq_len": "9"}, {"columns": []}, {"zero_padded": 1}, {"json": []},
        {"json": {"x": {"kind": "O", "rows": {"a": 1}}}}, {"json": {"x": {"rows": []}}},
        {"json": {"x": {"kind": "U", "rows": ["a", ["b"]]}}},
        {"columns": ["x", "y"], "json": {"y": {"kind": "O", "rows": [1]}}},
    ],
)  # fmt: skip
def test_hostile_heads_are_refused(changes: dict[str, Any]) -> None:
    assert SampleBatch.from_bytes(with_head()).count == 2
    with pytest.raises(ValueError, match="not a whole SampleBatch"):
        SampleBatch.from_bytes(with_head(**changes))


def test_deeply_nested_heads_are_refused() -> None:
    data = save({"count": np.zeros(1)}, metadata={"rl_sample": "[" * 200_000})
    with pytest.raises(ValueError, match="not a whole SampleBatch"):
        SampleBatch.from_bytes(data)


def test_objects_come_one_per_row() -> None:
    batch = SampleBatch(infos=np.full((2, 2), None))
    with pytest.raises(ValueError, match=r"'infos' holds objects in the shape \(2, 2\)"):
        batch.to_bytes()
    words = SampleBatch(words=np.array([["a", "b"], ["c", "dd"]]))
    assert_same(words, SampleBatch.from_bytes(words.to_bytes()))


@given(hnp.arrays(np.float32, (3,), elements=st.floats(width=32)))
def test_nan_and_infinity_come_back_bit_for_bit(values: np.ndarray) -> None:
    again = SampleBatch.from_bytes(SampleBatch(x=values).to_bytes())
    assert again["x"].tobytes() == values.tobytes()
