"""Models in TensorFlow: the face that all have, and the catalogue's nets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from rl_policy.layout import NetLayout
from rl_policy.model_face import ModelFace
from rl_policy.space_tree import pick
from rl_policy.tf.layers import GRU, LSTM, Conv, Dense, zeros
from rl_policy.tf.weights import Block


class TFModel(ModelFace, Block):
    """Base of models in TensorFlow: a `ModelFace` whose attributes are Keras layers and the like.

    Keras 3 layers, `keras.Model`s, `tf.Variable`s and `tf.Module`s are found in attributes, also
    within lists and dicts.
    """

    training = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`."""
        return self.forward(*args, **kwargs)

    def train(self, mode: bool = True) -> TFModel:
        """Set `training`, here and in models among the attributes; gives the model."""
        self.training = mode
        for part in vars(self).values():
            if isinstance(part, TFModel):
                part.train(mode)
        return self

    def eval(self) -> TFModel:
        """`train(False)`."""
        return self.train(False)


_Activation = Callable[[Any], Any] | None
_Layer = tuple[Callable[[Any], Any], _Activation]

_ACTIVATIONS: dict[str, _Activation] = {
    "tanh": tf.math.tanh,
    "relu": tf.nn.relu,
    "sigmoid": tf.math.sigmoid,
    "silu": tf.nn.silu,
    "elu": tf.nn.elu,
    "linear": None,
}
_CELLS: dict[str, type[LSTM] | type[GRU]] = {"lstm": LSTM, "gru": GRU}


class FeedForward(TFModel):
    """A policy tower and, unless they share layers, a value tower, each with its head."""

    def __init__(
        self, obs_space: gym.Space[Any], action_space: gym.Space[Any], layout: NetLayout, name: str
    ) -> None:
        """Zero weights; load `initial_weights(layout, seed)`."""
        super().__init__(obs_space, action_space, layout.num_outputs, layout.config, name)
        self.policy = Tower(layout)
        self.policy.out = Dense(layout.features, layout.head_outputs)
        self.value: Any = Tower(layout) if layout.separate_value else Head()
        self.value.out = Dense(layout.features, 1)
        if layout.config.free_log_std:
            self.log_std = zeros(layout.num_outputs - layout.head_outputs)
        self._shared = not layout.separate_value
        self._free_log_std = layout.config.free_log_std

    def forward(
        self, input_dict: Mapping[str, Any], state: list[Any], seq_lens: Any = None
    ) -> tuple[Any, list[Any]]:
        """Policy head; see `ModelFace.forward`."""
        parts = self.policy.read(input_dict)
        features = self.policy(parts)
        self._value_input = features if self._shared else parts
        outputs = self.policy.out(features)
        if self._free_log_std:
            outputs = with_log_std(outputs, self.log_std)
        return outputs, state

    def value_function(self) -> Any:
        """Values [B] of the last forward's rows."""
        x = self._value_input
        return tf.squeeze(self.value.out(x if self._shared else self.value(x)), 1)


