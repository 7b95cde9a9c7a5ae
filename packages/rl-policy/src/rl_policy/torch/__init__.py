"""The part of rl_policy that needs PyTorch: models to subclass, and optimisers."""

from __future__ import annotations

from rl_policy.torch.model import LSTM, Conv, Dense, TorchModel
from rl_policy.torch.optim import SGD, Adam, FlatParameters, Optimizer, RMSprop

__all__ = [
    "LSTM",
    "SGD",
    "Adam",
    "Conv",
    "Dense",
    "FlatParameters",
    "Optimizer",
    "RMSprop",
    "TorchModel",
]
