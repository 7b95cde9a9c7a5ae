"""The catalogue in torch computes what NumPy computes, and its convolutions what paper computes."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from numpy.testing import assert_allclose

from rl_policy import build_torch_policy
from rl_policy.layout import NetLayout, initial_weights
from rl_policy.model_config import ACTIVATIONS, ModelConfig
from rl_policy.testing import check_policy, initial_state, random_inputs

pytestmark = pytest.mark.torch

CONFIGS = {
    "default": {},
    "shared": {"vf_share_layers": True},
    "free": {"free_log_std": True},
    "post": {"post_fcnet_hiddens": (7,), "fcnet_hiddens": (9, 8)},
    "lstm": {"use_lstm": True, "lstm_use_prev_action": True, "lstm_use_prev_reward": True},
    "lstm free": {"use_lstm": True, "free_log_std": True},
    **{name: {"fcnet_activation": name} for name in ACTIVATIONS},
}


@pytest.mark.parametrize("model", CONFIGS.values(), ids=CONFIGS)
def test_numpy_and_torch_agree(model):
    policy = build_torch_policy("P")(
        Box(-1.0, 1.0, (4,)), Box(-1.0, 1.0, (2,)), {"seed": 0, "model": model}
    )
    weights = {n: a + 0.1 * np.float32(np.cos(a)) for n, a in policy.get_weights().items()}
    policy.set_weights(weights)
    inputs, state = random_inputs(policy, 6, 0), initial_state(policy, 6)
    inputs = {name: array + np.float32(0.3) for name, array in inputs.items()}
    outs = {}
    for engine in ("numpy", "framework"):
        actor, _ = policy.actor_spec().build(engine)
        actor.load(policy.snapshot())
        first = actor.act(inputs, state, {}, explore=False, step=0)
        second = actor.act(inputs, first.state, {}, explore=False, step=0)
        outs[engine] = [
            second.columns["action_dist_inputs"],
            actor.values(inputs, first.state),
            *second.state,
        ]
    for ours, theirs in zip(*outs.values(), strict=True):
        assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)


def test_both_engines_start_from_the_same_seeded_weights():
    policy = build_torch_policy("P")(Box(-1.0, 1.0, (4,)), Discrete(2), {"seed": 11})
    expected = initial_weights(NetLayout(ModelConfig(), (4,), 2), seed=11)
    weights = policy.get_weights()
    assert weights.keys() == expected.keys()
    for name, array in expected.items():
        assert_allclose(weights[name], array)


def test_convolution_pads_as_tensorflow_does():
    """A 3-wide image, kernel 2, stride 2, "same": one column of zeros at the right and bottom."""
    import torch

    from rl_policy.torch import Conv

    conv = Conv((3, 3, 1), 1, 2, 2, pad=True)
    with torch.no_grad():
        conv.w[:, :, 0, 0] = torch.tensor([[1.0, 10.0], [100.0, 1000.0]])
        image = torch.arange(1.0, 10.0).view(1, 3, 3, 1)
        out = conv(image)[0, :, :, 0]
    assert_allclose(out, [[1 + 20 + 400 + 5000, 3 + 600], [7 + 80, 9]])


@pytest.mark.parametrize("lstm", [False, True])
def test_images_act_with_torch_and_learn(lstm):
    model = {"conv_filters": [[4, 4, 2], [8, 5, 1]], "use_lstm": lstm, "post_fcnet_hiddens": [6]}
    make = build_torch_policy("P", loss_fn=value_loss)
    space = Box(0, 255, (10, 10, 3), np.uint8)
    policy = make(space, Discrete(2), {"seed": 0, "model": model})
    assert policy.inference == ("framework", "convolutional nets have no NumPy forward")
    check_policy(lambda: make(space, Discrete(2), {"seed": 0, "model": model}))


def value_loss(policy, model, dist_class, train_batch):
    logits, _ = model.from_batch(train_batch)
    return (logits**2).mean() + (model.value_function() - 1.0).pow(2).mean()
