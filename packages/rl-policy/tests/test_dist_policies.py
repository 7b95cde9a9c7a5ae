"""Policies with each distribution act in NumPy and learn in a framework; masks are heeded there."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from numpy.testing import assert_allclose

from rl_policy import build_policy, gae, masked_mean
from rl_policy.testing import random_fragment
from rl_policy.xp import array_namespace

VECTOR = Box(-1.0, 1.0, (4,))
FRAMEWORKS = [
    pytest.param("torch", marks=pytest.mark.torch),
    pytest.param("tf", marks=pytest.mark.tensorflow),
    pytest.param("tf2", marks=pytest.mark.tensorflow),
]


def surrogate_loss(policy, model, dist_class, train_batch):
    """PPO's without its clip, with entropy and divergence, and the ratio as rows."""
    logits, _ = model.from_batch(train_batch)
    xp, dist = array_namespace(logits), dist_class(logits, model)
    ratio = xp.exp(dist.logp(train_batch["actions"]) - train_batch["action_logp"])
    kl = masked_mean(dist_class(train_batch["action_dist_inputs"]).kl(dist), train_batch)
    error = masked_mean(
        xp.square(model.value_function() - train_batch["value_targets"]), train_batch
    )
    gain = masked_mean(ratio * train_batch["advantages"], train_batch)
    entropy = masked_mean(dist.entropy(), train_batch)
    stats = {"entropy": entropy, "kl": kl}
    return error - gain - 0.01 * entropy + 0.2 * kl, stats, {"ratio": ratio}


Surrogate = build_policy("Surrogate", loss_fn=surrogate_loss, postprocess_fn=gae)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("space", "name"),
    [
        (Box(-2.0, 2.0, (2,)), "SquashedGaussian"),
        (Box(-2.0, 2.0, (2, 2)), "Beta"),
        (Box(0.0, 1.0, (3,)), "Dirichlet"),
        (Discrete(3, start=1), "GumbelSoftmax"),
        (MultiDiscrete([2, 3]), None),
        (MultiBinary(3), None),
        (Dict({"a": Discrete(3), "b": Box(-1.0, 1.0, (2,)), "c": MultiBinary(2)}), None),
    ],
    ids=lambda value: getattr(value, "__class__", type(value)).__name__,
)
def test_the_first_ratio_is_one_and_learning_stays_finite(framework, space, name):
    config = {"framework": framework, "seed": 0, "model": {"custom_action_dist": name}}
    policy = Surrogate(VECTOR, space, config)
    batch = random_fragment(policy, seed=0, slots=4, rows=24)
    learned = policy.learn_on_batch(batch)
    # A density of 1e4 nats per unit of a share reads the rounding of the network's outputs.
    assert_allclose(learned.rows["ratio"], 1.0, atol=2e-5)
    assert learned.stats["kl"] == pytest.approx(0.0, abs=1e-5)
    for _ in range(3):
        learned = policy.learn_on_batch(batch, epochs=2, minibatch_size=48)
    assert np.isfinite(list(learned.stats.values())).all()
    assert learned.stats["kl"] > 1e-7


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_mask_with_no_legal_action_is_refused_when_a_batch_is_loaded(framework):
    space = Dict({"action_mask": Box(0, 1, (5,), np.int8), "x": VECTOR})
    policy = Surrogate(space, MultiDiscrete([2, 3]), {"framework": framework, "seed": 0})
    batch = random_fragment(policy, seed=0)
    policy.learn_on_batch(batch)
    mask = np.array(batch["obs/action_mask"])
    mask[7, 2:] = 0
    batch["obs/action_mask"] = mask
    with pytest.raises(ValueError, match=r"mask of row 7 allows no action \(entries 2 to 4 are 0"):
        policy.learn_on_batch(batch)
