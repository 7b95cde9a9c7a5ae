"""The catalogue's vector networks in NumPy: what workers and servers act with on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from rl_policy.layout import NetLayout
from rl_sample.protocols import Arrays

State = tuple[np.ndarray, ...]
_TILE, _BLOCK = 128, 1024
"""Rows of one matrix product, and of one pass through the layers. What a layer leaves behind stays
in the processor's cache, and the products of 64x64 nets are too small for BLAS to spread over
threads (2^20 is its limit), which on cores that others use too costs a hundred times what it
gains."""
_Layer = tuple[np.ndarray, np.ndarray, Callable[..., Any] | None]


class NumpyNet:
    """Forward passes of fully connected and LSTM networks from neutral weights."""

    def __init__(self, layout: NetLayout) -> None:
        """Raises ValueError for convolutions, which need a framework."""
        if layout.is_image:
            raise ValueError(
                "convolutional nets have no NumPy forward; act with inference='framework'"
            )
        self.layout = layout
        self._names = tuple(layout.weights())
        self._activations = [_ACTIVATIONS[activation] for _, activation in layout.hidden]
        self.model = self
        self._lstm: tuple[np.ndarray, ...] | None = None
        self._log_std: np.ndarray | None = None
        self._policy: list[_Layer] = []
        self._value: list[_Layer] = []
        self._value_out: _Layer

    def load(self, weights: Arrays) -> None:
        """Take weights by name; they are copied to float32."""
        w = {name: np.array(weights[name], np.float32, order="C") for name in self._names}

        def layers(branch: str) -> list[_Layer]:
            return [
                (w[f"{branch}/hidden_{i}/w"], w[f"{branch}/hidden_{i}/b"], activation)
                for i, activation in enumerate(self._activations)
            ]

        self._policy = layers("policy")
        self._policy_out: _Layer = (w["policy/out/w"], w["policy/out/b"], None)
        self._value_out = (w["value/out/w"], w["value/out/b"], None)
        self._log_std = w.get("log_std")
        if self.layout.config.use_lstm:
            self._lstm = (w["lstm/kernel"], w["lstm/recurrent"], w["lstm/b"])
        else:
            self._policy = [*self._policy, self._policy_out]
            branch = layers("value") if self.layout.separate_value else self._policy[:-1]
            self._value = [*branch, self._value_out]

    def forward(self, input_dict: Arrays, state: State) -> tuple[np.ndarray, State]:
        """One step of `B` rows, the policy branch alone.

        Args:
            input_dict: `obs_flat` [B, D] float32, encoded and filtered observations; for an LSTM
                that reads them also `prev_flat` [B, P], encoded previous action and reward.
            state: recurrent state before the step, [B, H] each.

        Returns:
            Inputs of the action distribution [B, N] float32, and the state after the step.
        """
        if self._lstm is None:
            out = _run(self._policy, input_dict["obs_flat"])
        else:
            hidden, cell = self._step(input_dict, state)
            out, state = _run([self._policy_out], hidden), (hidden, cell)
        if self._log_std is not None:
            log_std = np.broadcast_to(self._log_std, (len(out), self._log_std.size))
            out = np.concatenate([out, log_std], axis=1)
        if len(out) > out.shape[1]:  # reductions over a short last axis are fast only this way
            out = np.asfortranarray(out)
        return out, state

    def values(self, input_dict: Arrays, state: State) -> np.ndarray:
        """Value estimates [B] float32; arguments as in `forward`."""
        if self._lstm is None:
            return _run(self._value, input_dict["obs_flat"])[:, 0]
        return _run([self._value_out], self._step(input_dict, state)[0])[:, 0]

    def native(self, tree: Any) -> Any:
        """Hooks marked `@xp_only` take NumPy arrays as they are."""
        return tree

    def numpy(self, tree: Any) -> Any:
        """The same the other way round."""
        return tree

    def inference(self) -> AbstractContextManager[None]:
        """NumPy has no gradients to switch off."""
        return nullcontext()

    def _step(self, input_dict: Arrays, state: State) -> tuple[np.ndarray, np.ndarray]:
        assert self._lstm is not None
        kernel, recurrent, bias = self._lstm
        features = _run(self._policy, input_dict["obs_flat"])
        if "prev_flat" in input_dict:
            features = np.concatenate([features, input_dict["prev_flat"]], axis=1)
        gates = features @ kernel + state[0] @ recurrent + bias
        i, f, g, o = np.split(gates, 4, axis=1)
        cell = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(g)
        return _sigmoid(o) * np.tanh(cell), cell


def _run(layers: list[_Layer], x: np.ndarray) -> np.ndarray:
    if len(x) >= 2 * _TILE:
        return _run_in_blocks(layers, x)
    for weight, bias, activation in layers:
        x = x @ weight
        x += bias
        if activation is not None:
            activation(x, out=x)
    return x


def _run_in_blocks(layers: list[_Layer], x: np.ndarray) -> np.ndarray:
    """The same for many rows [B, D], in blocks of whole tiles and what is left."""
    whole = len(x) - len(x) % _TILE
    parts = []
    for start in range(0, whole, _BLOCK):
        tiles = x[start : min(start + _BLOCK, whole)].reshape(-1, _TILE, x.shape[1])
        out = _run(layers, tiles)
        parts.append(out.reshape(-1, out.shape[-1]))
    if whole < len(x):
        parts.append(_run(layers, x[whole:]))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # no overflow for large |x|


def _relu(x: np.ndarray, out: np.ndarray) -> None:
    np.maximum(x, 0.0, out=out)


def _elu(x: np.ndarray, out: np.ndarray) -> None:
    np.copyto(out, np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0))))


def _silu(x: np.ndarray, out: np.ndarray) -> None:
    np.multiply(x, _sigmoid(x), out=out)


def _sigmoid_in_place(x: np.ndarray, out: np.ndarray) -> None:
    np.copyto(out, _sigmoid(x))


_ACTIVATIONS: dict[str, Callable[..., Any] | None] = {
    "tanh": np.tanh,
    "relu": _relu,
    "sigmoid": _sigmoid_in_place,
    "silu": _silu,
    "elu": _elu,
    "linear": None,
}
