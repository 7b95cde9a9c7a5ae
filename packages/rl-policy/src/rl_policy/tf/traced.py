"""Updates as graphs: one call for an epoch, the loss traced once for all sizes of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from rl_policy.train_batch import LoadedBatch, Meter, TrainBatch, not_finite

if TYPE_CHECKING:
    from rl_policy.tf.backend import Backend


class TracedUpdates:
    """The graphs of one learner; batches with columns of another kind get graphs of their own."""

    def __init__(self, backend: Backend) -> None:
        """Nothing is traced before the first batch."""
        self._backend = backend
        self._graphs: list[_Graph] = []
        self.metrics: dict[str, float] = {}
        """What the model reported in the last update, as far as that were tensors."""

    def epoch(self, loaded: LoadedBatch, step: int, meter: Meter) -> None:
        """An update for each minibatch of `step` units.

        Raises:
            FloatingPointError: a loss or gradient is not finite; that update was not applied.
        """
        graph = self._graph(loaded)
        if loaded.order is None and step >= loaded.units:
            self.metrics = graph.run(graph.update, loaded, (0, loaded.units), meter)
        else:
            units = np.arange(loaded.units) if loaded.order is None else loaded.order
            index = (loaded.row_index(0, loaded.units), units, step)
            self.metrics = graph.run(graph.epoch, loaded, index, meter)

    def gradients(self, loaded: LoadedBatch, meter: Meter) -> dict[str, list[Any]]:
        """Gradients of the whole batch by optimiser."""
        graph = self._graph(loaded)
        graph.run(graph.gradients, loaded, (0, loaded.units), meter)
        return graph.grads

    def _graph(self, loaded: LoadedBatch) -> _Graph:
        for graph in self._graphs:
            if graph.fits(loaded):
                return graph
        self._graphs.append(_Graph(self._backend, loaded))
        return self._graphs[-1]


class _Graph:
    """The functions for batches whose columns are of one kind, each traced when first called.

    Every column may be read, so all are arguments; of those that the loss does not read, empty
    ones are handed over.
    """

    def __init__(self, backend: Backend, loaded: LoadedBatch) -> None:
        self._backend = backend
        self._columns = _Columns(loaded)
        sources = {n: a for n, a in loaded.sources.items() if a.dtype != object}
        self._empty = {name: backend.to_tensor(array[:0]) for name, array in sources.items()}
        specs = {n: tf.TensorSpec([None, *t.shape[1:]], t.dtype) for n, t in self._empty.items()}
        one, many = tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.int32)
        self.update = _function(self._update, specs, one, one)
        self.epoch = _function(self._epoch, specs, many, many, one)
        self.gradients = _function(self._gradients, specs, one, one)
        self.grads: dict[str, list[Any]] = {}
        self._stats: list[str] = []
        self._sometimes: frozenset[str] = frozenset()
        self._checked: list[str] = []
        self._metrics: list[str] = []

    def fits(self, loaded: LoadedBatch) -> bool:
        """The columns that the loss asked for are there, or not, as they were when traced."""
        return self._columns.are_as_in(loaded)

    def run(
        self, function: Any, loaded: LoadedBatch, index: tuple[Any, ...], meter: Meter
    ) -> dict[str, float]:
        """Call one of the functions and give what it did to the meter; returns metrics."""
        function.get_concrete_function()  # traced now, so that the columns that it reads are known
        columns, make = dict(self._empty), self._backend.to_tensor
        for name in self._columns.read:
            if name not in loaded.tensors:
                loaded.tensors[name] = make(loaded.sources[name])
            columns[name] = loaded.tensors[name]
        out = function(columns, *(tf.constant(i, tf.int32) for i in index))
        self.grads = out.get("grads", {})
        numbers = out["numbers"].numpy().reshape(-1, len(self._names))[: int(out["count"])]
        last = dict(zip(self._names, map(float, numbers[-1]), strict=True))
        for what in self._checked:
            if not np.isfinite(last[f"checked/{what}"]):
                value = last[f"checked/{what}"]
                raise not_finite(self._backend.policy, what, value, loaded)
        for name, column in zip(self._stats, numbers.T, strict=False):
            kept = column[np.isfinite(column)] if name in self._sometimes else column
            meter.add({name: kept} if len(kept) else {})
        rows = {name: array.numpy() for name, array in out["rows"].items()}
        meter.add_rows(0, loaded.units, rows)
        return {name: last[f"metrics/{name}"] for name in self._metrics}

    @property
    def _names(self) -> list[str]:
        """What an update's vector of numbers holds."""
        checked = [f"checked/{what}" for what in self._checked]
        return [*self._stats, *checked, *(f"metrics/{name}" for name in self._metrics)]

    def _gradients(self, columns: dict[str, Any], start: Any, stop: Any) -> dict[str, Any]:
        numbers, _, done, _ = self._differentiate(columns, start, stop)
        grads = {name: o.grads for name, o in self._backend.optimizers.items()}
        self._forget()
        return {"numbers": numbers, "rows": dict(done.rows), "grads": grads, "count": 1}

    def _update(self, columns: dict[str, Any], start: Any, stop: Any) -> dict[str, Any]:
        """One update of the units `start:stop`, unless something is not finite."""
        backend = self._backend
        numbers, ok, done, due = self._differentiate(columns, start, stop)

        def apply() -> None:
            backend.step(done.norms, due)
            backend.counter.assign_add(1)

        tf.cond(ok, apply, lambda: None)
        self._forget()
        return {"numbers": numbers, "rows": dict(done.rows), "ok": ok, "count": 1}

    def _differentiate(self, columns: dict[str, Any], start: Any, stop: Any) -> tuple[Any, ...]:
        """(numbers, whether what must be finite is, what became of it, which optimisers are due)"""
        backend = self._backend
        done = backend.differentiate(TrainBatch(self._columns.of(columns), start, stop))
        due = {
            name: True if o.every == 1 else tf.equal(backend.counter % o.every, 0)
            for name, o in backend.optimizers.items()
        }
        stats, dtype = dict(done.stats), backend.float_dtype
        for name, optimizer in done.sometimes.items():
            value = tf.cast(stats[name], dtype)
            stats[name] = tf.where(due[optimizer], value, tf.constant(np.nan, dtype))
        checked = {
            what: tf.where(due.get(name, True), scalar, tf.zeros_like(scalar))
            for what, (scalar, name) in done.checked.items()
        }
        given = backend.policy.model.metrics()
        metrics = {name: value for name, value in given.items() if tf.is_symbolic_tensor(value)}
        self._stats, self._checked, self._metrics = list(stats), list(checked), list(metrics)
        self._sometimes = frozenset(done.sometimes)
        values = (*stats.values(), *checked.values(), *metrics.values())
        numbers = tf.stack([tf.reduce_mean(tf.cast(value, dtype)) for value in values])
        ok = tf.reduce_all(tf.math.is_finite(tf.stack(list(checked.values()))))
        return numbers, ok, done, due

    def _forget(self) -> None:
        """Nothing of a graph stays in the optimisers."""
        for optimizer in self._backend.optimizers.values():
            optimizer.grads, optimizer.tape, optimizer.rate = [], None, 0.0

    def _epoch(self, columns: dict[str, Any], rows: Any, units: Any, step: Any) -> dict[str, Any]:
        """Shuffle the columns, then an update for each `step` units as long as all is finite."""
        like = self.update.get_concrete_function().structured_outputs
        shuffled = dict(columns)
        for name in self._columns.read:
            index = units if name in self._columns.per_unit else rows
            shuffled[name] = tf.gather(columns[name], index)
        whole = tf.size(units)
        count = (whole + step - 1) // step
        numbers = tf.TensorArray(like["numbers"].dtype, count, element_shape=like["numbers"].shape)
        kept = {name: _none_of(tensor) for name, tensor in like["rows"].items()}

        def body(i: Any, _ok: Any, numbers: Any, kept: dict[str, Any]) -> tuple[Any, ...]:
            start = i * step
            out = self.update(shuffled, start, tf.minimum(start + step, whole))
            kept = {name: tf.concat([kept[name], out["rows"][name]], 0) for name in kept}
            return i + 1, out["ok"], numbers.write(i, out["numbers"]), kept

        shapes = {name: tf.TensorShape([None, *tensor.shape[1:]]) for name, tensor in kept.items()}
        done, _, numbers, kept = tf.while_loop(
            lambda i, ok, *_: ok & (i < count),
            body,
            (tf.constant(0), tf.constant(True), numbers, kept),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([]), None, shapes),
            parallel_iterations=1,
        )
        return {"numbers": numbers.stack(), "rows": kept, "count": done}


