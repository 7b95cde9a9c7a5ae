"""A model's weights as NumPy arrays under neutral names."""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np
import torch
from torch import nn


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
