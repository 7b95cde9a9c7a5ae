"""What `rl_policy.build` asks of TensorFlow: the models' base, their seed, the catalogue's nets."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager.context import context

from rl_policy.layout import NetLayout
from rl_policy.tf.model import FeedForward, Recurrent, TFModel

MODEL = TFModel


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Draw a model's first weights from `seed` and put them on `device`.

    Keras's layers draw their seeds from Python's generator; that, NumPy's and TensorFlow's are left
    as they were.

    Raises:
        RuntimeError: Keras runs on another framework.
    """
    if keras.config.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras runs on {keras.config.backend()!r}: set the environment variable "
            "KERAS_BACKEND=tensorflow before Python starts"
        )
    state, drawn, eager = random.getstate(), np.random.get_state(), context()
    own, generator = eager._seed, getattr(eager, "_rng", None)  # none before the first seed
    random.seed(seed)
    np.random.seed(seed % 2**32)
    tf.random.set_seed(seed)
    try:
        with tf.device(device):
            yield
    finally:
        random.setstate(state)
        np.random.set_state(drawn)
        eager._seed, eager._rng = own, generator


def make_catalogue_model(
    observation_space: Any, action_space: Any, layout: NetLayout, base: TFModel | None = None
) -> TFModel:
    """The network of `layout`, on top of a custom `base` if there is one; its weights zero."""
    spaces = observation_space, action_space
    if layout.config.cell is None:
        return FeedForward(*spaces, layout, "catalogue")
    return Recurrent(*spaces, layout, "catalogue", base)
