"""Layers in NumPy: convolutions, recurrent cells, activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from rl_policy.layout import ConvLayer, NetLayout
from rl_policy.space_tree import pick
from rl_policy.spaces import Image
from rl_sample.protocols import Arrays

State = tuple[np.ndarray, ...]
Weights = tuple[np.ndarray, ...]

_ONE_THREAD = 1 << 20
"""Multiplications of one matrix product up to which OpenBLAS stays on one thread."""
_PIXELS = 8 * 84 * 84
"""Of one pass through the convolutions: the patches of images are many times their size."""


class Convolutions:
    """One branch's convolutions over all images, joined with the vector."""

    def __init__(self, layout: NetLayout, branch: str, weights: Mapping[str, np.ndarray]) -> None:
        """`weights` by the names of `NetLayout`."""
        self._layout = layout
        self._activation = ACTIVATIONS[layout.config.conv_activation]
        self._towers: list[tuple[Image, list[tuple[ConvLayer, np.ndarray, np.ndarray]]]] = []
        for i, image in enumerate(layout.images):
            layers = [
                (
                    layer,
                    weights[f"{branch}/{layer.name}/w"].reshape(-1, layer.channels),
                    weights[f"{branch}/{layer.name}/b"],
                )
                for layer in layout.convs(i)
            ]
            self._towers.append((image, layers))

    def __call__(self, input_dict: Arrays) -> np.ndarray:
        """Raw images and `obs_flat` [B, D] to [B, joined] float32."""
        flat = input_dict["obs_flat"]
        out = np.empty((len(flat), self._layout.joined), np.float32)
        left = 0
        for image, layers in self._towers:
            pixels = _pixels(image, input_dict)
            width = math.prod(layers[-1][0].output)
            step = max(1, _PIXELS // math.prod(image.shape[:2]))
            for start in range(0, len(flat), step):
                rows = slice(start, start + step)
                x = _as_floats(image, pixels[rows])
                for layer, weight, bias in layers:
                    x = _convolve(layer, weight, bias, x)
                    if self._activation is not None:
                        self._activation(x, out=x)
                out[rows, left : left + width] = x.reshape(len(x), width)
            left += width
        if self._layout.vector_size:
            out[:, left:] = flat
        return out


def _pixels(image: Image, input_dict: Mapping[str, Any]) -> np.ndarray:
    """The raw image, whether columns are flat (`obs/eye`) or nested, as hooks have them."""
    if not image.path:
        return np.asarray(input_dict["obs_flat"])
    flat = input_dict.get(image.name)
    return np.asarray(pick(input_dict["obs"], image.path) if flat is None else flat)


def _as_floats(image: Image, pixels: np.ndarray) -> np.ndarray:
    """Raw pixels [B, …] to [B, height, width, channels], scaled."""
    x = np.moveaxis(pixels, [axis + 1 for axis in image.axes], range(1, pixels.ndim))
    x = np.array(x, np.float32, order="C").reshape(-1, *image.shape)
    if image.scale != 1.0:
        x *= np.float32(image.scale)
    return x


def _convolve(layer: ConvLayer, weight: np.ndarray, bias: np.ndarray, x: np.ndarray) -> np.ndarray:
    """[B, height, width, in] to [B, height, width, out]: patches side by side, one product."""
    count, kernel, stride = len(x), layer.kernel, layer.stride
    if layer.pad:
        (top, bottom), (left, right) = layer.padding
        height, width, channels = layer.input
        padded = np.zeros((count, top + height + bottom, left + width + right, channels), x.dtype)
        padded[:, top : top + height, left : left + width] = x
        x = padded
    height, width, channels = layer.output
    image, row, column, number = x.strides
    patches = as_strided(
        x,
        (count, height, width, kernel, kernel * x.shape[3]),
        (image, row * stride, column * stride, row, number),
        writeable=False,
    )
    out = _product(patches.reshape(count * height * width, -1), weight, bias)
    return out.reshape(count, height, width, channels)


def _lstm_step(weights: Weights, x: np.ndarray, state: State) -> State:
    """One step [B, in] of the LSTM of `NetLayout`; gives hidden and cell."""
    kernel, recurrent, bias = weights
    hidden, cell = state
    gates = _product(x, kernel, bias)
    gates += _product(hidden, recurrent)
    size = cell.shape[1]
    keep = _sigmoid(gates[:, : 2 * size])  # input gate, forget gate
    cell = keep[:, size:] * cell
    cell += keep[:, :size] * np.tanh(gates[:, 2 * size : 3 * size])
    return _sigmoid(gates[:, 3 * size :]) * np.tanh(cell), cell


def _gru_step(weights: Weights, x: np.ndarray, state: State) -> State:
    """One step [B, in] of the GRU of `NetLayout`; gives hidden."""
    kernel, recurrent, bias, recurrent_bias = weights
    (hidden,) = state
    size = hidden.shape[1]
    given, kept = _product(x, kernel, bias), _product(hidden, recurrent, recurrent_bias)
    gates = _sigmoid(given[:, : 2 * size] + kept[:, : 2 * size])  # reset, update
    new = np.tanh(given[:, 2 * size :] + gates[:, :size] * kept[:, 2 * size :])
    return (new + gates[:, size:] * (hidden - new),)


CELLS: dict[str, Callable[[Weights, np.ndarray, State], State]] = {
    "lstm": _lstm_step,
    "gru": _gru_step,
}


def _product(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """`x @ weight + bias`, many rows [B, in] in tiles that BLAS leaves on one thread."""
    tile = max(16, _ONE_THREAD // weight.size)  # fewer rows read large weights too often
    if len(x) >= 2 * tile:
        whole = len(x) - len(x) % tile
        tiles = x[:whole].reshape(-1, tile, x.shape[1]) @ weight
        out: np.ndarray = tiles.reshape(whole, -1)
        if whole < len(x):
            out = np.concatenate([out, x[whole:] @ weight])
    else:
        out = x @ weight
    if bias is not None:
        out += bias
    return out


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


ACTIVATIONS: dict[str, Callable[..., Any] | None] = {
    "tanh": np.tanh,
    "relu": _relu,
    "sigmoid": _sigmoid_in_place,
    "silu": _silu,
    "elu": _elu,
    "linear": None,
}
