"""The part of rl_policy that needs TensorFlow: models to subclass, optimisers, the learner."""

from __future__ import annotations

import os

# Read when TensorFlow is imported. oneDNN's kernels round differently from call to call.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# How many threads a process may have, Ray tells its workers as torch reads it; 0 is the default.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", os.environ.get("OMP_NUM_THREADS", "0"))
os.environ.setdefault("TF_NUM_INTEROP_THREADS", os.environ.get("OMP_NUM_THREADS", "0"))

from rl_policy.tf.layers import GRU, LSTM, Conv, Dense
from rl_policy.tf.model import TFModel
from rl_policy.tf.optim import SGD, Adam, Optimizer, RMSprop

__all__ = [
    "GRU",
    "LSTM",
    "SGD",
    "Adam",
    "Conv",
    "Dense",
    "Optimizer",
    "RMSprop",
    "TFModel",
]
