"""What a loss gets and gives: columns on the device cut into minibatches, and its result read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from rl_policy.actor import InputEncoder, action_mask
from rl_policy.model_config import did_you_mean
from rl_policy.xp import array_namespace
from rl_sample import SampleBatch, chop_into_sequences, flatten_nested, unflatten_nested
from rl_sample.protocols import Learned, Needs


class Arrays(Protocol):
    """A framework's arrays, as a learner's backend has them."""

    xp: ModuleType
    """Its namespace."""

    to_tensor: Callable[[np.ndarray], Any]
    """The array on the device; floats in the dtype of the model's weights."""
    pads_fully: bool
    """Sequences are all as long as they may be, so that a graph knows their length."""


def load_batch(
    batch: SampleBatch,
    inputs: InputEncoder,
    needs: Needs,
    arrays: Arrays,
    *,
    block: int = 1,
    burn_in: int = 0,
) -> tuple[LoadedBatch, np.ndarray | None]:
    """What losses read, and which of its rows are no padding ([B] bool; None: all).

    Args:
        batch: raw observations; of a recurrent policy also `state_in_…` per row.
        inputs: the encoding and filter that acting used for this batch.
        needs: `max_seq_len` cuts sequences; `learn` asks for `new_obs`.
        arrays: what makes tensors.
        block: rows that stay together (`get_batch_divisibility_req`).
        burn_in: rows before each sequence that only warm the recurrent state.

    Raises:
        ValueError: the batch is empty, its rows cannot be made into blocks, or an action mask
            allows nothing.
    """
    if batch.count == 0:
        raise ValueError("cannot learn on an empty batch")
    columns = dict(batch.arrays)
    mask = action_mask(columns)
    if mask is not None and inputs.dist_class.mask_size and not batch.zero_padded:
        inputs.dist_class.checked_mask(mask)
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
        return LoadedBatch(columns, batch.count, block, {}, arrays), None
    return _load_sequences(batch, columns, needs.max_seq_len, burn_in, arrays)


