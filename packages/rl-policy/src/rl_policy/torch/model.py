"""Models in torch: the face that all have, and the catalogue's nets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from rl_policy.actor import action_mask
from rl_policy.layout import NetLayout
from rl_policy.model_config import ModelConfig
from rl_sample.protocols import Needs


class TorchModel(nn.Module):
    """Base of models that compute inputs of an action distribution and values.

    A custom model overrides `forward` and, to have a critic, `value_function`; a recurrent one
    also `get_initial_state`. `needs` asks the sampler for more inputs.
    """

    needs: Needs = Needs()
    mask_outputs: Callable[[Any, Any], Any] | None = None
    """Set by the policy where actions can be masked: (outputs, action mask) -> outputs."""

    def __init__(
        self,
        obs_space: gym.Space[Any],
        action_space: gym.Space[Any],
        num_outputs: int,
        model_config: ModelConfig,
        name: str,
    ) -> None:
        """Subclasses take `custom_model_config` as further keyword arguments."""
        super().__init__()
        self.obs_space = obs_space
        self.action_space = action_space
        self.num_outputs = num_outputs
        self.model_config = model_config
        self.name = name

    def forward(
        self, input_dict: Mapping[str, Any], state: list[torch.Tensor], seq_lens: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Compute one pass.

        Args:
            input_dict: `obs` [B, …] raw and nested, `obs_flat` [B, …] float32 encoded and filtered,
                and all other columns that there are. For a recurrent model rows are N sequences
                of T rows each, B = N * T, padded at their ends.
            state: recurrent state at the start of each sequence, [N, …] each.
            seq_lens: [N] rows of each sequence that are no padding; acting: ones.

        Returns:
            Inputs of the action distribution [B, num_outputs] and the state after each sequence.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement forward()")

    def value_function(self) -> torch.Tensor:
        """Values [B] of the last forward's rows."""
        raise NotImplementedError(
            f"{type(self).__name__} has no value_function(); write one, or use neither use_critic "
            "nor use_gae"
        )

    def get_initial_state(self) -> list[torch.Tensor]:
        """The recurrent state of one sequence at an episode's start, all zero; [] without one."""
        return []

    def custom_loss(self, policy_loss: Any, loss_inputs: Mapping[str, Any]) -> Any:
        """Change the loss, for example by adding a term."""
        return policy_loss

    def metrics(self) -> dict[str, Any]:
        """Scalars to report with the statistics of learning."""
        return {}

    def from_batch(self, train_batch: Mapping[str, Any]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """`forward` of a batch that is learned on; illegal actions are masked as in acting."""
        state: list[torch.Tensor] = []
        while (name := f"state_in_{len(state)}") in train_batch:
            state.append(train_batch[name])
        outputs, state_out = self(train_batch, state, train_batch.get("seq_lens"))
        if self.mask_outputs is not None:
            legal = action_mask(train_batch)
            if legal is not None:
                outputs = self.mask_outputs(outputs, legal)
        return outputs, state_out

    @property
    def has_value(self) -> bool:
        """The model has a `value_function`."""
        return type(self).value_function is not TorchModel.value_function


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
        """Zero weights; load `initial_weights(layout, rng)`."""
        super().__init__(obs_space, action_space, layout.num_outputs, layout.config, name)
        self.policy = Tower(layout)
        self.policy.out = Dense(self.policy.features, layout.head_outputs)
        self.value = Tower(layout) if layout.separate_value else Head()
        self.value.out = Dense(self.policy.features, 1)
        if layout.config.free_log_std:
            self.log_std = nn.Parameter(torch.zeros(layout.num_outputs - layout.head_outputs))
        self._shared = not layout.separate_value
        self._free_log_std = layout.config.free_log_std

    def forward(
        self, input_dict: Mapping[str, Any], state: list[torch.Tensor], seq_lens: Any = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Policy head; see `TorchModel.forward`."""
        x = input_dict["obs_flat"]
        features = self.policy(x)
        self._value_input = features if self._shared else x
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
    """A tower, an LSTM that may read the previous action and reward, and two heads on it."""

    def __init__(
        self, obs_space: gym.Space[Any], action_space: gym.Space[Any], layout: NetLayout, name: str
    ) -> None:
        """Zero weights; load `initial_weights(layout, rng)`."""
        super().__init__(obs_space, action_space, layout.num_outputs, layout.config, name)
        self._cell = cell = layout.config.lstm_cell_size
        self.policy = Tower(layout)
        self.policy.out = Dense(cell, layout.head_outputs)
        self.lstm = LSTM(self.policy.features + layout.prev_size, cell)
        self.value = Head()
        self.value.out = Dense(cell, 1)
        if layout.config.free_log_std:
            self.log_std = nn.Parameter(torch.zeros(layout.num_outputs - layout.head_outputs))
        self._free_log_std = layout.config.free_log_std

    def forward(
        self, input_dict: Mapping[str, Any], state: list[torch.Tensor], seq_lens: Any = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Rows are sequences, one per row of `state`; see `TorchModel.forward`."""
        features = self.policy(input_dict["obs_flat"])
        if "prev_flat" in input_dict:
            features = torch.cat([features, input_dict["prev_flat"]], dim=1)
        sequences = features.view(len(state[0]), -1, features.shape[1])
        hidden, state_out = self.lstm(sequences, state)
        self._hidden = hidden.reshape(-1, self._cell)
        outputs = self.policy.out(self._hidden)
        if self._free_log_std:
            outputs = with_log_std(outputs, self.log_std)
        return outputs, state_out

    def value_function(self) -> torch.Tensor:
        """Values [B] of the last forward's rows."""
        values: torch.Tensor = self.value.out(self._hidden)[:, 0]
        return values

    def get_initial_state(self) -> list[torch.Tensor]:
        """Zeros: hidden and cell, [H] each."""
        return [torch.zeros(self._cell), torch.zeros(self._cell)]


class Head(nn.Module):
    """A dense layer `out` and, in a `Tower`, what comes before it."""

    out: Dense


class Tower(Head):
    """Convolutions and dense layers up to the features that a head reads."""

    def __init__(self, layout: NetLayout) -> None:
        """Layers are called `conv_0`, …, `hidden_0`, …."""
        super().__init__()
        shape = layout.input_shape
        last = len(layout.filters) - 1
        convolve = _ACTIVATIONS[layout.config.conv_activation]
        self._convs: list[_Layer] = []
        self._dense: list[_Layer] = []
        for i, (channels, kernel, stride) in enumerate(layout.filters):
            conv = Conv(shape, channels, kernel, stride, pad=i < last)
            self.add_module(f"conv_{i}", conv)
            self._convs.append((conv, convolve))
            shape = layout.conv_shape(i, shape)
        self.features = int(np.prod(shape))
        for i, (units, activation) in enumerate(layout.hidden):
            dense = Dense(self.features, units)
            self.add_module(f"hidden_{i}", dense)
            self._dense.append((dense, _ACTIVATIONS[activation]))
            self.features = units

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, …] encoded observations to [B, features]."""
        for layer, activation in self._convs:
            x = layer(x) if activation is None else activation(layer(x))
        x = x.flatten(1) if self._convs else x
        for layer, activation in self._dense:
            x = layer(x) if activation is None else activation(layer(x))
        return x


class Conv(nn.Module):
    """Convolution over [B, height, width, channels] with `w` [height, width, in, out]."""

    def __init__(
        self, shape: tuple[int, ...], channels: int, kernel: int, stride: int, *, pad: bool
    ) -> None:
        """With `pad` only the stride shrinks the image (TensorFlow's "same")."""
        super().__init__()
        self.w = nn.Parameter(torch.zeros(kernel, kernel, shape[-1], channels))
        self.b = nn.Parameter(torch.zeros(channels))
        self._stride = stride
        self._padding: tuple[int, ...] = ()
        if pad:
            for side in (shape[1], shape[0]):  # functional.pad wants the last axis first
                short = max((-(-side // stride) - 1) * stride + kernel - side, 0)
                self._padding += (short // 2, short - short // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Channels stay last outside."""
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


def with_log_std(mean: torch.Tensor, log_std: torch.Tensor) -> torch.Tensor:
    """[B, A] and [A] to [B, 2A], as a Gaussian's inputs."""
    return torch.cat([mean, log_std.expand(len(mean), -1)], 1)
