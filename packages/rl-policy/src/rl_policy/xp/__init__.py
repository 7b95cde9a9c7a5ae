"""One source, several arrays: a small namespace with one implementation per array library.

Distributions, filters and losses are written once against the functions below:

    xp = array_namespace(logits)
    probabilities = xp.exp(logits - xp.logsumexp(logits, axis=-1, keepdims=True))

What an implementation gives (`tests/test_xp.py` is the conformance test); `axis` and what follows
`*` are keywords, dtypes are names such as "float32", "int64", "int8", "bool":

    abs exp floor log log1p sqrt square sign tanh isfinite relu    elementwise
    sigmoid softplus                          no overflow for any finite input
    lgamma digamma                            log Γ(x) and its derivative, for x > 0
    maximum(x, y) minimum(x, y) clip(x, low, high) where(condition, x, y)
                                              broadcast; a Python number takes the array's dtype.
                                              Where a number bounds x, the gradient at the bound is
                                              1; between two equal arrays it is shared out, which
                                              share each gets being the library's choice
    equal(x, y) not_equal(x, y)               bool
    max min sum mean (x, *, axis=None, keepdims=False)             bools and ints add up in int64
    argmax(x, *, axis)                        int64, the first of equals; of bools the first True
    cumsum(x, *, axis)                        adding zero never changes the running sum
    logsumexp(x, *, axis, keepdims=False) softmax(x, *, axis=-1) log_softmax(x, *, axis=-1)
    matmul(x, y)                              ranks of 2 or more
    one_hot(index, size)                      float32, all zero for an index out of range
    reshape(x, shape) transpose(x, axes) broadcast_to(x, shape)
    expand_dims(x, *, axis) flip(x, *, axis) concat(arrays, *, axis) stack(arrays, *, axis)
    split(x, sizes, *, axis=-1)               a tuple; sizes add up to the axis
    take(x, index, *, axis)                   a one-dimensional index
    take_along_axis(x, index, *, axis)        an index with the rank and, but for axis, sizes of x
    zeros_like(x) ones_like(x) full_like(x, value)
    asarray(value, like, *, dtype=None)       a constant on the device of like, with its dtype
    astype(x, dtype)
    to_numpy(x)                               a NumPy array, detached; not inside a traced graph
    shape(x)                                  for reshape and broadcast_to; a traced graph puts
                                              scalars where a size is unknown
    float_min(x)                              the lowest finite number of the dtype of x
    stop_gradient(x)
    scan(step, init, xs, *, reverse=False)    step(carry, x) -> (carry, y) along the leading axis of
                                              the array(s) xs, at least one row; the carry keeps its
                                              shape and dtype; gives (carry, ys), ys in xs's order

The operators `+ - * / ** < <= > >= & | ~` and basic slicing (ints, slices, None, `...`) are part of
the contract. Item assignment, boolean indexing and branching on values are not: a traced graph has
none of them. Dtypes are not promoted between arrays (cast first); axis arguments are keywords.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["NAMES", "NAMESPACES", "array_namespace", "load_namespace", "masked_mean"]

# fmt: off
NAMES: tuple[str, ...] = (
    "abs", "argmax", "asarray", "astype", "broadcast_to", "clip", "concat", "cumsum", "digamma",
    "equal", "exp", "expand_dims", "flip", "float_min", "floor", "full_like", "isfinite", "lgamma",
    "log", "log1p", "log_softmax", "logsumexp", "matmul", "max", "maximum", "mean", "min",
    "minimum", "not_equal", "one_hot", "ones_like", "relu", "reshape", "scan", "shape", "sigmoid",
    "sign", "softmax", "softplus", "split", "sqrt", "square", "stack", "stop_gradient", "sum",
    "take", "take_along_axis", "tanh", "to_numpy", "transpose", "where", "zeros_like",
)
# fmt: on
"""The functions that every implementation has."""

_IMPLEMENTATIONS = {
    "numpy": "rl_policy.xp.numpy_xp",
    "tensorflow": "rl_policy.xp.tf_xp",
    "torch": "rl_policy.xp.torch_xp",
}

NAMESPACES: dict[type, ModuleType] = {}
"""Array type -> implementation, filled by `array_namespace`."""


def load_namespace(library: str) -> ModuleType:
    """Give the implementation for an array library, a name such as `"torch"`, importing it."""
    if library not in _IMPLEMENTATIONS:
        known = ", ".join(sorted(_IMPLEMENTATIONS))
        raise ValueError(f"there is no array namespace for {library!r}; known: {known}")
    return import_module(_IMPLEMENTATIONS[library])


def array_namespace(*arrays: Any) -> ModuleType:
    """Give the implementation that works on `arrays`; Python numbers among them do not count.

    Raises:
        TypeError: an argument is not an array, or arrays of two libraries are mixed.
    """
    found: ModuleType | None = None
    for array in arrays:
        kind = type(array)
        if kind in (bool, int, float):
            continue
        namespace = NAMESPACES.get(kind) or _remember(kind)
        if found is not None and namespace is not found:
            names = ", ".join(type(a).__qualname__ for a in arrays)
            raise TypeError(
                f"arrays of two libraries are mixed ({names}); convert one side first, "
                "e.g. `xp.asarray(value, like)`"
            )
        found = namespace
    if found is None:
        raise TypeError("array_namespace needs at least one array, got only Python numbers")
    return found


def masked_mean(x: Any, train_batch: Mapping[str, Any]) -> Any:
    """Mean of `x` [B] over the rows of `train_batch` that hold data.

    Rows are padding where the column `valid` [B] says False; without that column all count.
    """
    xp = array_namespace(x)
    if "valid" not in train_batch:
        return xp.mean(x)
    valid = train_batch["valid"]
    # where before sum: what a net makes of padding may be infinite, and 0 * inf is NaN
    total, count = xp.where(valid, x, 0.0), xp.where(valid, xp.ones_like(x), 0.0)
    return xp.sum(total) / xp.sum(count)


def _remember(kind: type) -> ModuleType:
    """Find the library an array type comes from, by its base classes' modules, and keep it."""
    for base in kind.__mro__:
        library = base.__module__.partition(".")[0]
        if library in _IMPLEMENTATIONS:
            NAMESPACES[kind] = load_namespace(library)
            return NAMESPACES[kind]
    raise TypeError(
        f"{kind.__module__}.{kind.__qualname__} is no array of {' or '.join(_IMPLEMENTATIONS)}; "
        "make it one first, e.g. `np.asarray(value)`"
    )