def _load_sequences(
    batch: SampleBatch,
    columns: dict[str, np.ndarray],
    max_seq_len: int,
    burn_in: int,
    arrays: Arrays,
) -> tuple[LoadedBatch, np.ndarray | None]:
    if batch.seq_lens is None:
        rows = SampleBatch(columns, segments=batch.segments)
        batch = chop_into_sequences(rows, max_seq_len, burn_in)
    else:
        batch = SampleBatch(
            columns,
            seq_lens=batch.seq_lens,
            max_seq_len=batch.max_seq_len,
            zero_padded=batch.zero_padded,
        )
    assert batch.seq_lens is not None
    longest = int(batch.seq_lens.max())
    full = max(longest, max_seq_len + burn_in)
    if not batch.zero_padded:
        batch.right_zero_pad(full if arrays.pads_fully else longest)
    lens, length = batch.seq_lens, int(batch.max_seq_len or 0)
    padded = {"valid": (np.arange(length) < lens[:, None]).reshape(-1), **batch.arrays}
    per_unit = {k: v for k, v in padded.items() if k.startswith("state_in_")}
    of_rows = {k: v for k, v in padded.items() if k not in per_unit}
    valid = padded["valid"]
    sequences = {**per_unit, "seq_lens": lens}
    loaded = LoadedBatch(of_rows, len(valid), length, sequences, arrays, counts=full)
    return loaded, None if valid.all() else valid


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
        arrays: Arrays,
        *,
        counts: int | None = None,
    ) -> None:
        """`columns` have `rows` rows, `unit` rows each unit; `per_unit` one row each unit.

        A unit `counts` as so many rows in the size of a minibatch, however far it was padded.
        """
        self.rows, self.unit, self._counts = rows, unit, counts or unit
        self.units = rows // unit
        self.arrays = arrays
        self.sources = {**columns, **per_unit}
        self.per_unit = frozenset(per_unit)
        self.roots = dict.fromkeys([name.split("/", 1)[0] for name in self.sources])
        self.order: np.ndarray | None = None
        """[units] int64, the current epoch's order; None: as given."""
        self._index: Any = None
        self.tensors: dict[str, Any] = {}
        """Columns as tensors in the order given, as far as they were made."""
        self._ordered: dict[str, Any] = {}

    def epochs(
        self,
        epochs: int,
        size: int | None,
        rng: np.random.Generator,
        renew: Callable[[int], Mapping[str, np.ndarray]],
    ) -> Iterator[int]:
        """Shuffle for each epoch; gives the number of units in its minibatches.

        Args:
            epochs: passes over the batch.
            size: rows of a minibatch, sequences being as long as they may be; None: all rows, in
                the order given.
            rng: shuffles units before each epoch if there is more than one minibatch.
            renew: (rows) -> columns [rows, …] that are drawn anew for each epoch.
        """
        step = self.units if size is None else max(1, size // self._counts)
        for _ in range(epochs):
            self._ordered.clear()
            self._replace(renew(self.rows))
            if step < self.units:
                self.order = rng.permutation(self.units)
                self._index = self.arrays.to_tensor(self.order)
            yield step

    def minibatches(self, step: int) -> Iterator[TrainBatch]:
        """The minibatches of `step` units in the current order; the last may be smaller."""
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
        units = np.arange(start, stop) if self.order is None else self.order[start:stop]
        return np.asarray((units[:, None] * self.unit + np.arange(self.unit)).reshape(-1))

    def _order(self, name: str) -> Any:
        source = self.sources[name]
        unit = 1 if name in self.per_unit else self.unit
        if source.dtype == object:
            if self.order is None:
                return source
            return source.reshape(self.units, unit)[self.order].reshape(-1)
        tensor = self.tensors.get(name)
        if tensor is None:
            tensor = self.tensors[name] = self.arrays.to_tensor(source)
        if self.order is None:
            return tensor
        xp = self.arrays.xp
        if unit == 1:
            return xp.take(tensor, self._index, axis=0)
        blocks = xp.reshape(tensor, (self.units, unit, *source.shape[1:]))
        return xp.reshape(xp.take(blocks, self._index, axis=0), source.shape)

    def _replace(self, columns: Mapping[str, np.ndarray]) -> None:
        for name, column in columns.items():
            self.sources[name] = column
            self.roots[name.split("/", 1)[0]] = None
            self.tensors.pop(name, None)


class TrainBatch(Mapping[str, Any]):
    """What a loss gets: columns as tensors, nested spaces nested; read-only."""

    def __init__(self, loaded: Any, start: Any, stop: Any) -> None:
        """Units `start:stop` of the epoch; numbers, in a traced graph scalars."""
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

    def get(self, name: str, default: Any = None) -> Any:
        """The column, or `default` without one."""
        return self[name] if name in self else default  # noqa: SIM401 - this is that get

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


def forward_batch(model: Any, train_batch: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """`forward` of a batch that is learned on; illegal actions are masked as in acting."""
    state: list[Any] = []
    while (name := f"state_in_{len(state)}") in train_batch:
        state.append(train_batch[name])
    outputs, state_out = model(train_batch, state, train_batch.get("seq_lens"))
    if outputs.shape[-1] != model.num_outputs:
        model.check_outputs(outputs)
    if model.mask_outputs is not None:
        legal = action_mask(train_batch)
        if legal is not None:
            outputs = model.mask_outputs(outputs, legal)
    return outputs, state_out


class Meter:
    """Statistics and per-row results of one call to `learn_on_batch`."""

    def __init__(self, loaded: LoadedBatch, valid: np.ndarray | None) -> None:
        """`valid` [B] leaves out padding from the rows that are handed back."""
        self._loaded, self._valid = loaded, valid
        self._stats: dict[str, list[Any]] = {}
        self._rows: dict[str, np.ndarray] = {}

    def add(self, stats: Mapping[str, Any]) -> None:
        """Scalars of one update, or [n] of n updates; tensors stay where they are until the end."""
        for name, value in stats.items():
            self._stats.setdefault(name, []).append(value)

    def add_rows(self, start: int, stop: int, rows: Mapping[str, np.ndarray]) -> None:
        """Per-row results of the units at `start:stop` of the current order."""
        for name, array in rows.items():
            if name not in self._rows:
                shape = (self._loaded.rows, *array.shape[1:])
                self._rows[name] = np.zeros(shape, array.dtype)
            self._rows[name][self._loaded.row_index(start, stop)] = array

    def learned(self, **last: float) -> Learned:
        """Means over all updates, `last` as it is, and the rows in batch order."""
        means = {name: _mean(values) for name, values in self._stats.items()}
        rows = self._rows
        if self._valid is not None:
            rows = {name: array[self._valid] for name, array in rows.items()}
        return Learned({**means, **last}, rows)


def _mean(values: list[Any]) -> float:
    first = values[0]
    if isinstance(first, float | int | np.generic | np.ndarray):
        return float(np.mean(np.hstack(values), dtype=np.float64))
    xp = array_namespace(first)
    return float(np.mean(xp.to_numpy(xp.stack(values)), dtype=np.float64))


_FORMS = (
    "L, (L, stats) or (L, stats, rows), where L is a scalar tensor or {optimizer name: scalar "
    "tensor}, stats {name: scalar} and rows {name: [B, …]}"
)


def read_loss(
    policy: str, result: Any, optimizers: Collection[str], tensor: Any, mean: str
) -> tuple[dict[str, Any], Mapping[str, Any], Mapping[str, Any]]:
    """Bring what a loss returned to one form: (losses by optimiser, stats, rows).

    Args:
        policy: name, for errors.
        result: what came.
        optimizers: names.
        tensor: class that a loss is an instance of.
        mean: how the framework calls its mean, for errors.

    Raises:
        TypeError: none of the forms; says what came.
        ValueError: a loss with more than one element, or for an optimiser that does not exist.
    """
    loss, stats, rows = result, {}, {}
    if isinstance(result, tuple):
        loss, stats, rows = (*result, {}, {})[:3]
    losses = loss if isinstance(loss, Mapping) else dict.fromkeys(optimizers, loss)
    for name, value in losses.items():
        if name not in optimizers:
            raise ValueError(
                f"policy {policy!r}: the loss names optimizer {name!r}"
                f"{did_you_mean(name, optimizers)}"
            )
        if not isinstance(value, tensor) or not isinstance(stats, Mapping):
            given = type(result).__name__ if value is result else _describe(result)
            raise TypeError(f"policy {policy!r}: loss_fn returned {given}; expected {_FORMS}")
        if any(side != 1 for side in value.shape):
            shape = tuple("B" if side is None else side for side in value.shape)
            raise ValueError(
                f"policy {policy!r}: the loss has shape {shape}; reduce it to one number, for "
                f"example with {mean}"
            )
    if losses.keys() != set(optimizers):
        missing = sorted(set(optimizers) - losses.keys())
        raise ValueError(f"policy {policy!r}: the loss lacks optimizers {missing}")
    return dict(losses), stats, rows


def not_finite(policy: Any, what: str, value: float, loaded: LoadedBatch) -> FloatingPointError:
    """The error for a loss or gradient norm that is NaN or infinite.

    It names the columns that explain it; whoever raises it has changed no weight.
    """
    guilty = [
        name
        for name, source in loaded.sources.items()
        if source.dtype.kind == "f" and not np.isfinite(source).all()
    ]
    hint = f"not finite in the batch: {', '.join(guilty)}" if guilty else "all columns are finite"
    return FloatingPointError(
        f"policy {policy.name!r}: {what} is {value} at env step {policy.global_step} ({hint}); "
        "this update was not applied and the weights are as before it"
    )


def _describe(result: Any) -> str:
    if isinstance(result, tuple):
        return f"({', '.join(type(part).__name__ for part in result)})"
    return type(result).__name__
