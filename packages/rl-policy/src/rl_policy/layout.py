"""What weights a catalogue network has: one table that every framework builds from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rl_policy.model_config import ModelConfig
from rl_policy.spaces import Image
from rl_sample.protocols import Shape

# Orthogonal gains: Engstrom et al. 2020; Andrychowicz et al. 2021; Huang et al. 2022, detail 2.
HIDDEN_GAIN, POLICY_GAIN, VALUE_GAIN, CELL_GAIN = math.sqrt(2.0), 0.01, 1.0, 1.0

_STREAM = 0x57454947  # keeps the first weights apart from whatever else is drawn from the seed

# RLlib's filters by image side: (channels, kernel, stride), the last one covers what is left.
_KNOWN_FILTERS = {
    84: ((16, 8, 4), (32, 4, 2), (256, 11, 1)),
    42: ((16, 4, 2), (32, 4, 2), (256, 11, 1)),
    10: ((16, 5, 2), (32, 3, 2), (64, 3, 1)),
}


@dataclass(frozen=True)
class NetLayout:
    """A catalogue network: its config and the sizes that the spaces decide.

    A branch is convolutions over each image, the results joined with the vector, dense layers,
    a recurrent cell if there is one, and a head. The branches are `policy` and, where
    `separate_value`, `value`; else the value's head reads the policy's features.

    Weights are neutral: dense `w` is [in, out], convolution `w` is [height, width, in, out], the
    LSTM's `kernel` [in, 4H], `recurrent` [H, 4H] and `b` [4H] hold the gates in the order input,
    forget, cell, output. The GRU's `kernel` [in, 3H], `recurrent` [H, 3H], `b` [3H] and `rb` [3H]
    (added to the recurrent product, before the reset gate) hold reset, update, new:
    `h' = (1 - z) n + z h`. Names join with "/": `policy/hidden_0/w`, `policy/conv_0/w` with one
    image, `policy/image_1/conv_0/w` with more, `lstm/kernel` of the policy, `value/lstm/kernel`
    of the value, `value/out/b`, `log_std`.
    """

    config: ModelConfig
    vector_size: int
    """D of the encoded vector `obs_flat`; 0 without one."""
    num_outputs: int
    """Inputs of the action distribution."""
    prev_size: int = 0
    """Encoded previous action and reward that the recurrent cell reads beside the features."""
    images: tuple[Image, ...] = ()
    """In the order in which their features are joined, before the vector."""

    @property
    def hidden(self) -> tuple[tuple[int, str], ...]:
        """(units, activation) of the dense hidden layers; after one image alone only the last."""
        c = self.config
        alone = len(self.images) == 1 and not self.vector_size
        first = () if alone else tuple((n, c.fcnet_activation) for n in c.fcnet_hiddens)
        return first + tuple((n, c.post_fcnet_activation) for n in c.post_fcnet_hiddens)

    @property
    def separate_value(self) -> bool:
        """The value has layers, and a recurrent cell, of its own."""
        return self.config.separate_value and self.config.custom_model is None

    @property
    def head_outputs(self) -> int:
        """Outputs of the policy head: without the log standard deviations that are free."""
        return self.num_outputs // 2 if self.config.free_log_std else self.num_outputs

    def convs(self, index: int) -> tuple[ConvLayer, ...]:
        """The convolutions over image `index`.

        Raises:
            ValueError: a kernel does not fit into what is left of the image.
        """
        image, layers = self.images[index], list[ConvLayer]()
        prefix = f"image_{index}/" if len(self.images) > 1 else ""
        shape, filters = image.shape, self.config.conv_filters or default_filters(image.shape)
        for i, (channels, kernel, stride) in enumerate(filters):
            pad = i < len(filters) - 1
            layer = ConvLayer(f"{prefix}conv_{i}", shape, channels, kernel, stride, pad)
            if min(layer.output) < 1:
                raise ValueError(
                    f"model: convolution {i} (kernel {kernel}) does not fit into the {shape[0]}x"
                    f"{shape[1]} image that reaches it (of {image.name!r}, {image.shape}); give "
                    "smaller kernels or strides in conv_filters (now "
                    f"{[list(f) for f in filters]})"
                )
            layers.append(layer)
            shape = layer.output
        return tuple(layers)

    @property
    def joined(self) -> int:
        """Numbers that the first dense layer reads: of all images, and the vector."""
        last = [self.convs(i)[-1].output for i in range(len(self.images))]
        return sum(math.prod(shape) for shape in last) + self.vector_size

    @property
    def features(self) -> int:
        """Outputs of the last layer before the recurrent cell or the head."""
        return self.hidden[-1][0] if self.hidden else self.joined

    @property
    def state(self) -> tuple[Shape, ...]:
        """Shapes of one row's recurrent state: the policy's, then the value's where separate."""
        sizes = {None: 0, "lstm": 2, "gru": 1}[self.config.cell]
        branches = 2 if self.separate_value else 1
        return ((self.config.lstm_cell_size,),) * (sizes * branches)

    def weights(self) -> dict[str, tuple[Shape, float]]:
        """{name: (shape, orthogonal gain)}; gain 0 means zeros."""
        table: dict[str, tuple[Shape, float]] = {}
        branches = ("policy", "value") if self.separate_value else ("policy",)
        for branch in branches:
            self._tower(branch, table)
        features = self.features
        if self.config.cell is not None:
            for branch in branches:
                self._cell("" if branch == "policy" else f"{branch}/", table)
            features = self.config.lstm_cell_size
        _dense("policy/out", features, self.head_outputs, POLICY_GAIN, table)
        _dense("value/out", features, 1, VALUE_GAIN, table)
        if self.config.free_log_std:
            table["log_std"] = ((self.num_outputs - self.head_outputs,), 0.0)
        return table

    def _tower(self, branch: str, table: dict[str, tuple[Shape, float]]) -> None:
        for layer in (layer for i in range(len(self.images)) for layer in self.convs(i)):
            k, channels = layer.kernel, layer.channels
            table[f"{branch}/{layer.name}/w"] = ((k, k, layer.input[2], channels), HIDDEN_GAIN)
            table[f"{branch}/{layer.name}/b"] = ((channels,), 0.0)
        size = self.joined
        for i, (units, _) in enumerate(self.hidden):
            _dense(f"{branch}/hidden_{i}", size, units, HIDDEN_GAIN, table)
            size = units

    def _cell(self, prefix: str, table: dict[str, tuple[Shape, float]]) -> None:
        kind, size = self.config.cell, self.config.lstm_cell_size
        gates = 4 * size if kind == "lstm" else 3 * size
        table[f"{prefix}{kind}/kernel"] = ((self.features + self.prev_size, gates), CELL_GAIN)
        table[f"{prefix}{kind}/recurrent"] = ((size, gates), CELL_GAIN)
        for bias in ("b",) if kind == "lstm" else ("b", "rb"):
            table[f"{prefix}{kind}/{bias}"] = ((gates,), 0.0)


