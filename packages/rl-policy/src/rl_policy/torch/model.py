"""Models in torch: the face that all have, and the catalogue's nets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import torch
from torch import nn
from torch.nn import functional

from rl_policy.layout import ConvLayer, NetLayout
from rl_policy.model_face import ModelFace
from rl_policy.space_tree import pick


class TorchModel(ModelFace, nn.Module):
    """Base of models in torch: a `ModelFace` that is an `nn.Module`."""


class Dense(nn.Module):
    """`x @ w + b` with `w` [in, out], the layout that all frameworks and NumPy share."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Zero weights; whoever builds the model draws them."""
        super().__init__()
        self.w = nn.Parameter(torch.zeros(inputs, outputs))
        self.b = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, in] to [B, out]."""
        return torch.addmm(self.b, x, self.w)


_MINUS_ONE = torch.tensor(-1.0)


def tanh(x: torch.Tensor) -> torch.Tensor:
    """`2 sigmoid(2x) - 1`, right to 2e-7 and on many CPUs several times faster than torch's own."""
    return torch.add(_MINUS_ONE, torch.sigmoid(x + x), alpha=2.0)


_Activation = Callable[[torch.Tensor], torch.Tensor] | None
_Layer = tuple[nn.Module, _Activation]

_ACTIVATIONS: dict[str, _Activation] = {
    "tanh": tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "elu": functional.elu,
    "linear": None,
}


