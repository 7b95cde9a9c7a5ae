"""What tests of learning share: the ways to learn, small losses and policies."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rl_policy import build_policy, gae, masked_mean
from rl_policy.xp import array_namespace
from rl_sample import SampleBatch

VECTOR, TWO = Box(-1.0, 1.0, (4,)), Discrete(2)

CONFIGS = {
    "torch": {"framework": "torch"},
    "tf": {"framework": "tf"},
    "tf2": {"framework": "tf2"},
    "tf2 traced": {"framework": "tf2", "eager_tracing": True},
}
MARKS = {
    "torch": [pytest.mark.torch],
    "tf": [pytest.mark.tensorflow],
    "tf2": [pytest.mark.tensorflow],
    "tf2 traced": [pytest.mark.tensorflow, pytest.mark.slow],  # the code of "tf", once more
}
EVERY = [pytest.param(name, marks=marks) for name, marks in MARKS.items()]
EAGER = [EVERY[0], EVERY[2]]
"""Where a loss's Python runs at each update, so that a test may look into its batch."""


def surrogate_loss(policy, model, dist_class, train_batch):
    """PPO's without its clip, and the ratio as rows."""
    logits, _ = model.from_batch(train_batch)
    xp, dist = array_namespace(logits), dist_class(logits, model)
    ratio = xp.exp(dist.logp(train_batch["actions"]) - train_batch["action_logp"])
    old = dist_class(train_batch["action_dist_inputs"])
    error = model.value_function() - train_batch["value_targets"]
    losses = {
        "policy_loss": -masked_mean(ratio * train_batch["advantages"], train_batch),
        "vf_loss": masked_mean(xp.square(error), train_batch),
        "kl": masked_mean(old.kl(dist), train_batch),
    }
    return sum(losses.values()), losses, {"ratio": ratio}


Surrogate = build_policy("Surrogate", loss_fn=surrogate_loss, postprocess_fn=gae)


def squares(policy, model, dist_class, train_batch):
    """Every output should be 1."""
    logits, _ = model.from_batch(train_batch)
    xp = array_namespace(logits)
    return xp.mean(xp.square(logits - 1.0))


def outputs(model, train_batch):
    """The model's outputs [B, 2] and their namespace."""
    logits, _ = model.from_batch(train_batch)
    return logits, array_namespace(logits)


class Learning:
    """One way to learn: makes policies that learn so."""

    def __init__(self, name):
        self.name, self.config = name, CONFIGS[name]
        self.is_torch = name == "torch"

    def make(self, loss_fn=squares, config=None, **keywords):
        definition = build_policy("Small", loss_fn=loss_fn, **keywords)
        return definition(VECTOR, TWO, {"seed": 0, **self.config, **(config or {})})


def ones(rows=4, **columns):
    """A batch of observations 1."""
    return SampleBatch({"obs": np.ones((rows, 4), np.float32), **columns})


def normals(rows=8, seed=0):
    """A batch of normal observations."""
    obs = np.random.default_rng(seed).normal(size=(rows, 4))
    return SampleBatch({"obs": obs.astype(np.float32)})
