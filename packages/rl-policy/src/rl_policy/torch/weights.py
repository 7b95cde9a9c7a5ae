"""Weights, gradients and optimiser state as NumPy arrays under neutral names."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import numpy as np
import torch
from torch import nn

from rl_policy.torch.optim import Optimizer
from rl_sample.protocols import Arrays


class NamedWeights:
    """One model with its optimisers, read and written by name; names join with "/"."""

    def __init__(self, model: nn.Module, optimizers: Mapping[str, Optimizer]) -> None:
        """Names are the module's own; those of the catalogue are the same in every framework."""
        self._model, self._optimizers = model, optimizers
        self._names = {p: name.replace(".", "/") for name, p in model.named_parameters()}

    def weights(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers; one copy for each optimiser's flat vector."""
        named: dict[str, np.ndarray] = {}
        for name, optimizer in self._optimizers.items():
            named |= self._split(name, optimizer.flat.values)
        return model_arrays(self._model, but=named) | named

    def set_weights(self, weights: Arrays) -> None:
        """Take weights; ValueError if they belong to another model."""
        set_weights(self._model, weights)

    def gradients(self, optimizers: Iterable[str]) -> dict[str, np.ndarray]:
        """Copies of the gradients of these optimisers' parameters."""
        named: dict[str, np.ndarray] = {}
        for name in optimizers:
            named |= self._split(name, self._optimizers[name].flat.grad)
        return named

    def set_gradients(self, grads: Arrays) -> dict[str, float]:
        """Bind gradients; gives the norms of the optimisers that have theirs among them.

        Raises:
            ValueError: an unknown name, or an optimiser with only some of its gradients.
        """
        norms: dict[str, float] = {}
        left = set(grads)
        for name, optimizer in self._optimizers.items():
            flat = optimizer.flat
            names = [self._names[p] for p in flat.params]
            if left.isdisjoint(names):
                continue
            if missing := sorted(set(names) - left):
                raise ValueError(f"gradients for optimizer {name!r} lack {missing}")
            device = flat.values.device
            flat.set_grad([torch.from_numpy(np.array(grads[n])).to(device) for n in names])
            norms[name] = flat.grad.norm().item()
            left -= set(names)
        if left:
            raise ValueError(f"gradients for weights that are not there: {sorted(left)}")
        return norms

    def optimizer_state(self) -> dict[str, dict[str, np.ndarray]]:
        """By optimiser: moments as `<moment>/<parameter>`, counters as they are."""
        states: dict[str, dict[str, np.ndarray]] = {}
        for name, optimizer in self._optimizers.items():
            state = states[name] = {}
            for key, tensor in optimizer.state().items():
                if tensor.shape == optimizer.flat.values.shape:
                    moments = self._split(name, tensor)
                    state |= {f"{key}/{param}": moment for param, moment in moments.items()}
                else:
                    state[key] = tensor.detach().cpu().numpy().copy()
        return states

    def load_optimizer_state(self, states: Mapping[str, Arrays]) -> None:
        """Continue from `optimizer_state()`."""
        for name, optimizer in self._optimizers.items():
            tensors = {k: torch.from_numpy(np.array(v)) for k, v in states[name].items()}
            params = [self._names[p] for p in optimizer.flat.params]
            suffix = "/" + params[0]
            for key in [k.removesuffix(suffix) for k in tensors if k.endswith(suffix)]:
                parts = [tensors.pop(f"{key}/{param}").reshape(-1) for param in params]
                tensors[key] = torch.cat(parts)
            optimizer.load_state(tensors)

    def _split(self, optimizer: str, vector: torch.Tensor) -> dict[str, np.ndarray]:
        flat = self._optimizers[optimizer].flat
        views = flat.split(vector.detach().to("cpu", copy=True))
        return {self._names[p]: view.numpy() for p, view in zip(flat.params, views, strict=True)}


def set_weights(model: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """Copy weights into a model, by neutral name.

    Raises:
        ValueError: a name is missing or unknown, or a shape differs.
    """
    own = {name.replace(".", "/"): tensor for name, tensor in model.state_dict().items()}
    if own.keys() != weights.keys():
        raise ValueError(
            f"these weights belong to another model: missing {sorted(own.keys() - weights.keys())}"
            f", unknown {sorted(weights.keys() - own.keys())}"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            given = np.array(weights[name])
            if given.shape != tuple(tensor.shape):
                raise ValueError(
                    f"weight {name!r} has shape {given.shape}, the model wants "
                    f"{tuple(tensor.shape)}"
                )
            tensor.copy_(torch.from_numpy(given))


def model_arrays(model: nn.Module, but: Container[str] = ()) -> dict[str, np.ndarray]:
    """Copies of parameters and buffers by neutral name, without those in `but`."""
    named = ((name.replace(".", "/"), t) for name, t in model.state_dict().items())
    return {name: t.detach().cpu().numpy().copy() for name, t in named if name not in but}
