"""What weights a catalogue network has: one table that every framework builds from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rl_policy.model_config import ModelConfig
from rl_sample.protocols import Shape

# Orthogonal gains: Engstrom et al. 2020; Andrychowicz et al. 2021; Huang et al. 2022, detail 2.
HIDDEN_GAIN, POLICY_GAIN, VALUE_GAIN, LSTM_GAIN = math.sqrt(2.0), 0.01, 1.0, 1.0

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

    Weights are neutral: dense `w` is [in, out], convolution `w` is [height, width, in, out], the
    LSTM's `kernel` [in, 4H], `recurrent` [H, 4H] and `b` [4H] hold the gates in the order input,
    forget, cell, output. Names join with "/": `policy/hidden_0/w`, `value/out/b`, `log_std`.
    """

    config: ModelConfig
    input_shape: Shape
    """(D,) of an encoded vector or (height, width, channels) of an image."""
    num_outputs: int
    """Inputs of the action distribution."""
    prev_size: int = 0
    """Encoded previous action and reward that the LSTM reads."""

    @property
    def is_image(self) -> bool:
        """Convolutions come first."""
        return len(self.input_shape) == 3

    @property
    def hidden(self) -> tuple[tuple[int, str], ...]:
        """(units, activation) of the dense hidden layers."""
        c = self.config
        first = () if self.is_image else tuple((n, c.fcnet_activation) for n in c.fcnet_hiddens)
        return first + tuple((n, c.post_fcnet_activation) for n in c.post_fcnet_hiddens)

    @property
    def filters(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, kernel, stride) of the convolutions."""
        if not self.is_image:
            return ()
        height, width, _ = self.input_shape
        if self.config.conv_filters is not None:
            return self.config.conv_filters
        if height == width and height in _KNOWN_FILTERS:
            return _KNOWN_FILTERS[height]
        return _filters_by_halving(min(height, width))

    @property
    def separate_value(self) -> bool:
        """The value has layers of its own."""
        return not (self.config.vf_share_layers or self.config.use_lstm)

    @property
    def head_outputs(self) -> int:
        """Outputs of the policy head: without the log standard deviations that are free."""
        return self.num_outputs // 2 if self.config.free_log_std else self.num_outputs

    def weights(self) -> dict[str, tuple[Shape, float]]:
        """{name: (shape, orthogonal gain)}; gain 0 means zeros."""
        table: dict[str, tuple[Shape, float]] = {}
        features = self._tower("policy", table)
        value_features = self._tower("value", table) if self.separate_value else features
        if self.config.use_lstm:
            cell = self.config.lstm_cell_size
            table["lstm/kernel"] = ((features + self.prev_size, 4 * cell), LSTM_GAIN)
            table["lstm/recurrent"] = ((cell, 4 * cell), LSTM_GAIN)
            table["lstm/b"] = ((4 * cell,), 0.0)
            features = value_features = cell
        _dense("policy/out", features, self.head_outputs, POLICY_GAIN, table)
        _dense("value/out", value_features, 1, VALUE_GAIN, table)
        if self.config.free_log_std:
            table["log_std"] = ((self.num_outputs - self.head_outputs,), 0.0)
        return table

    def _tower(self, branch: str, table: dict[str, tuple[Shape, float]]) -> int:
        """Add one branch's layers before its head; gives the number of its features."""
        shape = self.input_shape
        for i, (channels, kernel, _) in enumerate(self.filters):
            table[f"{branch}/conv_{i}/w"] = ((kernel, kernel, shape[-1], channels), HIDDEN_GAIN)
            table[f"{branch}/conv_{i}/b"] = ((channels,), 0.0)
            shape = self.conv_shape(i, shape)
        features = int(np.prod(shape))
        for i, (units, _) in enumerate(self.hidden):
            _dense(f"{branch}/hidden_{i}", features, units, HIDDEN_GAIN, table)
            features = units
        return features

    def conv_shape(self, index: int, shape: Shape) -> Shape:
        """[height, width, channels] after convolution `index` of an image of `shape`.

        All convolutions but the last pad with zeros so that only the stride shrinks the image.

        Raises:
            ValueError: the kernel does not fit into what is left of the image.
        """
        channels, kernel, stride = self.filters[index]
        if index < len(self.filters) - 1:
            sides = [-(-side // stride) for side in shape[:2]]
        else:
            sides = [(side - kernel) // stride + 1 for side in shape[:2]]
        if min(sides) < 1:
            raise ValueError(
                f"model: convolution {index} (kernel {kernel}) does not fit into the {shape[0]}x"
                f"{shape[1]} image that reaches it; give smaller kernels or strides in "
                f"conv_filters (now {[list(f) for f in self.filters]})"
            )
        return (sides[0], sides[1], channels)


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


def _filters_by_halving(side: int) -> tuple[tuple[int, int, int], ...]:
    """Halve the image until its shorter side is at most 8, then one kernel covers that side."""
    filters: list[tuple[int, int, int]] = []
    channels = 16
    while side > 8:
        filters.append((channels, 4, 2))
        side, channels = -(-side // 2), min(2 * channels, 64)
    return (*filters, (256, side, 1))
