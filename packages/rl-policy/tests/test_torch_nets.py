"""The catalogue in torch computes what NumPy computes, and its convolutions what paper computes."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from numpy.testing import assert_allclose

from rl_policy import build_torch_policy, gae
from rl_policy.layout import ConvLayer, NetLayout, initial_weights
from rl_policy.model_config import ACTIVATIONS, ModelConfig
from rl_policy.spaces import find_images
from rl_policy.testing import check_policy, initial_state, random_fragment, random_inputs
from rl_sample import SampleBatch

pytestmark = pytest.mark.torch

CONFIGS = {
    "default": {},
    "shared": {"vf_share_layers": True},
    "free": {"free_log_std": True},
    "post": {"post_fcnet_hiddens": (7,), "fcnet_hiddens": (9, 8)},
    "lstm": {"use_lstm": True, "lstm_use_prev_action": True, "lstm_use_prev_reward": True},
    "lstm free": {"use_lstm": True, "free_log_std": True},
    "lstm separate": {"use_lstm": True, "vf_share_layers": False, "lstm_use_prev_action": True},
    "gru": {"use_gru": True, "lstm_use_prev_action": True, "lstm_use_prev_reward": True},
    "gru separate free": {"use_gru": True, "vf_share_layers": False, "free_log_std": True},
    **{name: {"fcnet_activation": name} for name in ACTIVATIONS},
}


@pytest.mark.parametrize("model", CONFIGS.values(), ids=CONFIGS)
def test_numpy_and_torch_agree(model):
    policy = build_torch_policy("P")(
        Box(-1.0, 1.0, (4,)), Box(-1.0, 1.0, (2,)), {"seed": 0, "model": model}
    )
    weights = {n: a + 0.1 * np.float32(np.cos(a)) for n, a in policy.get_weights().items()}
    policy.set_weights(weights)
    engines_agree(policy, shift=np.float32(0.3))


def engines_agree(policy, shift=0.0):
    """NumPy and torch give the same outputs, values and states for a second step."""
    inputs, state = random_inputs(policy, 11, 0), initial_state(policy, 11)
    inputs = {name: array + shift if shift else array for name, array in inputs.items()}
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
    expected = initial_weights(NetLayout(ModelConfig(), 4, 2), seed=11)
    weights = policy.get_weights()
    assert weights.keys() == expected.keys()
    for name, array in expected.items():
        assert_allclose(weights[name], array)


def test_convolution_pads_as_tensorflow_does():
    """A 3-wide image, kernel 2, stride 2, "same": one column of zeros at the right and bottom."""
    import torch

    from rl_policy.torch import Conv

    conv = Conv(ConvLayer("conv_0", (3, 3, 1), 1, 2, 2, pad=True))
    with torch.no_grad():
        conv.w[:, :, 0, 0] = torch.tensor([[1.0, 10.0], [100.0, 1000.0]])
        image = torch.arange(1.0, 10.0).view(1, 3, 3, 1)
        out = conv(image)[0, :, :, 0]
    assert_allclose(out, [[1 + 20 + 400 + 5000, 3 + 600], [7 + 80, 9]])


SPACES = {
    "HWC": Box(0, 255, (10, 12, 3), np.uint8),
    "CHW": Box(0, 255, (3, 10, 10), np.uint8),
    "one channel": Box(0, 255, (11, 11), np.uint8),
    "stack": Box(-1.0, 1.0, (2, 10, 10, 3)),
    "nested": Dict(
        eye=Box(0, 255, (10, 10, 1), np.uint8),
        arm=Tuple([Box(-1.0, 1.0, (3,)), Discrete(4)]),
        map=Box(0, 255, (2, 12, 12), np.uint8),
        action_mask=MultiBinary(2),
    ),
    "two images": Tuple([Box(0, 1, (5, 5, 1)), Box(0, 255, (6, 5, 1), np.uint8)]),
    "no image": Dict(where=Discrete(3), what=MultiDiscrete([2, 3]), how=Box(-1.0, 1.0, (2, 2))),
}
SMALL = {"conv_filters": [[4, 3, 2], [8, 3, 1]], "post_fcnet_hiddens": [6]}
NETS = {
    "plain": {},
    "shared": {"vf_share_layers": True},
    "lstm": {"use_lstm": True, "lstm_cell_size": 5, "lstm_use_prev_action": True},
    "gru separate": {"use_gru": True, "lstm_cell_size": 5, "vf_share_layers": False},
}


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_net_over_every_space_acts_learns_and_is_saved(space, net):
    model = {**(SMALL if find_images(space) else {}), **net, "max_seq_len": 4}
    make = build_torch_policy("P", loss_fn=ppo_like, postprocess_fn=gae)
    policy = make(space, Discrete(2), {"seed": 0, "model": model})
    expected = initial_weights(policy.actor_spec().layout, seed=0)
    assert {n: a.shape for n, a in policy.get_weights().items()} == {
        n: a.shape for n, a in expected.items()
    }
    engines_agree(policy)
    batch = random_fragment(policy, rows=6)
    assert_allclose(policy.learn_on_batch(batch).rows["ratio"], 1.0, atol=1e-5)
    check_policy(lambda: make(space, Discrete(2), {"seed": 0, "model": model}))


def ppo_like(policy, model, dist_class, train_batch):
    logits, _ = model.from_batch(train_batch)
    ratio = (
        dist_class(logits, model).logp(train_batch["actions"]) - train_batch["action_logp"]
    ).exp()
    errors = (model.value_function() - train_batch["value_targets"]) ** 2
    return (errors - ratio * train_batch["advantages"]).mean(), {}, {"ratio": ratio}


def test_images_stay_bytes_until_a_net_reads_them():
    import torch

    seen = []

    def loss(policy, model, dist_class, train_batch):
        seen.append((train_batch["obs_flat"].dtype, train_batch["obs"].dtype))
        return model.from_batch(train_batch)[0].mean()

    space = Box(0, 255, (10, 10, 1), np.uint8)
    policy = build_torch_policy("P", loss_fn=loss)(space, Discrete(2), {"seed": 0})
    policy.learn_on_batch(random_fragment(policy))
    assert seen == [(torch.uint8, torch.uint8)]


def test_images_are_scaled_once_whatever_their_order():
    """255 of 255 is what 1.0 is, and channels first what channels last are."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 10, 12, 3), dtype=np.uint8)
    outs = []
    for space, obs in [
        (Box(0, 255, (10, 12, 3), np.uint8), pixels),
        (Box(0.0, 1.0, (10, 12, 3)), (pixels / 255).astype(np.float32)),
        (Box(0, 255, (3, 10, 12), np.uint8), pixels.transpose(0, 3, 1, 2)),
    ]:
        policy = build_torch_policy("P")(space, Discrete(2), {"seed": 0})
        assert policy.inference == ("numpy", "catalogue model on a CPU")
        outs.append(policy.compute_actions(obs, explore=False)[2]["action_dist_inputs"])
        assert_allclose(outs[0], outs[-1], rtol=1e-4, atol=1e-7)
    assert np.ptp(outs[0]) > 1e-4


