"""SampleBatch: columns of experience with equal row counts, and where its trajectories end."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from rl_sample.columns import (
    belongs,
    check_rows,
    derived_dones,
    flags_of_dones,
    is_per_sequence,
    missing_column,
    top_names,
)
from rl_sample.names import ColumnNames
from rl_sample.nested import flatten_nested, unflatten_nested
from rl_sample.protocols import DEFAULT_POLICY_ID, Segments
from rl_sample.segments import copied_segments, has_next_obs, next_obs, normalized_segments
from rl_sample.sequences import checked_lengths, padded_columns, row_index
from rl_sample.slicing import slice_batch, split_by_episode, timeslices

if TYPE_CHECKING:
    from rl_sample.multi_agent import MultiAgentBatch


class SampleBatch(ColumnNames, MutableMapping[str, Any]):
    """Rows of experience as a mapping of column names to arrays.

    Nested (Dict, Tuple) columns are stored flat: `batch.arrays` is the raw `{"obs/a": array}`,
    `batch["obs"]` the nested view `{"a": array}`. Two columns are derived when they are read:
    `dones` (either flag) and, if it is not stored, `new_obs` (needs segments; made anew at each
    read, so keep it with `batch["new_obs"] = batch["new_obs"]` before you drop the segments).

    Arrays are never written into: methods that change a batch bind new arrays.

    Args:
        columns: {name: array, list, or nested dict/tuple of arrays}, [B, …] each. `dones` alone
            means terminated. `seq_lens` may stand here too.
        segments: where trajectory pieces end, and what came after.
        seq_lens: [N] integers, row counts of consecutive sequences; `state_in_i` then has N rows.
        max_seq_len: longest sequence allowed; default: the longest there is.
        zero_padded: True if every sequence already has `max_seq_len` rows.
        more_columns: columns by keyword.

    Raises:
        ValueError: a column's length differs, or segments or seq_lens do not fit the columns.
    """

    __slots__ = ("arrays", "max_seq_len", "segments", "seq_lens", "zero_padded")

    arrays: dict[str, np.ndarray]
    segments: Segments | None
    seq_lens: np.ndarray | None
    max_seq_len: int | None
    zero_padded: bool

    def __init__(
        self,
        columns: Mapping[str, Any] | None = None,
        /,
        *,
        segments: Segments | None = None,
        seq_lens: Any = None,
        max_seq_len: int | None = None,
        zero_padded: bool = False,
        **more_columns: Any,
    ) -> None:
        named = {**(columns or {}), **more_columns}
        listed, dones = named.pop("seq_lens", None), named.pop("dones", None)
        self.seq_lens, self.max_seq_len = checked_lengths(
            listed if seq_lens is None else seq_lens, max_seq_len, zero_padded
        )
        self.zero_padded, self.segments = zero_padded, None
        arrays: dict[str, np.ndarray] = {}
        for name, value in named.items():
            arrays.update(flatten_nested(name, value))
        if dones is not None:
            arrays.update(flags_of_dones(arrays, dones))
        self._bind(arrays)
        if segments is not None:
            self.segments = normalized_segments(segments, self._rows())

    @classmethod
    def _of(
        cls,
        arrays: dict[str, np.ndarray],
        segments: Segments | None = None,
        seq_lens: np.ndarray | None = None,
        max_seq_len: int | None = None,
        zero_padded: bool = False,
    ) -> SampleBatch:
        """A batch of parts known to fit, unchecked."""
        batch = cls.__new__(cls)
        batch.arrays, batch.segments, batch.seq_lens = arrays, segments, seq_lens
        batch.max_seq_len, batch.zero_padded = max_seq_len, zero_padded
        return batch

    # -- sizes ------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Rows of experience, padding not counted."""
        return self._rows() if self.seq_lens is None else int(self.seq_lens.sum())

    def __len__(self) -> int:
        return self.count

    def env_steps(self) -> int:
        """Environment steps: the row count."""
        return self.count

    def agent_steps(self) -> int:
        """Agent steps: the row count."""
        return self.count

    def size_bytes(self) -> int:
        """Bytes held by columns, segments and seq_lens; objects by `sys.getsizeof`."""
        arrays = list(self.arrays.values())
        if self.segments is not None:
            arrays += [self.segments.ends, *self.segments.last_obs.values()]
            arrays += self.segments.last_state
        arrays += [] if self.seq_lens is None else [self.seq_lens]
        return sum(
            sum(map(sys.getsizeof, array.flat)) if array.dtype == object else array.nbytes
            for array in arrays
        )

    def _rows(self) -> int:
        """Rows of the arrays, padding counted."""
        if self.seq_lens is not None:
            assert self.max_seq_len is not None
            lens = self.seq_lens
            return len(lens) * self.max_seq_len if self.zero_padded else int(lens.sum())
        return len(next(iter(self.arrays.values()))) if self.arrays else 0

    # -- mapping ----------------------------------------------------------------------------------

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> SampleBatch: ...
    def __getitem__(self, key: str | slice) -> Any:
        """`batch["obs"]` is a column; `batch[a:b]` a batch of these rows that shares the arrays.

        With seq_lens both bounds move down to the start of the sequence they fall into, so that
        consecutive slices part the sequences among them.
        """
        if isinstance(key, str):
            column = self.arrays.get(key)
            return self._derived(key) if column is None else column
        if isinstance(key, slice):
            return slice_batch(self, key)
        raise TypeError(
            f"a batch is indexed by a column name or by a slice of rows, not by {key!r}: "
            "use batch[i:i + 1] or batch.take(indices) for rows"
        )

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "seq_lens":
            raise ValueError("seq_lens are set when a batch is made: SampleBatch(…, seq_lens=…)")
        if self._fits(key, value):
            self.arrays = {**self.arrays, key: value}
            return
        dones = key == "dones"
        added = flags_of_dones(self.arrays, value) if dones else flatten_nested(key, value)
        kept = {name: array for name, array in self.arrays.items() if not belongs(name, key)}
        self._bind({**kept, **added})

    def _fits(self, key: str, value: Any) -> bool:
        """Whether `value` can be bound as it is, which is so for columns made while sampling."""
        if not isinstance(value, np.ndarray) or value.ndim == 0 or self.seq_lens is not None:
            return False
        if key not in self.arrays and ("/" in key or key in self):
            return False
        return key != "dones" and len(value) == self._rows() > 0

    def __delitem__(self, key: str) -> None:
        kept = {name: array for name, array in self.arrays.items() if not belongs(name, key)}
        if len(kept) == len(self.arrays):
            raise missing_column(self.arrays, key)
        self.arrays = kept

    def __iter__(self) -> Iterator[str]:
        """Names of the stored columns, a nested one once."""
        return iter(top_names(self.arrays))

    def __contains__(self, key: object) -> bool:
        """Whether `batch[key]` can be read, derived columns included."""
        if not isinstance(key, str):
            return False
        if key in self.arrays or key in [name.split("/", 1)[0] for name in self.arrays]:
            return True
        if key == "new_obs":
            return self.segments is not None and has_next_obs(self.segments, self.arrays)
        return (key == "dones" and "terminateds" in self.arrays) or (
            key == "seq_lens" and self.seq_lens is not None
        )

    def get(self, key: str, default: Any = None) -> Any:
        """The column, or `default` if there is none."""
        if key in self:
            return self[key]
        return default

    # Two batches are equal if they are the same: comparing arrays has no single truth value.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def _derived(self, key: str) -> Any:
        """A nested view, or a column made of others."""
        if key not in self:
            raise missing_column(self.arrays, key)
        if any(name.startswith(key + "/") for name in self.arrays):
            return unflatten_nested(key, self.arrays)
        if key == "seq_lens":
            return self.seq_lens
        if key == "dones":
            return derived_dones(self.arrays)
        assert self.segments is not None
        return unflatten_nested(key, next_obs(self.segments, self.arrays))

    def _bind(self, arrays: dict[str, np.ndarray]) -> None:
        """Take the columns if they fit together and to seq_lens and segments."""
        lens, rows = self.seq_lens, None
        if lens is not None:
            rows = self._rows()
        elif self.segments is not None:
            rows = int(self.segments.ends[-1]) if len(self.segments.ends) else 0
        check_rows(arrays, rows, None if lens is None else len(lens))
        self.arrays = arrays

    # -- rows -------------------------------------------------------------------------------------

    def take(self, indices: Any) -> SampleBatch:
        """A batch of the rows `indices` ([N] int, or [B] bool), copied; drops the segments."""
        self._refuse_sequences("take rows of")
        indices = np.asarray(indices)
        return self._of({name: array[indices] for name, array in self.arrays.items()})

    def shuffle(self, rng: np.random.Generator | None = None) -> SampleBatch:
        """Permute the rows, the same way in all columns; drops the segments. Returns self.

        Raises:
            ValueError: the batch has seq_lens, whose rows belong together.
        """
        self._refuse_sequences("shuffle")
        order = (rng or np.random.default_rng()).permutation(self._rows())
        self.arrays = {name: array[order] for name, array in self.arrays.items()}
        self.segments = None
        return self

    def _refuse_sequences(self, what: str) -> None:
        if self.seq_lens is not None:
            raise ValueError(
                f"cannot {what} a batch with seq_lens: the rows of a sequence belong together; "
                "do it before chop_into_sequences, or slice whole sequences with batch[a:b]"
            )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row as {column: value}; padding is left out, `state_in_i` of sequences too."""
        columns = self.arrays
        index: Iterable[int] = range(self._rows())
        if self.seq_lens is not None:
            columns = {k: v for k, v in columns.items() if not is_per_sequence(k)}
            index = row_index(self.seq_lens, self.max_seq_len) if self.zero_padded else index
        names = top_names(columns)
        for i in index:
            row = {name: column[i] for name, column in columns.items()}
            yield {name: unflatten_nested(name, row) for name in names}

    def columns(self, keys: Iterable[str]) -> list[Any]:
        """The columns of these names, in this order."""
        return [self[key] for key in keys]

    def split_by_episode(self) -> list[SampleBatch]:
        """One slice for each run of rows with the same `eps_id`.

        Without `eps_id` the batch must be one episode; the result then has `eps_id` 0.
        """
        return split_by_episode(self)

    def timeslices(
        self, size: int | None = None, *, num_slices: int | None = None
    ) -> list[SampleBatch]:
        """Consecutive slices of `size` rows (the last may be shorter), or `num_slices` near-equal.

        With seq_lens the slices end where sequences do, and empty ones are left out.
        """
        return timeslices(self, size, num_slices)

    # -- wholes -----------------------------------------------------------------------------------

    def copy(self, shallow: bool = False) -> SampleBatch:
        """A batch of its own columns; `shallow` shares the arrays instead of copying them."""
        arrays, segments, lens = dict(self.arrays), self.segments, self.seq_lens
        if not shallow:
            arrays = {name: array.copy() for name, array in arrays.items()}
            lens = None if lens is None else lens.copy()
            segments = None if segments is None else copied_segments(segments)
        return self._of(arrays, segments, lens, self.max_seq_len, self.zero_padded)

    def concat(self, other: SampleBatch) -> SampleBatch:
        """A new batch of this one's rows and then the other's."""
        return self.concat_samples([self, other])

    @staticmethod
    def concat_samples(batches: Iterable[SampleBatch]) -> SampleBatch:
        """See `rl_sample.concat_samples`."""
        from rl_sample.concat import concat_batches

        return concat_batches(list(batches))

    def right_zero_pad(self, max_seq_len: int | None = None) -> SampleBatch:
        """Pad every sequence with zeros to `max_seq_len` rows. Binds new arrays, returns self.

        Object columns are padded with None. `state_in_i` has one row per sequence already. Drops
        the segments. A batch that is padded already is left as it is.

        Raises:
            ValueError: no seq_lens, or a sequence is longer than `max_seq_len`.
        """
        length = self.max_seq_len if max_seq_len is None else max_seq_len
        if self.seq_lens is None or length is None:
            raise ValueError(
                "right_zero_pad needs seq_lens: make sequences with chop_into_sequences(batch, "
                "max_seq_len) first"
            )
        if self.zero_padded and length != self.max_seq_len:
            raise ValueError(
                f"the batch is padded to {self.max_seq_len} rows per sequence already, it cannot "
                f"be padded to {length}"
            )
        if not self.zero_padded:
            self.arrays = padded_columns(self.arrays, self.seq_lens, length)
            self.max_seq_len, self.zero_padded, self.segments = length, True, None
        return self

    def as_multi_agent(self) -> MultiAgentBatch:
        """This batch as that of the one policy `default_policy`."""
        from rl_sample.multi_agent import MultiAgentBatch

        return MultiAgentBatch({DEFAULT_POLICY_ID: self}, self.count)

    def summary(self) -> str:
        """Shape, dtype, minimum, maximum and mean of each column, to print."""
        from rl_sample.summary import summarize

        return summarize(self.arrays)

    def to_bytes(self) -> bytes:
        """The batch as safetensors bytes; see `rl_sample.serialize`."""
        from rl_sample.serialize import batch_to_bytes

        return batch_to_bytes(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> SampleBatch:
        """The batch that `to_bytes` wrote; ValueError if the bytes are damaged or foreign."""
        from rl_sample.serialize import batch_from_bytes

        return batch_from_bytes(data)

    def __repr__(self) -> str:
        sequences = "" if self.seq_lens is None else f" (seqs={len(self.seq_lens)})"
        return f"SampleBatch({self.count}{sequences}: {list(self)})"
