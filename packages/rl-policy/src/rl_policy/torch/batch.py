"""A batch on the device: loaded once, cut into minibatches, and what became of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from rl_policy.actor import InputEncoder
from rl_sample import SampleBatch, chop_into_sequences, flatten_nested, unflatten_nested
from rl_sample.protocols import Learned, Needs


def load_batch(
    batch: SampleBatch, inputs: InputEncoder, needs: Needs, block: int, device: torch.device
) -> tuple[LoadedBatch, np.ndarray | None]:
    """What losses read, and which of its rows are no padding ([B] bool; None: all).

    Args:
        batch: raw observations; of a recurrent policy also `state_in_…` per row.
        inputs: the encoding and filter that acting used for this batch.
        needs: `max_seq_len` cuts sequences; `learn` asks for `new_obs`.
        block: rows that stay together (`get_batch_divisibility_req`).
        device: where tensors go.

    Raises:
        ValueError: the batch is empty, or its rows cannot be made into blocks.
    """
    if batch.count == 0:
        raise ValueError("cannot learn on an empty batch")
    columns = dict(batch.arrays)
    if "terminateds" in columns and "truncateds" in columns:
        columns["dones"] = columns["terminateds"] | columns["truncateds"]
    if "new_obs" in needs.learn:
        columns |= flatten_nested("new_obs", batch["new_obs"])
        columns["new_obs_flat"] = inputs.flat("new_obs", columns)
    columns = inputs.encode(columns)
    if needs.max_seq_len is None:
        if batch.count % block:
            raise ValueError(
                f"get_batch_divisibility_req asks for blocks of {block} rows, and the batch has "
                f"{batch.count}: make train_batch_size a multiple of {block}"
            )
        return LoadedBatch(columns, batch.count, block, {}, device), None
    return _load_sequences(batch, columns, needs.max_seq_len, device)


def _load_sequences(
    batch: SampleBatch, columns: dict[str, np.ndarray], max_seq_len: int, device: torch.device
) -> tuple[LoadedBatch, np.ndarray | None]:
    if batch.seq_lens is None:
        batch = chop_into_sequences(SampleBatch(columns, segments=batch.segments), max_seq_len)
    else:
        batch = SampleBatch(
            columns,
            seq_lens=batch.seq_lens,
            max_seq_len=batch.max_seq_len,
            zero_padded=batch.zero_padded,
        )
    assert batch.seq_lens is not None
    if not batch.zero_padded:
        batch.right_zero_pad(int(batch.seq_lens.max()))
    lens, length = batch.seq_lens, int(batch.max_seq_len or 0)
    valid = (np.arange(length) < lens[:, None]).reshape(-1)
    per_unit = {k: v for k, v in batch.arrays.items() if k.startswith("state_in_")}
    rows = {k: v for k, v in batch.arrays.items() if k not in per_unit}
    if not valid.all():
        rows["valid"] = valid
    loaded = LoadedBatch(rows, len(valid), length, {**per_unit, "seq_lens": lens}, device)
    return loaded, valid


class LoadedBatch:
    """Columns that become tensors when they are first read, in the order of the current epoch.

    Units are what a minibatch is made of: rows, blocks of rows that stay together, or padded
    sequences. Shuffling a whole column once per epoch and handing out slices of it costs a third
    of indexing every column for every minibatch.
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        rows: int,
        unit: int,
        per_unit: Mapping[str, np.ndarray],
        device: torch.device,
    ) -> None:
        """`columns` have `rows` rows, `unit` rows each unit; `per_unit` one row each unit."""
        self.rows, self.unit = rows, unit
        self.units = rows // unit
        self.device = device
        self.sources = {**columns, **per_unit}
        self.per_unit = frozenset(per_unit)
        self.roots = dict.fromkeys(name.split("/", 1)[0] for name in self.sources)
        self.order: torch.Tensor | None = None
        """[units] the current epoch's order; None: as given."""
        self._tensors: dict[str, torch.Tensor] = {}
        self._ordered: dict[str, Any] = {}

    def minibatches(
        self,
        epochs: int,
        size: int | None,
        rng: np.random.Generator,
        renew: Callable[[int], Mapping[str, np.ndarray]],
    ) -> Iterator[TrainBatch]:
        """All minibatches of all epochs; the last of an epoch may be smaller.

        Args:
            epochs: passes over the batch.
            size: rows of a minibatch; None: all rows, in the order given.
            rng: shuffles units before each epoch if there is more than one minibatch.
            renew: (rows) -> columns [rows, …] that are drawn anew for each epoch.
        """
        step = self.units if size is None else max(1, size // self.unit)
        for _ in range(epochs):
            self._ordered.clear()
            self._replace(renew(self.rows))
            if step < self.units:
                self.order = torch.from_numpy(rng.permutation(self.units)).to(self.device)
            for start in range(0, self.units, step):
                yield TrainBatch(self, start, min(start + step, self.units))

    def column(self, name: str) -> Any:
        """Column `name` in the current epoch's order."""
        ordered = self._ordered.get(name)
        if ordered is None:
            ordered = self._ordered[name] = self._order(name)
        return ordered

    def row_index(self, start: int, stop: int) -> np.ndarray:
        """Rows, as given, of the units at `start:stop` of the current order."""
        units = (
            np.arange(start, stop) if self.order is None else self.order[start:stop].cpu().numpy()
        )
        return np.asarray((units[:, None] * self.unit + np.arange(self.unit)).reshape(-1))

    def _order(self, name: str) -> Any:
        source = self.sources[name]
        unit = 1 if name in self.per_unit else self.unit
        if source.dtype == object:
            if self.order is None:
                return source
            return source.reshape(self.units, unit)[self.order.cpu().numpy()].reshape(-1)
        tensor = self._tensors.get(name)
        if tensor is None:
            tensor = self._tensors[name] = to_tensor(source, self.device)
        if self.order is None:
            return tensor
        if unit == 1:
            return tensor.index_select(0, self.order)
        blocks = tensor.view(self.units, unit, *tensor.shape[1:])
        return blocks.index_select(0, self.order).view(tensor.shape)

    def _replace(self, columns: Mapping[str, np.ndarray]) -> None:
        for name, column in columns.items():
            self.sources[name] = column
            self.roots[name.split("/", 1)[0]] = None
            self._tensors.pop(name, None)


class TrainBatch(Mapping[str, Any]):
    """What a loss gets: columns as tensors, nested spaces nested; read-only."""

    def __init__(self, loaded: LoadedBatch, start: int, stop: int) -> None:
        """Units `start:stop` of the epoch."""
        self.loaded, self.start, self.stop = loaded, start, stop
        self.count = (stop - start) * loaded.unit
        """Rows, padding included."""
        self._columns: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """The column's rows [B, …]."""
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self._cut(name)
        return column

    def __contains__(self, name: object) -> bool:
        """Without making it a tensor."""
        return name in self.loaded.sources or name in self.loaded.roots

    def __iter__(self) -> Iterator[str]:
        """Names, nested ones by their root."""
        return iter(self.loaded.roots)

    def __len__(self) -> int:
        """Number of columns, as of any mapping."""
        return len(self.loaded.roots)

    def _cut(self, name: str) -> Any:
        loaded = self.loaded
        if name in loaded.sources:
            unit = 1 if name in loaded.per_unit else loaded.unit
            return loaded.column(name)[self.start * unit : self.stop * unit]
        if name in loaded.roots:
            leaves = (leaf for leaf in loaded.sources if leaf.startswith(name + "/"))
            return unflatten_nested(name, {leaf: self[leaf] for leaf in leaves})
        raise KeyError(
            f"no column {name!r} in the train batch; it has {sorted(self)}"
            + (": declare needs=['new_obs'] in build_policy" if name == "new_obs" else "")
        )


class Meter:
    """Statistics and per-row results of one call to `learn_on_batch`."""

    def __init__(self, loaded: LoadedBatch, valid: np.ndarray | None) -> None:
        """`valid` [B] leaves out padding from the rows that are handed back."""
        self._loaded, self._valid = loaded, valid
        self._stats: dict[str, list[Any]] = {}
        self._rows: dict[str, np.ndarray] = {}

    def add(self, stats: Mapping[str, Any]) -> None:
        """Scalars of one update; tensors stay where they are until the end."""
        for name, value in stats.items():
            if isinstance(value, torch.Tensor):
                value = value.detach()
            self._stats.setdefault(name, []).append(value)

    def add_rows(self, batch: TrainBatch, rows: Mapping[str, Any]) -> None:
        """Per-row results of one minibatch."""
        for name, value in rows.items():
            array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
            if name not in self._rows:
                shape = (self._loaded.rows, *array.shape[1:])
                self._rows[name] = np.zeros(shape, array.dtype)
            self._rows[name][self._loaded.row_index(batch.start, batch.stop)] = array

    def learned(self, **last: float) -> Learned:
        """Means over all updates, `last` as it is, and the rows in batch order."""
        means = {name: _mean(values) for name, values in self._stats.items()}
        rows = self._rows
        if self._valid is not None:
            rows = {name: array[self._valid] for name, array in rows.items()}
        return Learned({**means, **last}, rows)


def _mean(values: list[Any]) -> float:
    if isinstance(values[0], torch.Tensor):
        return float(torch.stack(values).float().mean())
    return float(np.mean(values))


def to_tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """A tensor of `array`, float64 as float32; shares memory on the CPU where it may."""
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    elif array.dtype in _WIDENED:
        array = array.astype(_WIDENED[array.dtype])
    if not array.flags.writeable:  # Ray's arrays: torch would warn, and could write into them
        array = array.copy()
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


_WIDENED = {
    np.dtype(np.uint16): np.int32,
    np.dtype(np.uint32): np.int64,
    np.dtype(np.uint64): np.int64,
}