def test_a_stack_of_images_becomes_channels():
    """[2, 10, 10, 3] is what [10, 10, 6] is, the older image's channels first."""
    pixels = np.random.default_rng(0).random((1, 2, 10, 10, 3), np.float32)
    side_by_side = np.concatenate([pixels[:, 0], pixels[:, 1]], axis=-1)
    outs = [
        build_torch_policy("P")(space, Discrete(2), {"seed": 0}).compute_actions(obs)[2]
        for space, obs in [
            (Box(0.0, 1.0, (2, 10, 10, 3)), pixels),
            (Box(0.0, 1.0, (10, 10, 6)), side_by_side),
        ]
    ]
    assert_allclose(*(out["action_dist_inputs"] for out in outs), rtol=1e-5)


def test_the_filter_is_for_numbers():
    space = Dict(eye=Box(0, 255, (10, 10, 1), np.uint8), arm=Box(-1.0, 1.0, (2,)))
    config = {"seed": 0, "observation_filter": "MeanStdFilter"}
    policy = build_torch_policy("P")(space, Discrete(2), config)
    eye, arm = np.full((2, 10, 10, 1), 9, np.uint8), np.float32([[0, 1], [2, 3]])
    delta = policy.filter_delta({"obs/eye": eye, "obs/arm": arm})
    assert_allclose(delta["mean"], [1, 2])
    with pytest.raises(ValueError, match="images only.*observation_filter='NoFilter'"):
        build_torch_policy("P")(space["eye"], Discrete(2), config)


@pytest.mark.parametrize(
    ("space", "model", "message"),
    [
        (Box(-1.0, 1.0, (4,)), {"conv_filters": [[4, 3, 1]]}, "holds no image.*fcnet_hiddens"),
        (
            Box(0, 255, (10, 10, 3), np.uint8),
            {"conv_filters": [[4, 3, 1]], "image_order": "flat"},
            "image_order='flat' rules them out",
        ),
        (
            Dict(a=Box(0, 255, (10, 10, 3), np.uint8), b=Discrete(2)),
            {"conv_filters": [[4, 11, 1]]},
            r"convolution 0 \(kernel 11\) does not fit into the 10x10 image.*'obs/a'",
        ),
        (Box(-1.0, 1.0, (4,)), {"free_log_std": True}, "needs a Gaussian"),
    ],
)
def test_models_that_do_not_fit_the_space(space, model, message):
    with pytest.raises(ValueError, match=message):
        build_torch_policy("P")(space, Discrete(2), {"model": model})


def test_pictures_and_numbers_are_learned_from():
    """The right action is on which side of the picture it is bright; a number says to swap."""
    space = Dict(eye=Box(0, 255, (10, 10, 1), np.uint8), swap=Discrete(2))

    def loss(policy, model, dist_class, train_batch):
        logits, _ = model.from_batch(train_batch)
        return -dist_class(logits, model).logp(train_batch["actions"]).mean()

    config = {"seed": 0, "lr": 0.003, "model": {"conv_filters": [[8, 5, 2], [16, 5, 1]]}}
    policy = build_torch_policy("P", loss_fn=loss)(space, Discrete(2), config)
    rng = np.random.default_rng(0)
    right = []
    for _ in range(40):
        side, swap = rng.integers(0, 2, (2, 64))
        eye = rng.integers(0, 100, (64, 10, 10, 1), dtype=np.uint8)
        eye[side == 1, :, 5:] += 100
        eye[side == 0, :, :5] += 100
        obs = {"eye": eye, "swap": swap}
        right.append(policy.compute_actions(obs, explore=False)[0] == side ^ swap)
        columns = {"obs/eye": eye, "obs/swap": swap, "actions": side ^ swap}
        policy.learn_on_batch(SampleBatch(columns))
    assert np.mean(right[0]) < 0.7
    assert np.mean(right[-3:]) > 0.95
