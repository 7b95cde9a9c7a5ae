"""A torch model behind the NumPy face that actors use (`inference="framework"`)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from rl_policy.actor import State
from rl_policy.build import build_model
from rl_policy.space_tree import map_nested
from rl_policy.spec import NetActorSpec
from rl_policy.torch.backend import to_tensor
from rl_policy.torch.model import TorchModel
from rl_policy.torch.weights import set_weights
from rl_sample import unflatten_nested
from rl_sample.protocols import Arrays

_CPU = torch.device("cpu")


def build_net(spec: NetActorSpec) -> TorchNet:
    """What `NetActorSpec.build` looks for in every framework."""
    model, _ = build_model("torch", spec, spec.hooks, spec.dist, 0, _CPU)
    return TorchNet(model)


def wrap_model(model: TorchModel) -> TorchNet:
    """A model just made, to be tried; it is left in the mode that acts."""
    return TorchNet(model)


class TorchNet:
    """Forward passes without gradients, on the CPU."""

    def __init__(self, model: TorchModel) -> None:
        """Weights come with `load`."""
        self.model = model.eval()

    def load(self, weights: Arrays) -> None:
        """Take weights by name."""
        set_weights(self.model, weights)

    def forward(self, input_dict: Mapping[str, Any], state: State) -> tuple[np.ndarray, State]:
        """One step of `B` rows; see `NumpyNet.forward`."""
        with torch.no_grad():
            outputs, state_out = self._run(input_dict, state)
        self.model.check_outputs(outputs)
        return outputs.numpy(), tuple(s.numpy() for s in state_out)

    def values(self, input_dict: Mapping[str, Any], state: State) -> np.ndarray | None:
        """Value estimates [B] float32; None if the model has no `value_function`."""
        if not self.model.has_value:
            return None
        with torch.no_grad():
            self._run(input_dict, state)
            values: np.ndarray = self.model.value_function().numpy()
        self.model.check_values(values, len(input_dict["obs_flat"]))
        return values

    def native(self, tree: Any) -> Any:
        """Arrays as tensors."""
        return map_nested(lambda a: to_tensor(a, _CPU) if isinstance(a, np.ndarray) else a, tree)

    def numpy(self, tree: Any) -> Any:
        """Tensors as arrays."""
        return map_nested(lambda t: t.numpy() if isinstance(t, torch.Tensor) else t, tree)

    def inference(self) -> AbstractContextManager[Any]:
        """No gradients."""
        return torch.no_grad()

    def _run(self, input_dict: Mapping[str, Any], state: State) -> Any:
        roots = dict.fromkeys(name.split("/", 1)[0] for name in input_dict)
        nested = {root: self.native(unflatten_nested(root, input_dict)) for root in roots}
        seq_lens = torch.ones(len(input_dict["obs_flat"]), dtype=torch.int32)
        return self.model(nested, [to_tensor(s, _CPU) for s in state], seq_lens)
