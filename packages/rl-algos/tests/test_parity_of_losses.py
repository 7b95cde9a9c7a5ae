"""Equal weights and an equal batch: TensorFlow gives torch's loss, figures, gradients and step."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from rl_algos import get_algorithm
from rl_policy.testing import random_fragment

pytestmark = [pytest.mark.torch, pytest.mark.tensorflow]

VECTOR = Box(-1.0, 1.0, (3,), np.float32)
NESTED = Dict(where=VECTOR, what=Discrete(4))
EVERYTHING = {"kl_coeff": 0.3, "vf_clip_range": 0.5, "entropy_coeff": 0.1, "grad_clip": 0.5}
LSTM = {"use_lstm": True, "lstm_cell_size": 5, "max_seq_len": 7, "lstm_use_prev_action": True}
CASES = {
    "PPO": ("PPO", VECTOR, Discrete(3), {}),
    "PPO, every term": ("PPO", NESTED, MultiDiscrete([2, 3]), EVERYTHING),
    "PPO, continuous": ("PPO", VECTOR, Box(-2, 2, (2,), np.float32), {"entropy_coeff": 0.01}),
    "PPO, LSTM": ("PPO", VECTOR, Discrete(3), {**EVERYTHING, "model": LSTM}),
    "A2C": ("A2C", NESTED, Box(-2, 2, (2,), np.float32), {"model": {"free_log_std": True}}),
    "A2C, rmsprop": ("A2C", VECTOR, Discrete(3), {"optimizer": "rmsprop"}),
    "PG": ("PG", VECTOR, Discrete(3), {}),
    "PG, sgd": ("PG", NESTED, MultiDiscrete([2, 3]), {"optimizer": "sgd"}),
}


@contextmanager
def floats_of(bits):
    """Let models that are made meanwhile have weights of so many bits."""
    torch, keras = import_module("torch"), import_module("rl_policy.tf") and import_module("keras")
    before = torch.get_default_dtype(), keras.config.floatx()
    torch.set_default_dtype(getattr(torch, f"float{bits}"))
    keras.config.set_floatx(f"float{bits}")
    try:
        yield
    finally:
        torch.set_default_dtype(before[0])
        keras.config.set_floatx(before[1])


def make(case, framework):
    """A policy whose nets are small."""
    algorithm, observation_space, action_space, config = CASES[case]
    model = {"fcnet_hiddens": (8, 6), **config.get("model", {})}
    config = {**config, "model": model, "seed": 5, "framework": framework}
    return get_algorithm(algorithm).default_policy(observation_space, action_space, config)


def what_it_learns(policy, batch):
    """Figures, gradients, and weights after one step on the whole batch."""
    grads, learned = policy.gradients(batch)
    stepped = policy.learn_on_batch(batch)
    return learned.stats, grads, stepped.stats, policy.get_weights()


def close(found, expected, rtol):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        size = max(np.abs(array).max(), 1e-3)  # what is small beside its like is rounding
        np.testing.assert_allclose(found[name], array, rtol, rtol * size, err_msg=name)


@pytest.mark.parametrize(("bits", "rtol"), [(64, 1e-6), (32, 1e-4)])
@pytest.mark.parametrize("framework", ["tf", "tf2"])
@pytest.mark.parametrize("case", CASES)
def test_one_step_is_that_of_torch(case, framework, bits, rtol):
    with floats_of(bits):
        ours, theirs = make(case, "torch"), make(case, framework)
        for name, array in ours.get_weights().items():
            assert array.dtype == f"float{bits}", name
            np.testing.assert_array_equal(array, theirs.get_weights()[name])
        batch = random_fragment(ours)
        batch["advantages"] = (batch["advantages"] * 3).astype(np.float32)
        expected = what_it_learns(ours, batch)
        found = what_it_learns(theirs, batch)
    assert expected[0]["total_loss"] != 0
    for one, other in zip(found, expected, strict=True):
        close(one, other, rtol)
