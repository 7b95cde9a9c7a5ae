"""The array namespace on TensorFlow, eager and inside `tf.function` with sizes not yet known."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

# Read when TensorFlow is imported. oneDNN's kernels round differently from call to call.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

Array: TypeAlias = Any

_UNROLLED = 16
"""`scan` over at most so many rows becomes no loop in a graph."""

abs = tf.math.abs
exp = tf.math.exp
floor = tf.math.floor
log = tf.math.log
log1p = tf.math.log1p
sqrt = tf.math.sqrt
square = tf.math.square
sign = tf.math.sign
tanh = tf.math.tanh
isfinite = tf.math.is_finite
sigmoid = tf.math.sigmoid
softplus = tf.math.softplus
relu = tf.nn.relu
equal = tf.math.equal
not_equal = tf.math.not_equal
lgamma = tf.math.lgamma
digamma = tf.math.digamma
matmul = tf.linalg.matmul
max = tf.math.reduce_max
min = tf.math.reduce_min
mean = tf.math.reduce_mean
logsumexp = tf.math.reduce_logsumexp
softmax = tf.nn.softmax
log_softmax = tf.nn.log_softmax
reshape = tf.reshape
transpose = tf.transpose
broadcast_to = tf.broadcast_to
expand_dims = tf.expand_dims
concat = tf.concat
stack = tf.stack
take = tf.gather
zeros_like = tf.zeros_like
ones_like = tf.ones_like
stop_gradient = tf.stop_gradient


def maximum(x: Array, y: Array) -> Array:
    """Take the larger, elementwise; of equals the first, but never a number, has the gradient."""
    return tf.math.maximum(x, y) if tf.is_tensor(x) else tf.math.maximum(y, x)


def minimum(x: Array, y: Array) -> Array:
    """Take the smaller, elementwise; of equals the first, but never a number, has the gradient."""
    return tf.math.minimum(x, y) if tf.is_tensor(x) else tf.math.minimum(y, x)


def clip(x: Array, low: Array, high: Array) -> Array:
    """Limit to `low`…`high`, numbers or arrays."""
    return tf.math.minimum(tf.math.maximum(x, low), high)


def where(condition: Array, x: Array, y: Array) -> Array:
    """Choose elementwise; a number takes the dtype of the other."""
    if not tf.is_tensor(x):
        x = asarray(x, y) if tf.is_tensor(y) else x
    elif not tf.is_tensor(y):
        y = asarray(y, x)
    return tf.where(condition, x, y)


def sum(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Add up along `axis`; booleans and integers in int64."""
    x = x if _dtype(x).is_floating else tf.cast(x, tf.int64)
    return tf.math.reduce_sum(x, axis=axis, keepdims=keepdims)


def argmax(x: Array, *, axis: int) -> Array:
    """Find the first of the largest along `axis`."""
    return tf.math.argmax(tf.cast(x, tf.int32) if _dtype(x) == tf.bool else x, axis=axis)


def cumsum(x: Array, *, axis: int) -> Array:
    """Run a sum along `axis`, in float64 because a GPU adds in no fixed order."""
    if _dtype(x) == tf.float32:
        return tf.cast(tf.math.cumsum(tf.cast(x, tf.float64), axis=axis), tf.float32)
    return tf.math.cumsum(x, axis=axis)


def one_hot(index: Array, size: int) -> Array:
    """Code integers [...] as float32 [..., size]."""
    return tf.one_hot(tf.cast(index, tf.int64), size)


def flip(x: Array, *, axis: int) -> Array:
    """Reverse the order along `axis`."""
    return tf.reverse(x, (axis,))


def split(x: Array, sizes: Sequence[int], *, axis: int = -1) -> tuple[Array, ...]:
    """Cut into pieces of the given sizes, which must add up to the whole."""
    whole = x.shape[axis]
    if whole is not None and int(np.sum(sizes)) != whole:
        raise ValueError(f"sizes {tuple(sizes)} do not add up to {whole}, axis {axis}")
    return tuple(tf.split(x, list(sizes), axis=axis))