class ConvLayer(NamedTuple):
    """One convolution: all but the last of an image pad so that only the stride shrinks it."""

    name: str
    """In its branch: `conv_0`, or `image_1/conv_0`."""
    input: Shape
    """(height, width, channels) that reach it."""
    channels: int
    kernel: int
    stride: int
    pad: bool
    """Zeros around the image, as TensorFlow's "same"."""

    @property
    def output(self) -> Shape:
        """(height, width, channels) that leave it."""
        height, width, _ = self.input
        k, s = self.kernel, self.stride
        if self.pad:
            return (-(-height // s), -(-width // s), self.channels)
        return ((height - k) // s + 1, (width - k) // s + 1, self.channels)

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows of zeros above and below, columns of them left and right."""
        if not self.pad:
            return ((0, 0), (0, 0))
        short = [
            max((out - 1) * self.stride + self.kernel - side, 0)
            for out, side in zip(self.output[:2], self.input[:2], strict=True)
        ]
        return ((short[0] // 2, -(-short[0] // 2)), (short[1] // 2, -(-short[1] // 2)))


def default_filters(shape: Shape) -> tuple[tuple[int, int, int], ...]:
    """(channels, kernel, stride) of the convolutions over images [height, width, channels].

    Known ones for squares of 84, 42 and 10; for other sizes the image is halved until its shorter
    side is at most 8, then one kernel covers that side.
    """
    height, width, _ = shape
    if height == width and height in _KNOWN_FILTERS:
        return _KNOWN_FILTERS[height]
    filters: list[tuple[int, int, int]] = []
    side, channels = min(height, width), 16
    while side > 8:
        filters.append((channels, 4, 2))
        side, channels = -(-side // 2), min(2 * channels, 64)
    return (*filters, (256, side, 1))


def initial_weights(layout: NetLayout, seed: int) -> dict[str, np.ndarray]:
    """Draw the first weights: orthogonal kernels, zero biases; the same for every framework.

    Returns:
        {name: float32 array} in the order of `layout.weights()`.
    """
    rng = np.random.default_rng([_STREAM, seed])
    return {
        name: orthogonal(shape, gain, rng) if gain else np.zeros(shape, np.float32)
        for name, (shape, gain) in layout.weights().items()
    }


def orthogonal(shape: Shape, gain: float, rng: np.random.Generator) -> np.ndarray:
    """An orthogonal matrix times `gain`, float32 (Saxe et al. 2014).

    All axes but the last are the rows; rows or columns, whichever are fewer, are orthonormal.
    """
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    normals = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normals)
    q *= np.sign(np.diagonal(r))  # makes the draw uniform over orthogonal matrices
    matrix = q if rows >= columns else q.T
    return np.ascontiguousarray((gain * matrix).reshape(shape), dtype=np.float32)


def subtree(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The entries under `prefix/`, without it."""
    start = len(prefix) + 1
    return {k[start:]: v for k, v in arrays.items() if k.startswith(prefix + "/")}


def _dense(
    name: str, inputs: int, outputs: int, gain: float, table: dict[str, tuple[Shape, float]]
) -> None:
    table[f"{name}/w"] = ((inputs, outputs), gain)
    table[f"{name}/b"] = ((outputs,), 0.0)
