"""Arrays to tensors, and variables by neutral names: the attributes that lead to each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class Block:
    """What keeps variables, Keras layers and other blocks in its attributes."""

    @property
    def variables(self) -> list[Any]:
        """All `tf.Variable`s, each once."""
        return list(named_variables(self).values())

    @property
    def trainable_variables(self) -> list[Any]:
        """Those that an optimiser changes."""
        return [v for v in self.variables if v.trainable]


def named_variables(root: Any) -> dict[str, Any]:
    """The `tf.Variable`s that `root` holds, in the order of its attributes.

    Names join attributes, keys and indices with "/" (`policy/hidden_0/w`); Keras's own names do
    not enter, for they count the layers of a whole process. The layers of a `keras.Model` are
    named by their class and counted within it (`base/dense_1/kernel`), the variables of any other
    layer by what the layer calls them (`norm/moving_mean`).
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for path, variable in _walk("", root, seen):
        if id(variable) not in seen:
            seen.add(id(variable))
            found[path.removeprefix("/")] = variable
    return found


def set_weights(model: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Copy weights into a model, by neutral name.

    Raises:
        ValueError: a name is missing or unknown, or a shape differs.
    """
    own = named_variables(model)
    if own.keys() != weights.keys():
        raise ValueError(
            f"these weights belong to another model: missing {sorted(own.keys() - weights.keys())}"
            f", unknown {sorted(weights.keys() - own.keys())}"
        )
    for name, variable in own.items():
        given = np.asarray(weights[name], variable.dtype.as_numpy_dtype)
        if given.shape != tuple(variable.shape):
            raise ValueError(
                f"weight {name!r} has shape {given.shape}, the model wants {tuple(variable.shape)}"
            )
        variable.assign(given)


def model_arrays(model: Any, but: Container[str] = ()) -> dict[str, np.ndarray]:
    """Copies of all variables by neutral name, without those in `but`."""
    named = named_variables(model).items()
    return {name: np.array(v.numpy()) for name, v in named if name not in but}


def check_variables(model: Any, known: Container[str]) -> None:
    """Refuse variables that were made after the optimisers were, which would never learn.

    Raises:
        RuntimeError: there are some; names them.
    """
    if late := [name for name in named_variables(model) if name not in known]:
        raise RuntimeError(
            f"{type(model).__name__} made the variables {late} while it learned, too late for the "
            "optimisers. forward() and value_function() run once when the model is made: use every "
            "layer there, or call its build(input_shape) in __init__"
        )


def array_to_tensor(array: np.ndarray, device: str, float_dtype: Any = None) -> Any:
    """A tensor of `array`, floats as `float_dtype` (None: Keras's float type)."""
    if array.dtype.kind == "f":
        kind = tf.as_dtype(float_dtype or keras.config.floatx())
        array = array.astype(kind.as_numpy_dtype, copy=False)
    with tf.device(device):
        return tf.convert_to_tensor(array)


def _walk(path: str, thing: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """(path, variable) of all that `thing` leads to; blocks and layers are entered once."""
    if isinstance(thing, tf.Variable):
        yield path, thing
    elif isinstance(thing, keras.Variable):
        yield path, thing.value
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from _walk(f"{path}/{key}", value, seen)
    elif isinstance(thing, list | tuple):
        for i, value in enumerate(thing):
            yield from _walk(f"{path}/{i}", value, seen)
    elif isinstance(thing, keras.layers.Layer | Block | tf.Module) and id(thing) not in seen:
        seen.add(id(thing))
        if isinstance(thing, keras.layers.Layer):
            yield from _walk_layer(path, thing, seen)
        else:
            for key, value in list(vars(thing).items()):
                yield from _walk(f"{path}/{key}", value, seen)


def _walk_layer(path: str, layer: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    counts: Counter[str] = Counter()
    below: set[int] = set()
    for part in layer.layers if isinstance(layer, keras.Model) else ():
        if part.variables:
            yield from _walk(f"{path}/{_count(_snake(part), counts)}", part, seen)
            below |= {id(v) for v in part.variables}
    for variable in layer.variables:
        if id(variable) not in below:
            yield f"{path}/{_count(variable.name, counts)}", variable.value


def _count(name: str, counts: Counter[str]) -> str:
    counts[name] += 1
    return name if counts[name] == 1 else f"{name}_{counts[name] - 1}"


def _snake(layer: Any) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(layer).__name__).lower()
