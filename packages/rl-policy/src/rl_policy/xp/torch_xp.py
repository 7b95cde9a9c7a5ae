"""The array namespace on PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

Array: TypeAlias = Any

abs = torch.abs
exp = torch.exp
floor = torch.floor
log = torch.log
log1p = torch.log1p
sqrt = torch.sqrt
square = torch.square
sign = torch.sign
tanh = torch.tanh
isfinite = torch.isfinite
sigmoid = torch.sigmoid
relu = torch.relu
lgamma = torch.lgamma
digamma = torch.digamma
softplus = torch.nn.functional.softplus
matmul = torch.matmul
where = torch.where
equal = torch.eq
not_equal = torch.ne
reshape = torch.reshape
transpose = torch.permute
broadcast_to = torch.broadcast_to
zeros_like = torch.zeros_like
ones_like = torch.ones_like
full_like = torch.full_like
stop_gradient = torch.Tensor.detach


def maximum(x: Array, y: Array) -> Array:
    """Take the larger, elementwise; one of the two may be a number."""
    return _pairwise(torch.maximum, torch.clamp_min, x, y)


def minimum(x: Array, y: Array) -> Array:
    """Take the smaller, elementwise; one of the two may be a number."""
    return _pairwise(torch.minimum, torch.clamp_max, x, y)


def _pairwise(both: Callable[..., Array], bound: Callable[..., Array], x: Array, y: Array) -> Array:
    if not isinstance(y, torch.Tensor):
        return bound(x, y)
    return both(x, y) if isinstance(x, torch.Tensor) else bound(y, x)


def clip(x: Array, low: Array, high: Array) -> Array:
    """Limit to `low`…`high`, numbers or arrays."""
    return minimum(maximum(x, low), high)


def max(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Take the largest along `axis`."""
    return x.amax() if axis is None else x.amax(dim=axis, keepdim=keepdims)


def min(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Take the smallest along `axis`."""
    return x.amin() if axis is None else x.amin(dim=axis, keepdim=keepdims)


def sum(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Add up along `axis`."""
    return x.sum() if axis is None else x.sum(dim=axis, keepdim=keepdims)


def mean(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Average along `axis`."""
    return x.mean() if axis is None else x.mean(dim=axis, keepdim=keepdims)


def argmax(x: Array, *, axis: int) -> Array:
    """Find the first of the largest along `axis`."""
    return torch.argmax(x.to(torch.int8) if x.dtype == torch.bool else x, dim=axis)


def cumsum(x: Array, *, axis: int) -> Array:
    """Run a sum along `axis`, in float64 because a GPU adds in no fixed order.

    In float32 its parallel scan would give equal sums (a zero added) in two roundings.
    """
    if x.dtype == torch.float32:
        return torch.cumsum(x, dim=axis, dtype=torch.float64).to(torch.float32)
    return torch.cumsum(x, dim=axis)


def logsumexp(x: Array, *, axis: int, keepdims: bool = False) -> Array:
    """Compute log Σ e^x along `axis`."""
    return torch.logsumexp(x, dim=axis, keepdim=keepdims)


def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """Normalise log weights."""
    return torch.log_softmax(x, dim=axis)


def softmax(x: Array, *, axis: int = -1) -> Array:
    """Turn log weights into probabilities."""
    return torch.softmax(x, dim=axis)


def one_hot(index: Array, size: int) -> Array:
    """Code integers [...] as float32 [..., size]."""
    return (index.unsqueeze(-1) == torch.arange(size, device=index.device)).to(torch.float32)


def expand_dims(x: Array, *, axis: int) -> Array:
    """Insert an axis of size 1."""
    return x.unsqueeze(axis)


def flip(x: Array, *, axis: int) -> Array:
    """Reverse the order along `axis`."""
    return torch.flip(x, dims=(axis,))


def concat(arrays: Sequence[Array], *, axis: int) -> Array:
    """Join along an axis."""
    return torch.cat(tuple(arrays), dim=axis)


def stack(arrays: Sequence[Array], *, axis: int = 0) -> Array:
    """Join along a new axis."""
    return torch.stack(tuple(arrays), dim=axis)


def split(x: Array, sizes: Sequence[int], *, axis: int = -1) -> tuple[Array, ...]:
    """Cut into pieces of the given sizes, which must add up to the whole."""
    if np.sum(sizes) != x.shape[axis]:
        raise ValueError(f"sizes {tuple(sizes)} do not add up to {x.shape[axis]}, axis {axis}")
    return torch.split(x, list(sizes), dim=axis)


def take(x: Array, index: Array, *, axis: int) -> Array:
    """Pick entries along `axis` by a one-dimensional index."""
    return torch.index_select(x, axis, index)


def take_along_axis(x: Array, index: Array, *, axis: int) -> Array:
    """Pick one entry along `axis` for each entry of `index`, which has the rank of `x`."""
    return torch.take_along_dim(x, index, dim=axis)


def asarray(value: Any, like: Array, *, dtype: str | None = None) -> Array:
    """Make a constant on the device of `like`, with its dtype unless another is named."""
    kind = like.dtype if dtype is None else getattr(torch, dtype)
    return torch.as_tensor(value, dtype=kind, device=like.device)


def astype(x: Array, dtype: str) -> Array:
    """Cast; the same array when it has the dtype already."""
    return x.to(getattr(torch, dtype))


def to_numpy(x: Array) -> np.ndarray:
    """Give a NumPy array, detached from the graph, on the CPU."""
    return np.asarray(x.detach().cpu().numpy())


def shape(x: Array) -> tuple[int, ...]:
    """Give the sizes of the axes."""
    return tuple(x.shape)


def float_min(x: Array) -> float:
    """Give the lowest finite number of the dtype of `x`."""
    return float(torch.finfo(x.dtype).min)


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any, *, reverse: bool = False
) -> tuple[Any, Any]:
    """Run `step` along the leading axis of `xs`, carrying a value."""
    several = isinstance(xs, tuple)
    rows = list(zip(*map(torch.unbind, xs), strict=True)) if several else xs.unbind(0)
    carry, ys = init, []
    for x in reversed(rows) if reverse else rows:
        carry, y = step(carry, x)
        ys.append(y)
    if reverse:
        ys.reverse()
    if isinstance(ys[0], tuple):
        return carry, tuple(torch.stack(column) for column in zip(*ys, strict=True))
    return carry, torch.stack(ys)