class _Columns:
    """What `LoadedBatch` is to a `TrainBatch`, while a graph is traced: it notes what is read."""

    def __init__(self, loaded: LoadedBatch) -> None:
        self.unit, self.per_unit = loaded.unit, loaded.per_unit
        self.sources = _Noting(dict.fromkeys(loaded.sources))
        self.roots = _Noting(loaded.roots)
        self.read: dict[str, None] = {}
        self._kinds = {name: _kind(array) for name, array in loaded.sources.items()}
        self._tensors: dict[str, Any] = {}

    def of(self, tensors: dict[str, Any]) -> _Columns:
        """This, with the tensors of the graph that is being traced."""
        self._tensors = tensors
        return self

    def column(self, name: str) -> Any:
        """A whole column.

        Raises:
            TypeError: its items are Python objects.
        """
        if name not in self._tensors:
            raise TypeError(
                f"the column {name!r} holds Python objects, and a loss that is traced into a graph "
                "can read numbers only: set framework='tf2', which runs it eagerly"
            )
        self.read[name] = None
        return self._tensors[name]

    def are_as_in(self, loaded: LoadedBatch) -> bool:
        """The columns that were read are of the same kind; those that were missed still are."""
        return (
            self.unit == loaded.unit
            and self.per_unit == loaded.per_unit
            and all((n in loaded.sources) == there for n, there in self.sources.asked.items())
            and all((n in loaded.roots) == there for n, there in self.roots.asked.items())
            and all(_kind(loaded.sources[name]) == self._kinds[name] for name in self.read)
        )


class _Noting(dict[str, Any]):
    """A dict that remembers which keys it was asked for, and whether they were there."""

    def __init__(self, items: dict[str, Any]) -> None:
        super().__init__(items)
        self.asked: dict[str, bool] = {}

    def __contains__(self, key: object) -> bool:
        there = super().__contains__(key)
        self.asked[str(key)] = there
        return there


def _function(python: Callable[..., Any], *signature: Any) -> Any:
    return tf.function(python, input_signature=signature, autograph=False)


def _none_of(like: Any) -> Any:
    """No rows of such a tensor [B, …]."""
    return tf.zeros([0, *like.shape[1:]], like.dtype)


def _kind(array: np.ndarray) -> tuple[Any, ...]:
    """What a graph is made for: all floats become those of the weights."""
    return ("f" if array.dtype.kind == "f" else array.dtype, array.shape[1:])
