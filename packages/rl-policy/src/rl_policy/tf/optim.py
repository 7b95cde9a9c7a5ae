"""Optimisers in TensorFlow, with the formulas and names of state that PyTorch's have here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf


class Optimizer:
    """What the learner asks of an optimiser; subclasses give `step` and what they remember."""

    def __init__(self, params: Iterable[Any], lr: str | float = "lr", *, every: int = 1) -> None:
        """`lr` is a rate or the coefficient that holds it; it steps at every k-th update only.

        Raises:
            ValueError: no parameter, or they differ in dtype.
        """
        self.params = [p.value if isinstance(p, keras.Variable) else p for p in params]
        kinds = {p.dtype.name for p in self.params}
        if len(kinds) != 1:
            raise ValueError(
                "an optimiser needs parameters of one dtype, got "
                f"{sorted(kinds) or 'no parameter at all'}"
            )
        self.dtype = self.params[0].dtype
        self.lr, self.every = lr, every
        self.grads: list[Any] = []
        """Gradients of the update that is under way, one per parameter; hooks may change them."""
        self.rate: Any = math.nan
        """Learning rate of that update."""
        self.tape: Any = None

    @property
    def face(self) -> Optimizer:
        """What hooks get as `optimizer`."""
        return self

    def compute_gradients(self, loss: Any, var_list: Sequence[Any] | None = None) -> list[Any]:
        """[(gradient, variable), …] of a loss, within an update; for `compute_gradients_fn`.

        Raises:
            RuntimeError: no update is under way.
        """
        if self.tape is None:
            raise RuntimeError("compute_gradients() works within an update only, from a hook")
        variables = self.params if var_list is None else list(var_list)
        return list(zip(self.tape.gradient(loss, variables), variables, strict=True))

    def apply_gradients(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        """One step along [(gradient, variable), …]; for `apply_gradients_fn`."""
        self.grads = self.in_order(pairs)
        self.step(self.rate)

    def in_order(self, pairs: Iterable[tuple[Any, Any]]) -> list[Any]:
        """One gradient per parameter of [(gradient, variable), …]; zero where there is none.

        Raises:
            ValueError: a variable is none of this optimiser's.
        """
        variable = {id(v.value if isinstance(v, keras.Variable) else v): g for g, v in pairs}
        grads = [_dense(variable.pop(id(p), None), p) for p in self.params]
        if variable:
            raise ValueError(
                f"{len(variable)} gradients are for variables that this optimiser was not given; "
                "give them to its constructor, or leave them out"
            )
        return grads

    def step(self, lr: Any) -> None:
        """Move the parameters against `grads`."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Moments (a variable per parameter) and counters (a variable), by neutral names."""
        return {}


class Adam(Optimizer):
    """Kingma and Ba 2015: `θ -= lr · m̂ / (√v̂ + ε)`, with bias-corrected moments (as torch).

    TensorFlow's fused kernel computes `θ -= α · m / (√v + ε')`, which is the same for
    `α = lr · √c / (1 - β₁ᵗ)` and `ε' = ε · √c` with `c = 1 - β₂ᵗ`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: str | float = "lr",
        *,
        epsilon: float = 1e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        every: int = 1,
    ) -> None:
        """`lr` may name a coefficient in `policy.coeffs`."""
        super().__init__(params, lr, every=every)
        self.epsilon, self.betas = epsilon, betas
        self.m, self.v = _zeros(self.params), _zeros(self.params)
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    def step(self, lr: Any) -> None:
        """One step."""
        beta1, beta2 = (tf.constant(beta, tf.float64) for beta in self.betas)
        steps = tf.cast(self.steps.assign_add(1), tf.float64)  # float32 would lose 1 - β₂
        root = tf.sqrt(1.0 - beta2**steps)
        rate = tf.cast(tf.cast(lr, tf.float64) * root / (1.0 - beta1**steps), self.dtype)
        epsilon = tf.cast(self.epsilon * root, self.dtype)
        zero, beta1, beta2 = (tf.cast(x, self.dtype) for x in (0.0, beta1, beta2))
        for p, m, v, grad in zip(self.params, self.m, self.v, self.grads, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=p.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=zero,
                beta2_power=zero,
                lr=rate,
                beta1=beta1,
                beta2=beta2,
                epsilon=epsilon,
                grad=grad,
            )

    def state(self) -> dict[str, Any]:
        """`m`, `v` and `steps`."""
        return {"m": self.m, "v": self.v, "steps": self.steps}


class RMSprop(Optimizer):
    """Hinton 2012: `θ -= lr · g / (√v + ε)`; ε outside the root (as torch)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: str | float = "lr",
        *,
        epsilon: float = 1e-5,
        decay: float = 0.99,
        every: int = 1,
    ) -> None:
        """`lr` may name a coefficient in `policy.coeffs`."""
        super().__init__(params, lr, every=every)
        self.epsilon, self.decay = epsilon, decay
        self.v = _zeros(self.params)

    def step(self, lr: Any) -> None:
        """One step."""
        lr = tf.cast(lr, self.dtype)
        for p, v, grad in zip(self.params, self.v, self.grads, strict=True):
            second = v.assign(self.decay * v + (1.0 - self.decay) * tf.square(grad))
            p.assign_sub(lr * grad / (tf.sqrt(second) + self.epsilon))

    def state(self) -> dict[str, Any]:
        """`v`."""
        return {"v": self.v}


class SGD(Optimizer):
    """`θ -= lr · g`."""

    def step(self, lr: Any) -> None:
        """One step."""
        lr = tf.cast(lr, self.dtype)
        for p, grad in zip(self.params, self.grads, strict=True):
            p.assign_sub(lr * grad)


class Wrapped(Optimizer):
    """A `keras.optimizers.Optimizer` that a user made; it keeps its own formula and rate."""

    def __init__(self, optimizer: Any, lr: str | float, params: Iterable[Any]) -> None:
        """`lr` is the rate to impose, or NaN to leave the optimiser's own."""
        super().__init__(params, lr)
        self.optimizer = optimizer
        if not optimizer.built:
            optimizer.build(self.params)

    def step(self, lr: Any) -> None:
        """One step."""
        if isinstance(self.lr, str) or not math.isnan(self.lr):
            self.optimizer.learning_rate = lr
        self.optimizer.apply_gradients(zip(self.grads, self.params, strict=True))

    def state(self) -> dict[str, Any]:
        """The optimiser's variables, by their place among them."""
        return {f"keras_{i}": v.value for i, v in enumerate(self.optimizer.variables)}


def wrap(optimizer: Any, lr: float | str, params: list[Any]) -> Optimizer:
    """A user's optimiser as one of ours, with the rate to impose; ours as it is.

    `params` are what a Keras optimiser is for that was not built yet.
    """
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        ours: Optimizer = optimizer
        return ours
    built = optimizer._trainable_variables if optimizer.built else params
    return Wrapped(optimizer, lr, built)


def _dense(gradient: Any, param: Any) -> Any:
    """A gradient as a tensor in the parameter's shape; None means zero."""
    return tf.zeros_like(param) if gradient is None else tf.convert_to_tensor(gradient)


def _zeros(params: Iterable[Any]) -> list[Any]:
    return [tf.Variable(tf.zeros_like(p), trainable=False) for p in params]
