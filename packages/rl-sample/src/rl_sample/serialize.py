"""Batches as bytes: arrays as safetensors, everything else as JSON in its metadata; no pickle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from rl_sample.protocols import Segments

if TYPE_CHECKING:
    from rl_sample.batch import SampleBatch

FORMAT = "rl_sample.SampleBatch"
VERSION = 1
_DAMAGE = (LookupError, TypeError, ValueError, AttributeError)  # how unexpected JSON shows


def batch_to_bytes(batch: SampleBatch) -> bytes:
    """The batch as safetensors bytes.

    Numeric and boolean columns keep dtype and shape. Columns of objects (`infos`) and of strings
    are written as JSON: None, booleans, numbers, strings, lists and dicts with string keys; NumPy
    scalars become plain numbers.

    Raises:
        ValueError: a column holds something else; the message names column, row and place.
    """
    from safetensors.numpy import save

    # Never without a tensor: not every version of safetensors reads a file that has none.
    tensors = {"count": np.array([batch.count])}
    texts: dict[str, Any] = {}
    for name, array in batch.arrays.items():
        if array.dtype.kind in "OU":
            texts[name] = _json_column(name, array)
        else:
            tensors[f"columns/{name}"] = _native(name, array)
    head = {
        "format": FORMAT, "version": VERSION, "columns": list(batch.arrays), "json": texts,
        "max_seq_len": batch.max_seq_len, "zero_padded": batch.zero_padded,
        "segments": batch.segments is not None,
    }  # fmt: skip
    if batch.seq_lens is not None:
        tensors["seq_lens"] = batch.seq_lens
    if batch.segments is not None:
        parts = {"ends": batch.segments.ends}
        parts |= {f"last_obs/{name}": a for name, a in batch.segments.last_obs.items()}
        parts |= {f"last_state/{i}": a for i, a in enumerate(batch.segments.last_state)}
        if batch.segments.bootstrap is not None:
            parts["bootstrap"] = batch.segments.bootstrap
        tensors |= {f"segments/{name}": _native(name, a) for name, a in parts.items()}
    return bytes(save(tensors, metadata={"rl_sample": json.dumps(head)}))


def batch_from_bytes(data: bytes) -> SampleBatch:
    """The batch that `batch_to_bytes` wrote.

    Raises:
        ValueError: the bytes are truncated, damaged, or of something else. (Flipped bits inside
            an array's values cannot be noticed; who needs that stores a checksum beside them.)
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    from rl_sample.batch import SampleBatch

    try:
        tensors = load(bytes(data))
        head = _head(bytes(data))
        columns: dict[str, np.ndarray] = {}
        for name in head["columns"]:
            text = head["json"].get(name)
            columns[name] = tensors[f"columns/{name}"] if text is None else _text_column(text)
        batch = SampleBatch(
            columns,
            segments=_segments(tensors) if head["segments"] else None,
            seq_lens=tensors.get("seq_lens"),
            max_seq_len=head["max_seq_len"],
            zero_padded=head["zero_padded"],
        )
        if batch.count != tensors["count"]:
            raise ValueError(f"it has {batch.count} rows, not the {tensors['count']} written")
        return batch
    except (SafetensorError, RecursionError, *_DAMAGE) as error:
        raise ValueError(f"these bytes are not a whole SampleBatch: {error}") from error


def _head(data: bytes) -> dict[str, Any]:
    """The JSON that `batch_to_bytes` put into the safetensors header."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    if "rl_sample" not in metadata:
        raise ValueError("it is a safetensors file, but not one that SampleBatch.to_bytes wrote")
    head: dict[str, Any] = json.loads(metadata["rl_sample"])
    if head.get("format") != FORMAT or head.get("version") != VERSION:
        raise ValueError(
            f"format {head.get('format')!r} version {head.get('version')!r}; this version of "
            f"rl-sample reads {FORMAT!r} version {VERSION}"
        )
    lengths = head["max_seq_len"]
    if type(head["zero_padded"]) is not bool or not (lengths is None or type(lengths) is int):
        raise ValueError("zero_padded or max_seq_len is damaged")
    return head


def _segments(tensors: dict[str, np.ndarray]) -> Segments:
    def under(prefix: str) -> dict[str, np.ndarray]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    states = under("segments/last_state/")
    return Segments(
        tensors["segments/ends"],
        under("segments/last_obs/"),
        tuple(states[str(i)] for i in range(len(states))),
        tensors.get("segments/bootstrap"),
    )


def _native(name: str, array: np.ndarray) -> np.ndarray:
    """The array as safetensors wants it: contiguous, native byte order, a dtype it knows."""
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ValueError(
            f"column {name!r} has the dtype {array.dtype}, which cannot be written: convert it to "
            "numbers, booleans or strings first"
        )
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _json_column(name: str, array: np.ndarray) -> dict[str, Any]:
    if array.dtype == object and array.ndim > 1:
        raise ValueError(
            f"column {name!r} holds objects in the shape {array.shape}: give one object per row"
        )
    rows = [_plain(value, f"column {name!r}, row {i}") for i, value in enumerate(array.tolist())]
    return {"kind": array.dtype.kind, "rows": rows}


def _plain(value: Any, place: str) -> Any:
    """The value as JSON holds it; anything that would not come back the same is an error."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        return value.item()
    if isinstance(value, list):
        return [_plain(item, f"{place}, item {i}") for i, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{place}, key {key!r}") for key, item in value.items()}
    raise ValueError(
        f"{place}: {value!r} ({type(value).__name__}) cannot be written as JSON (numbers, strings, "
        "booleans, None, lists and dicts with string keys can); convert it, or leave the column "
        "out"
    )


def _text_column(text: dict[str, Any]) -> np.ndarray:
    """Undo `_json_column`; it is not trusted."""
    rows, kind = text["rows"], text["kind"]
    if not isinstance(rows, list):
        raise TypeError(f"rows of a column are a list, not {rows!r}")
    if kind == "U":
        return np.array(rows, dtype=np.str_)
    column = np.empty(len(rows), object)
    column[:] = rows
    return column
