"""Trainers that are made and trained in milliseconds."""

from __future__ import annotations

import numpy as np
import pytest

from rl_algos import build_trainer
from rl_policy import Policy
from rl_sample.protocols import Acted, Learned, Needs

TINY = {"env": "CartPole-v1", "preset": None, "train_batch_size": 32}
TINY_PPO = {**TINY, "sgd_minibatch_size": 16, "num_sgd_iter": 1}

TORCH, TF, TF2, TRACED = (
    pytest.param(keys, id=name, marks=getattr(pytest.mark, mark))
    for name, mark, keys in (
        ("torch", "torch", {"framework": "torch"}),
        ("tf", "tensorflow", {"framework": "tf"}),
        ("tf2", "tensorflow", {"framework": "tf2"}),
        ("tf2 traced", "tensorflow", {"framework": "tf2", "eager_tracing": True}),
    )
)
"""Config keys of each framework; what is traced takes seconds, and is the same code in both."""


class Counting(Policy):
    """Plain NumPy: acts at random and counts the rows that it has learned on."""

    needs = Needs(noise={"action": ("uniform", ())})

    def __init__(self, observation_space, action_space, config=None):
        super().__init__(observation_space, action_space, config)
        self.rows = np.zeros(1)

    def act(self, inputs, state, noise, *, explore, step):
        actions = (noise["action"] < 0.5).astype(np.int64)
        return Acted(actions, actions, (), {})

    def learn_on_batch(self, batch, *, step=None, epochs=1, minibatch_size=None, rng=None):
        self.rows = self.rows + batch.count
        self.version += 1
        return Learned({"rows": float(self.rows[0])})

    def get_weights(self):
        return {"rows": self.rows.copy()}

    def set_weights(self, weights):
        if weights["rows"].shape != self.rows.shape:
            raise ValueError("these weights belong to another policy")
        self.rows = np.array(weights["rows"])


COUNTER = build_trainer("Counter", {"train_batch_size": 32}, Counting)


def trained(definition=COUNTER, iterations=1, **keys):
    """A trainer after some iterations; to be stopped."""
    trainer = definition({**(TINY if definition is COUNTER else TINY_PPO), **keys})
    for _ in range(iterations):
        trainer.train()
    return trainer