class Recurrent(TFModel):
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
        base: TFModel | None = None,
    ) -> None:
        """Zero weights, but for those of a custom `base`; load `initial_weights(layout, seed)`."""
        super().__init__(obs_space, action_space, layout.num_outputs, layout.config, name)
        self._size = size = layout.config.lstm_cell_size
        self._kind = kind = layout.config.cell or ""
        make_cell, inputs = _CELLS[kind], layout.features + layout.prev_size
        setattr(self, kind, make_cell(inputs, size))
        if base is not None:
            self.base = base
        self.policy = Head() if base is not None else Tower(layout)
        self.policy.out = Dense(size, layout.head_outputs)
        self.value = Tower(layout) if layout.separate_value else Head()
        if layout.separate_value:
            setattr(self.value, kind, make_cell(inputs, size))
        self.value.out = Dense(size, 1)
        if layout.config.free_log_std:
            self.log_std = zeros(layout.num_outputs - layout.head_outputs)
        self._layout = layout

    def forward(
        self, input_dict: Mapping[str, Any], state: list[Any], seq_lens: Any = None
    ) -> tuple[Any, list[Any]]:
        """Rows are sequences, one per row of `state`; see `ModelFace.forward`."""
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

    def value_function(self) -> Any:
        """Values [B] of the last forward's rows."""
        return tf.squeeze(self.value.out(self._value_input), 1)

    def get_initial_state(self) -> list[Any]:
        """Zeros, [H] each: hidden and cell of an LSTM, hidden of a GRU; the policy's first."""
        return [np.zeros(shape, np.float32) for shape in self._layout.state]

    def custom_loss(self, policy_loss: Any, loss_inputs: Mapping[str, Any]) -> Any:
        """As a custom base says."""
        base = getattr(self, "base", None)
        return policy_loss if base is None else base.custom_loss(policy_loss, loss_inputs)

    def metrics(self) -> dict[str, Any]:
        """Those of a custom base."""
        base: TFModel | None = getattr(self, "base", None)
        return {} if base is None else base.metrics()

    def _remember(
        self, branch: Any, features: Any, input_dict: Mapping[str, Any], state: list[Any]
    ) -> tuple[Any, list[Any]]:
        """The cell of `branch` over all rows: [B, F] and [N, H] states to [B, H] and states."""
        if self._layout.prev_size:
            features = tf.concat([features, input_dict["prev_flat"]], 1)
        steps = -1 if self.training else 1
        sequences = tf.reshape(features, [tf.shape(state[0])[0], steps, features.shape[1]])
        hidden, state_out = getattr(branch, self._kind)(sequences, state)
        return tf.reshape(hidden, [-1, self._size]), state_out


class Head(Block):
    """A dense layer `out` and, in a `Tower`, what comes before it."""

    out: Dense


class Tower(Head):
    """Convolutions and dense layers up to the features that a head or a cell reads."""

    def __init__(self, layout: NetLayout) -> None:
        """Layers are called as in `NetLayout`: `conv_0` or `image_1/conv_0`, …, `hidden_0`, …."""
        self._images, self._vector_size = layout.images, layout.vector_size
        convolve = _ACTIVATIONS[layout.config.conv_activation]
        convs: list[list[_Layer]] = []
        for index in range(len(layout.images)):
            holder = self if len(layout.images) == 1 else Block()
            if holder is not self:
                setattr(self, f"image_{index}", holder)
            convs.append([])
            for layer in layout.convs(index):
                conv = Conv(layer)
                setattr(holder, layer.name.rpartition("/")[2], conv)
                convs[-1].append((conv, convolve))
        dense: list[_Layer] = []
        size = layout.joined
        for i, (units, activation) in enumerate(layout.hidden):
            hidden = Dense(size, units)
            setattr(self, f"hidden_{i}", hidden)
            dense.append((hidden, _ACTIVATIONS[activation]))
            size = units
        self._convs, self._dense = convs, dense  # after the attributes that name the variables
        self._sizes = [int(np.prod(layout.convs(i)[-1].output)) for i in range(len(convs))]

    def read(self, input_dict: Mapping[str, Any]) -> list[Any]:
        """What a call takes: images [B, height, width, channels] scaled, the vector [B, D]."""
        flat = input_dict["obs_flat"]
        if not self._images:
            return [flat]
        parts = []
        for image, convs in zip(self._images, self._convs, strict=True):
            conv: Any = convs[0][0]
            x = pick(input_dict["obs"], image.path) if image.path else flat
            x = tf.cast(x, conv.w.dtype)
            x = x * image.scale if image.scale != 1.0 else x
            if image.axes != tuple(range(len(image.axes))):
                x = tf.transpose(x, [0, *(axis + 1 for axis in image.axes)])
            parts.append(tf.reshape(x, [-1, *image.shape]))
        return [*parts, flat] if self._vector_size else parts

    def __call__(self, parts: list[Any]) -> Any:
        """What `read` gives to [B, features]."""
        joined = list(parts)
        for i, convs in enumerate(self._convs):
            joined[i] = tf.reshape(_through(convs, parts[i]), [-1, self._sizes[i]])
        return _through(self._dense, joined[0] if len(joined) == 1 else tf.concat(joined, 1))


def _through(layers: list[_Layer], x: Any) -> Any:
    for layer, activation in layers:
        x = layer(x) if activation is None else activation(layer(x))
    return x


def with_log_std(mean: Any, log_std: Any) -> Any:
    """[B, A] and [A] to [B, 2A], as a Gaussian's inputs."""
    return tf.concat([mean, tf.broadcast_to(log_std, tf.shape(mean))], 1)