def take_along_axis(x: Array, index: Array, *, axis: int) -> Array:
    """Pick by an index with the rank of `x` and, but for `axis`, its sizes.

    From the flattened array: the gradient of a gather with batch dimensions costs twice as much.
    """
    last = len(x.shape) - 1
    if axis % (last + 1) != last:
        order = list(range(last + 1))
        order[axis], order[last] = last, order[axis]
        x, index = tf.transpose(x, order), tf.transpose(index, order)
        return tf.transpose(take_along_axis(x, index, axis=last), order)
    starts = tf.range(tf.size(x) // shape(x)[last]) * shape(x)[last]
    rows = tf.reshape(tf.cast(index, tf.int32), (-1, shape(index)[last])) + starts[:, None]
    return tf.reshape(tf.gather(tf.reshape(x, (-1,)), rows), shape(index))


def full_like(x: Array, value: Any) -> Array:
    """Fill an array like `x`."""
    return tf.fill(tf.shape(x), asarray(value, x))


def asarray(value: Any, like: Array, *, dtype: str | None = None) -> Array:
    """Make a constant with the dtype of `like` unless another is named."""
    kind = tf.as_dtype(dtype or like.dtype)
    if tf.is_tensor(value):
        return tf.cast(value, kind)
    return tf.convert_to_tensor(np.asarray(value, dtype=kind.as_numpy_dtype))


def astype(x: Array, dtype: str) -> Array:
    """Cast; the same array when it has the dtype already."""
    return tf.cast(x, dtype)


def to_numpy(x: Array) -> np.ndarray:
    """Give a NumPy array, detached from the graph.

    Raises:
        TypeError: `x` is a node of a graph that is being traced and has no value yet.
    """
    if tf.is_symbolic_tensor(x):
        raise TypeError(
            f"{x.name} has no value while TensorFlow traces a function: return it from the "
            "function and convert it outside, or set framework to 'tf2' to run eagerly"
        )
    return np.asarray(x.numpy())


def shape(x: Array) -> tuple[Any, ...]:
    """Give the sizes of the axes: ints, and scalar tensors where a size is not yet known."""
    known = tuple(x.shape)
    if None not in known:
        return known
    sizes = tf.shape(x)
    return tuple(sizes[i] if size is None else size for i, size in enumerate(known))


def float_min(x: Array) -> float:
    """Give the lowest finite number of the dtype of `x`."""
    return float(_dtype(x).min)


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any, *, reverse: bool = False
) -> tuple[Any, Any]:
    """Run `step` along the leading axis of `xs`, carrying a value.

    Eager and over few rows the loop is Python's; else it is the graph's, whose length may be
    unknown. There `step` is traced twice, and the carry keeps its shape and dtype.
    """
    length = tf.nest.flatten(xs)[0].shape[0]
    if tf.executing_eagerly() or (length is not None and length <= _UNROLLED):
        return _scan_unrolled(step, init, xs, length, reverse)
    length = tf.shape(tf.nest.flatten(xs)[0])[0]
    # the gradient of a slice is as large as what it was cut from, that of a read is a row
    rows = tf.nest.map_structure(lambda x: tf.TensorArray(x.dtype, length).unstack(x), xs)

    def row(i: Any) -> Any:
        at = length - 1 - i if reverse else i
        return at, tf.nest.map_structure(lambda array: array.read(at), rows)

    def body(i: Any, carry: Any, kept: Any) -> Any:
        at, x = row(i)
        carry, y = step(carry, x)
        return i + 1, carry, tf.nest.map_structure(lambda a, b: a.write(at, b), kept, y)

    # The first row is outside the loop: it tells what `step` gives, which a loop has to know.
    at, x = row(tf.constant(0))
    carry, y = step(init, x)
    kept = tf.nest.map_structure(
        lambda b: tf.TensorArray(b.dtype, size=length, element_shape=b.shape).write(at, b), y
    )
    _, carry, kept = tf.while_loop(
        lambda i, *_: i < length, body, (tf.constant(1), carry, kept), maximum_iterations=length
    )
    return carry, tf.nest.map_structure(lambda a: a.stack(), kept)


def _scan_unrolled(
    step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, length: int, reverse: bool
) -> tuple[Any, Any]:
    ys: list[Any] = [None] * length
    for i in reversed(range(length)) if reverse else range(length):
        carry, ys[i] = step(carry, tf.nest.map_structure(lambda x, i=i: x[i], xs))
    return carry, tf.nest.map_structure(lambda *rows: tf.stack(rows), *ys)


def _dtype(x: Array) -> tf.DType:
    """Give the dtype; a Keras variable has its name instead."""
    return tf.as_dtype(x.dtype)
