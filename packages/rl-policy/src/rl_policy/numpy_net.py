"""The catalogue's networks in NumPy: what workers and servers act with on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from rl_policy.layout import NetLayout
from rl_policy.numpy_layers import ACTIVATIONS, CELLS, Convolutions
from rl_sample.protocols import Arrays

State = tuple[np.ndarray, ...]
_TILE, _BLOCK = 128, 1024
"""Rows of one matrix product, and of one pass through the layers. What a layer leaves behind stays
in the processor's cache, and the products of 64x64 nets are too small for BLAS to spread over
threads (2^20 is its limit), which on cores that others use too costs a hundred times what it
gains."""
_Layer = tuple[np.ndarray, np.ndarray, Callable[..., Any] | None]


class NumpyNet:
    """Forward passes of the networks that `NetLayout` describes, from neutral weights."""

    def __init__(self, layout: NetLayout) -> None:
        """Weights come with `load`."""
        self.layout = layout
        self._names = tuple(layout.weights())
        self._activations = [ACTIVATIONS[activation] for _, activation in layout.hidden]
        self.model = self
        self._step = CELLS.get(layout.config.cell or "")
        self._look: Convolutions | None = None
        """Of the policy; without images networks read `obs_flat` as it is."""
        self._value_look: Convolutions | None = None
        self._cell: tuple[np.ndarray, ...] = ()
        self._value_cell: tuple[np.ndarray, ...] = ()
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
        separate, kind = self.layout.separate_value, self.layout.config.cell
        self._value = layers("value") if separate else list(self._policy)
        if self.layout.images:
            self._look = Convolutions(self.layout, "policy", w)
            self._value_look = Convolutions(self.layout, "value", w) if separate else self._look
        if kind is None:
            self._policy.append(self._policy_out)
            self._value.append(self._value_out)
        else:
            self._cell = tuple(w[name] for name in w if name.startswith(f"{kind}/"))
            self._value_cell = tuple(w[name] for name in w if name.startswith(f"value/{kind}/"))

    def forward(self, input_dict: Arrays, state: State) -> tuple[np.ndarray, State]:
        """One step of `B` rows, the policy branch alone.

        Args:
            input_dict: `obs_flat` [B, D] float32, encoded and filtered observations; images raw,
                as `InputEncoder` leaves them; for a cell that reads them also `prev_flat` [B, P],
                encoded previous action and reward.
            state: recurrent state before the step, [B, H] each.

        Returns:
            Inputs of the action distribution [B, N] float32, and the state after the step.
        """
        look = self._look
        x = input_dict["obs_flat"] if look is None else look(input_dict)
        if self._step is None:
            out = _run(self._policy, x)
        else:
            own = len(state) // 2 if self._value_cell else len(state)
            after = self._step(self._cell, self._features(self._policy, x, input_dict), state[:own])
            out = _run([self._policy_out], after[0])
            if self._value_cell:
                x = x if self._value_look is None else self._value_look(input_dict)
                features = self._features(self._value, x, input_dict)
                after += self._step(self._value_cell, features, state[own:])
            state = after
        if self._log_std is not None:
            log_std = np.broadcast_to(self._log_std, (len(out), self._log_std.size))
            out = np.concatenate([out, log_std], axis=1)
        if len(out) > out.shape[1]:  # reductions over a short last axis are fast only this way
            out = np.asfortranarray(out)
        return out, state

    def values(self, input_dict: Arrays, state: State) -> np.ndarray:
        """Value estimates [B] float32; arguments as in `forward`."""
        look = self._value_look
        x = input_dict["obs_flat"] if look is None else look(input_dict)
        if self._step is None:
            return _run(self._value, x)[:, 0]
        cell, own = self._cell, state
        if self._value_cell:
            cell, own = self._value_cell, state[len(state) // 2 :]
        after = self._step(cell, self._features(self._value, x, input_dict), own)
        return _run([self._value_out], after[0])[:, 0]

    def native(self, tree: Any) -> Any:
        """Hooks marked `@xp_only` take NumPy arrays as they are."""
        return tree

    def numpy(self, tree: Any) -> Any:
        """The same the other way round."""
        return tree

    def inference(self) -> AbstractContextManager[None]:
        """NumPy has no gradients to switch off."""
        return nullcontext()

    def _features(self, layers: list[_Layer], x: np.ndarray, input_dict: Arrays) -> np.ndarray:
        """What the cell reads: one branch's features, the previous action and reward."""
        features = _run(layers, x)
        if self.layout.prev_size:
            features = np.concatenate([features, input_dict["prev_flat"]], axis=1)
        return features


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
