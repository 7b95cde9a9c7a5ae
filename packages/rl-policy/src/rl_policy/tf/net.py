"""A TensorFlow model behind the NumPy face that actors use (`inference="framework"`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

from rl_policy.actor import State
from rl_policy.build import build_model
from rl_policy.space_tree import map_nested
from rl_policy.spec import NetActorSpec
from rl_policy.tf.model import TFModel
from rl_policy.tf.weights import array_to_tensor, set_weights
from rl_sample import unflatten_nested
from rl_sample.protocols import Arrays

_CPU = "CPU:0"


def build_net(spec: NetActorSpec) -> TFNet:
    """What `NetActorSpec.build` looks for in every framework."""
    model, _ = build_model("tf", spec, spec.hooks, spec.dist, 0, _CPU)
    return TFNet(model, traced=spec.framework != "tf2" or spec.config["eager_tracing"])


def wrap_model(model: TFModel) -> TFNet:
    """A model just made, to be tried; it is left in the mode that acts."""
    return TFNet(model, traced=False)


class TFNet:
    """Forward passes on the CPU: traced graphs, or eagerly where the framework is "tf2"."""

    def __init__(self, model: TFModel, *, traced: bool) -> None:
        """Weights come with `load`."""
        self.model = model.eval()
        wrap = _traced if traced else _as_it_is
        self._forward, self._values = wrap(self._outputs), wrap(self._value)

    def load(self, weights: Arrays) -> None:
        """Take weights by name."""
        set_weights(self.model, weights)

    def forward(self, input_dict: Mapping[str, Any], state: State) -> tuple[np.ndarray, State]:
        """One step of `B` rows; see `NumpyNet.forward`."""
        outputs, state_out = self._forward(self.native(dict(input_dict)), self.native(state))
        self.model.check_outputs(outputs)
        return outputs.numpy(), tuple(s.numpy() for s in state_out)

    def values(self, input_dict: Mapping[str, Any], state: State) -> np.ndarray | None:
        """Value estimates [B] float32; None if the model has no `value_function`."""
        if not self.model.has_value:
            return None
        values: np.ndarray = self._values(self.native(dict(input_dict)), self.native(state)).numpy()
        self.model.check_values(values, len(input_dict["obs_flat"]))
        return values

    def native(self, tree: Any) -> Any:
        """Arrays as tensors."""
        return map_nested(
            lambda a: array_to_tensor(a, _CPU) if isinstance(a, np.ndarray) else a, tree
        )

    def numpy(self, tree: Any) -> Any:
        """Tensors as arrays."""
        return map_nested(lambda t: t.numpy() if isinstance(t, tf.Tensor) else t, tree)

    def inference(self) -> AbstractContextManager[Any]:
        """Nothing: gradients are made where a tape is."""
        return nullcontext()

    def _outputs(self, columns: Mapping[str, Any], state: tuple[Any, ...]) -> Any:
        roots = dict.fromkeys(name.split("/", 1)[0] for name in columns)
        nested = {root: unflatten_nested(root, columns) for root in roots}
        seq_lens = tf.ones(tf.shape(columns["obs_flat"])[:1], tf.int32)
        outputs, state_out = self.model(nested, list(state), seq_lens)
        return outputs, list(state_out)

    def _value(self, columns: Mapping[str, Any], state: tuple[Any, ...]) -> Any:
        self._outputs(columns, state)
        return self.model.value_function()


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as one graph for each set of columns, whatever the number of rows."""
    graphs: dict[tuple[str, ...], Callable[..., Any]] = {}

    def call(columns: dict[str, Any], state: tuple[Any, ...]) -> Any:
        names = tuple(columns)
        if names not in graphs:
            signature = tf.nest.map_structure(_any_rows, [columns, state])
            traced = tf.function(function, input_signature=signature, autograph=False)
            graphs[names] = traced.get_concrete_function()
        return graphs[names](columns, state)

    return call


def _any_rows(tensor: Any) -> Any:
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
