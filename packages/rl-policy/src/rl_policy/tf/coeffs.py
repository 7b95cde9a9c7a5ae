"""Numbers that change while training, which a traced graph sees change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import tensorflow as tf


class Coefficients(MutableMapping[str, Any]):
    """`policy.coeffs`: numbers outside of a graph, scalars that follow them inside of one."""

    def __init__(self, values: Mapping[str, float], dtype: Any) -> None:
        """`dtype` is that of the scalars."""
        self._values: dict[str, float] = {}
        self._variables: dict[str, Any] = {}
        self._dtype = dtype
        self.update(values)

    def __getitem__(self, name: str) -> Any:
        """A float, or a scalar while a graph is traced."""
        if name in self._values and tf.inside_function():
            return tf.convert_to_tensor(self._variables[name])
        return self._values[name]

    def __setitem__(self, name: str, value: float) -> None:
        """Set a number; graphs read it from now on."""
        if name not in self._variables:
            self._variables[name] = tf.Variable(value, trainable=False, dtype=self._dtype)
        elif self._values[name] != value:
            self._variables[name].assign(value)
        self._values[name] = float(value)

    def __delitem__(self, name: str) -> None:
        """Forget a number; graphs that read it keep its last value."""
        del self._values[name], self._variables[name]

    def __iter__(self) -> Iterator[str]:
        """Names."""
        return iter(self._values)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._values)