class FeedForward(TorchModel):
    """A policy tower and, unless they share layers, a value tower, each with its head."""

    def __init__(
        self, obs_space: gym.Space[Any], action_space: gym.Space[Any], layout: NetLayout, name: str
    ) -> None:
        """Zero weights; load `initial_weights(layout, seed)`."""
        super().__init__(obs_space, action_space, layout.num_outputs, layout.config, name)
        self.policy = Tower(layout)
        self.policy.out = Dense(layout.features, layout.head_outputs)
        self.value = Tower(layout) if layout.separate_value else Head()
        self.value.out = Dense(layout.features, 1)
        if layout.config.free_log_std:
            self.log_std = nn.Parameter(torch.zeros(layout.num_outputs - layout.head_outputs))
        self._shared = not layout.separate_value
        self._free_log_std = layout.config.free_log_std

    def forward(
        self, input_dict: Mapping[str, Any], state: list[torch.Tensor], seq_lens: Any = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Policy head; see `TorchModel.forward`."""
        parts = self.policy.read(input_dict)
        features = self.policy(parts)
        self._value_input = features if self._shared else parts
        outputs = self.policy.out(features)
        if self._free_log_std:
            outputs = with_log_std(outputs, self.log_std)
        return outputs, state

    def value_function(self) -> torch.Tensor:
        """Values [B] of the last forward's rows."""
        x = self._value_input
        values: torch.Tensor = self.value.out(x if self._shared else self.value(x))[:, 0]
        return values


class Recurrent(TorchModel):
    """A base net, an LSTM or GRU that may read the previous action and reward, and two heads.

    The base is a tower of the catalogue or a custom model, whose outputs are features then. A
    value with layers of its own has its own cell too, whose state follows the policy's.
    """

    def __init__(
        self,
        obs_space: gym.Space[Any],
        action_space: gym.Space[Any],
        layout: NetLayout,
        name: str,
        base: TorchModel | None = None,
    ) -> None:
        """Zero weights, but for those of a custom `base`; load `initial_weights(layout, seed)`."""
        super().__init__(obs_space, action_space, layout.num_outputs, layout.config, name)
        self._size = size = layout.config.lstm_cell_size
        self._kind = kind = layout.config.cell or ""
        make_cell, inputs = _CELLS[kind], layout.features + layout.prev_size
        self.add_module(kind, make_cell(inputs, size))
        if base is not None:
            self.base = base
        self.policy = Head() if base is not None else Tower(layout)
        self.policy.out = Dense(size, layout.head_outputs)
        self.value = Tower(layout) if layout.separate_value else Head()
        if layout.separate_value:
            self.value.add_module(kind, make_cell(inputs, size))
        self.value.out = Dense(size, 1)
        if layout.config.free_log_std:
            self.log_std = nn.Parameter(torch.zeros(layout.num_outputs - layout.head_outputs))
        self._layout = layout

    def forward(
        self, input_dict: Mapping[str, Any], state: list[torch.Tensor], seq_lens: Any = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Rows are sequences, one per row of `state`; see `TorchModel.forward`."""
        own = len(state) // 2 if self._layout.separate_value else len(state)
        if isinstance(self.policy, Tower):
            parts = self.policy.read(input_dict)
            features = self.policy(parts)
        else:
            features, _ = self.base(input_dict, [], seq_lens)
            self.base.check_outputs(features)
        hidden, state_out = self._remember(self, features, input_dict, state[:own])
        self._value_input = hidden
        if isinstance(self.value, Tower):
            self._value_input, rest = self._remember(
                self.value, self.value(parts), input_dict, state[own:]
            )
            state_out = [*state_out, *rest]
        outputs = self.policy.out(hidden)
        if self._layout.config.free_log_std:
            outputs = with_log_std(outputs, self.log_std)
        return outputs, state_out

    def value_function(self) -> torch.Tensor:
        """Values [B] of the last forward's rows."""
        values: torch.Tensor = self.value.out(self._value_input)[:, 0]
        return values

    def get_initial_state(self) -> list[torch.Tensor]:
        """Zeros, [H] each: hidden and cell of an LSTM, hidden of a GRU; the policy's first."""
        return [torch.zeros(shape) for shape in self._layout.state]

    def custom_loss(self, policy_loss: Any, loss_inputs: Mapping[str, Any]) -> Any:
        """As a custom base says."""
        base = getattr(self, "base", None)
        return policy_loss if base is None else base.custom_loss(policy_loss, loss_inputs)

    def metrics(self) -> dict[str, Any]:
        """Those of a custom base."""
        base: TorchModel | None = getattr(self, "base", None)
        return {} if base is None else base.metrics()

    def _remember(
        self,
        branch: nn.Module,
        features: torch.Tensor,
        input_dict: Mapping[str, Any],
        state: list[torch.Tensor],
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The cell of `branch` over all rows: [B, F] and [N, H] states to [B, H] and states."""
        if self._layout.prev_size:
            features = torch.cat([features, input_dict["prev_flat"]], dim=1)
        sequences = features.reshape(len(state[0]), -1, features.shape[1])
        hidden, state_out = getattr(branch, self._kind)(sequences, state)
        return hidden.reshape(-1, self._size), state_out


class Head(nn.Module):
    """A dense layer `out` and, in a `Tower`, what comes before it."""

    out: Dense


class Tower(Head):
    """Convolutions and dense layers up to the features that a head or a cell reads."""

    def __init__(self, layout: NetLayout) -> None:
        """Layers are called as in `NetLayout`: `conv_0` or `image_1/conv_0`, …, `hidden_0`, …."""
        super().__init__()
        self._images, self._vector_size = layout.images, layout.vector_size
        convolve = _ACTIVATIONS[layout.config.conv_activation]
        self._convs: list[list[tuple[Conv, _Activation]]] = []
        for index in range(len(layout.images)):
            layers = layout.convs(index)
            convs = [(layer.name.rpartition("/")[2], Conv(layer)) for layer in layers]
            holder = self if len(layout.images) == 1 else nn.Module()
            for name, conv in convs:
                holder.add_module(name, conv)
            if holder is not self:
                self.add_module(f"image_{index}", holder)
            self._convs.append([(conv, convolve) for _, conv in convs])
        size = layout.joined
        self._dense: list[_Layer] = []
        for i, (units, activation) in enumerate(layout.hidden):
            dense = Dense(size, units)
            self.add_module(f"hidden_{i}", dense)
            self._dense.append((dense, _ACTIVATIONS[activation]))
            size = units

    def read(self, input_dict: Mapping[str, Any]) -> list[torch.Tensor]:
        """What `forward` takes: images [B, height, width, channels] scaled, the vector [B, D]."""
        flat: torch.Tensor = input_dict["obs_flat"]
        if not self._images:
            return [flat]
        parts = []
        for image, convs in zip(self._images, self._convs, strict=True):
            x = pick(input_dict["obs"], image.path) if image.path else flat
            x = x.to(convs[0][0].w.dtype)
            x = x * image.scale if image.scale != 1.0 else x
            x = x.permute(0, *(axis + 1 for axis in image.axes))
            parts.append(x.reshape(-1, *image.shape))
        return [*parts, flat] if self._vector_size else parts

    def forward(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """What `read` gives to [B, features]."""
        joined = list(parts)
        for i, convs in enumerate(self._convs):
            x = parts[i]
            for conv, activation in convs:
                x = conv(x) if activation is None else activation(conv(x))
            joined[i] = x.flatten(1)
        x = joined[0] if len(joined) == 1 else torch.cat(joined, dim=1)
        for layer, activation in self._dense:
            x = layer(x) if activation is None else activation(layer(x))
        return x


class Conv(nn.Module):
    """Convolution over [B, height, width, channels] with `w` [height, width, in, out]."""

    def __init__(self, layer: ConvLayer) -> None:
        """Zero weights; whoever builds the model draws them."""
        super().__init__()
        self.w = nn.Parameter(
            torch.zeros(layer.kernel, layer.kernel, layer.input[2], layer.channels)
        )
        self.b = nn.Parameter(torch.zeros(layer.channels))
        self._stride = layer.stride
        rows, columns = layer.padding
        self._padding = (*columns, *rows)  # functional.pad wants the last axis first
        self._covers = layer.input[:2] == (layer.kernel, layer.kernel) and not layer.pad

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Channels stay last outside.

        A kernel as large as the image is a matrix: no copy of its weights in another order.
        """
        if self._covers:
            flat = torch.addmm(self.b, x.reshape(len(x), -1), self.w.flatten(0, 2))
            return flat[:, None, None]
        x = x.permute(0, 3, 1, 2)
        if any(self._padding):
            x = functional.pad(x, self._padding)
        x = functional.conv2d(x, self.w.permute(3, 2, 0, 1), self.b, self._stride)
        return x.permute(0, 2, 3, 1)


class LSTM(nn.Module):
    """Hochreiter and Schmidhuber 1997; gates in the order input, forget, cell, output.

    `torch.lstm` loops over time in C++: half the time of a loop in Python. It wants two biases;
    the second is zero.
    """

    def __init__(self, inputs: int, cell: int) -> None:
        """`kernel` [in, 4H], `recurrent` [H, 4H], `b` [4H]."""
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(inputs, 4 * cell))
        self.recurrent = nn.Parameter(torch.zeros(cell, 4 * cell))
        self.b = nn.Parameter(torch.zeros(4 * cell))

    def forward(
        self, x: torch.Tensor, state: list[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """[N, T, in] and two [N, H] to [N, T, H] and the state after the last step."""
        hidden, cell = state
        outputs, hidden, cell = torch.lstm(
            x,
            (hidden[None], cell[None]),
            (self.kernel.t(), self.recurrent.t(), self.b, torch.zeros_like(self.b)),
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
            batch_first=True,
        )
        return outputs, [hidden[0], cell[0]]


class GRU(nn.Module):
    """Cho et al. 2014 in the form of cuDNN; gates in the order reset, update, new.

    r and z are sigmoids, `n = tanh(x W_n + b_n + r (h R_n + rb_n))`, `h' = (1 - z) n + z h`.
    """

    def __init__(self, inputs: int, cell: int) -> None:
        """`kernel` [in, 3H], `recurrent` [H, 3H], `b` [3H], `rb` [3H]."""
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(inputs, 3 * cell))
        self.recurrent = nn.Parameter(torch.zeros(cell, 3 * cell))
        self.b = nn.Parameter(torch.zeros(3 * cell))
        self.rb = nn.Parameter(torch.zeros(3 * cell))

    def forward(
        self, x: torch.Tensor, state: list[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """[N, T, in] and one [N, H] to [N, T, H] and the state after the last step."""
        outputs, hidden = torch.gru(
            x,
            state[0][None],
            (self.kernel.t(), self.recurrent.t(), self.b, self.rb),
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
            batch_first=True,
        )
        return outputs, [hidden[0]]


_CELLS: dict[str, type[LSTM] | type[GRU]] = {"lstm": LSTM, "gru": GRU}


def with_log_std(mean: torch.Tensor, log_std: torch.Tensor) -> torch.Tensor:
    """[B, A] and [A] to [B, 2A], as a Gaussian's inputs."""
    return torch.cat([mean, log_std.expand(len(mean), -1)], 1)
