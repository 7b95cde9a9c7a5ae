"""Which distribution a space gets, by what names others are found, masks, and the composite."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from bare_policies import bare_policy
from gymnasium.spaces import (
    Box,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    OneOf,
    Sequence,
    Text,
    Tuple,
)
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy.action_dist import (
    ActionDist,
    find_action_dist,
    gumbel_softmax,
    make_action_dist,
    register_action_dist,
)
from rl_policy.distributions import Bernoulli, Categorical, DiagGaussian, MultiCategorical
from rl_policy.gamma_draws import GAMMA_NOISE
from rl_sample import draw_noise, noise_keys

TRACED = True

LOW = np.finfo(np.float32).min
NESTED = Dict(
    {
        "move": Box(-1, 1, (2,)),
        "pick": Tuple([Discrete(3, start=1), MultiDiscrete([2, 2])]),
        "set": MultiBinary(2),
    }
)


@pytest.mark.parametrize(
    ("space", "name", "inputs", "noise", "mask"),
    [
        (Discrete(3, start=5), "Categorical", 3, ("uniform", ()), 3),
        (MultiDiscrete([2, 3]), "MultiCategorical", 5, ("uniform", (2,)), 5),
        (MultiDiscrete([[2, 3], [4, 5]]), "MultiCategorical", 14, ("uniform", (2, 2)), 14),
        (Box(-1, 1, (2,), np.int8), "MultiCategorical", 6, ("uniform", (2,)), 6),
        (Box(0, 4, (), np.int32), "Categorical", 5, ("uniform", ()), 5),
        (MultiBinary(4), "Bernoulli", 4, ("uniform", (4,)), 4),
        (MultiBinary([2, 2]), "Bernoulli", 4, ("uniform", (2, 2)), 4),
        (Box(-1, 1, (3,)), "DiagGaussian", 6, ("normal", (3,)), None),
        (Box(-np.inf, np.inf, (2, 2), np.float64), "DiagGaussian", 8, ("normal", (2, 2)), None),
        (Box(-1, 1, ()), "DiagGaussian", 2, ("normal", ()), None),
    ],
)
def test_default_for_each_space(space, name, inputs, noise, mask):
    dist = make_action_dist(space)
    assert (dist.name, dist.input_size, dist.mask_size) == (name, inputs, mask)
    assert dist.noise == {"action": noise}
    assert dist.noise_name == "action"
    rows = np.zeros((4, inputs), np.float32)
    actions = dist(rows, None).sample(np.full((4, *noise[1]), 0.3, np.float32))
    assert actions.shape == (4, *dist.raw_space.shape)
    assert actions.dtype == dist.raw_space.dtype
    assert dist.make(rows).logp(actions).shape == (4,)


def test_named_distributions():
    box = Box(-2, 2, (2,))
    squashed = make_action_dist(box, "SquashedGaussian")
    assert (squashed.name, squashed.input_size) == ("SquashedGaussian", 4)
    certain = make_action_dist(box, "Deterministic")
    assert (certain.input_size, certain.noise, certain.noise_name) == (2, {}, None)
    assert certain.select_noise({}) is None
    assert_array_equal(certain(np.float32([[1, 2]])).sample(None), [[1, 2]])


@pytest.mark.parametrize(
    ("space", "name", "message"),
    [
        (Discrete(2), "DiagGaussian", "DiagGaussian is a distribution over a Box of floats"),
        (Box(-1, 1, (2,)), "Categorical", "over a Discrete space"),
        (Discrete(2), "MultiCategorical", "over a MultiDiscrete or integer Box"),
        (Discrete(2), "Bernoulli", "over a MultiBinary space"),
        (NESTED, "SquashedGaussian", "leave the name out"),
        (Box(-np.inf, 1, (2,)), "Beta", "over a Box of floats with finite bounds space"),
        (Box(0, 4, (2,), np.int32), "Beta", "over a Box of floats with finite bounds space"),
        (
            Box(-1, 1, (3,)),
            "Dirichlet",
            r"a simplex, given as Box\(0, 1, \(n,\)\) with n of 2",
        ),
        (Box(0, 1, (1,)), "Dirichlet", "with n of 2 or more"),
        (Box(0, 1, (2, 2)), "Dirichlet", r"the action space is Box\(0.0, 1.0, \(2, 2\)"),
        (Discrete(3), "Dirichlet", "over a simplex"),
        (MultiDiscrete([2, 2]), "GumbelSoftmax", "over a Discrete space"),
        (Text(3), None, "the space at 'action.*' is a Text.*TransformAction"),
        (Dict({"a": Sequence(Discrete(2))}), None, "at 'action./a' is a Sequence.*supported: Box"),
        (OneOf([Discrete(2)]), None, "is a OneOf"),
        (Box(0, np.inf, (1,), np.int64), None, "unbounded integers: .*give bounds"),
    ],
)
def test_misfits_are_refused(space, name, message):
    with pytest.raises(TypeError, match=message):
        make_action_dist(space, name)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Dict({}), "the Dict space at 'action.*' is empty"),
        (Tuple([Discrete(2), Tuple([])]), "the Tuple space at 'action.*/1' is empty"),
        (Box(-1, 1, (0,)), "holds no numbers"),
        (Dict({"a/b": Discrete(2)}), "key 'a/b' of the Dict space"),
    ],
)
def test_spaces_without_actions_or_names_for_them_are_refused(space, message):
    with pytest.raises(ValueError, match=message):
        make_action_dist(space)


def test_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'DiagGaussian'"):
        make_action_dist(Box(-1, 1, (2,)), "DiagGausian")
    with pytest.raises(ValueError, match="known: Bernoulli, Beta, Categorical"):
        find_action_dist("xyz")


def two_coins(action_space):
    """A user's distribution over Discrete(4): two fair-coin logits."""
    noise = {"action": ("uniform", (2,))}
    return ActionDist("TwoCoins", Bernoulli, 2, noise, action_space)


def test_own_distributions_by_name_by_reference_and_directly(monkeypatch):
    monkeypatch.setattr("rl_policy.action_dist._REGISTERED", {})
    register_action_dist("two_coins", two_coins)
    assert find_action_dist("two_coins") is two_coins
    for name in ("two_coins", two_coins):
        assert make_action_dist(MultiBinary(2), name).name == "TwoCoins"
    by_reference = find_action_dist("rl_policy.action_dist:make_action_dist")
    assert by_reference(Discrete(3)).input_size == 3
    with pytest.raises(ValueError, match="'Categorical' cannot be registered"):
        register_action_dist("Categorical", two_coins)
    with pytest.raises(TypeError, match="has to give an ActionDist, got 'oops'"):
        make_action_dist(Discrete(2), lambda space: "oops")


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float32])
def test_mask_lowers_illegal_logits(lib, dtype):
    array, plain = lib.array, lib.plain
    dist = make_action_dist(Discrete(3))
    logits = np.float32([[1, 2, 3], [4, 5, 6]])
    mask = array(np.array([[1, 0, 1], [1, 1, 1]], dtype))
    masked = lib.run(dist.mask, array(logits), mask)
    assert_array_equal(plain(masked), [[1, LOW, 3], [4, 5, 6]])
    assert plain(masked).dtype == np.float32


def test_mask_of_a_composite_covers_its_choices_only(lib):
    array, plain = lib.array, lib.plain
    dist = make_action_dist(NESTED)
    assert (dist.input_size, dist.mask_size) == (4 + 3 + 4 + 2, 3 + 4 + 2)
    inputs = np.arange(13, dtype=np.float32)[None]
    mask = np.array([[1, 0, 1, 0, 1, 1, 1, 1, 0]], np.int8)
    expected = inputs.copy()
    expected[0, [5, 7, 12]] = LOW
    assert_array_equal(plain(lib.run(dist.mask, array(inputs), array(mask))), expected)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Discrete(3), r"has 3 entries per row, got shape \((1|None), 2\)"),
        (Box(-1, 1, (2,)), "has no entries per row"),
    ],
)
def test_mask_of_the_wrong_size_is_refused(lib, space, message):
    dist = make_action_dist(space)
    inputs = lib.array(np.zeros((1, dist.input_size), np.float32))
    with pytest.raises(ValueError, match=message):
        lib.run(dist.mask, inputs, lib.array(np.ones((1, 2))))


@pytest.mark.parametrize(
    ("space", "mask", "message"),
    [
        (Discrete(3), [[1, 0, 0], [0, 0, 0]], r"row 1 allows no action \(all 3 entries are 0\)"),
        (MultiDiscrete([2, 3]), [[1, 0, 0, 0, 0]], r"row 0 .* \(entries 2 to 4 are 0\); an env"),
        (NESTED, [[1, 1, 1, 0, 0, 1, 1, 0, 0]], r"row 0 .* \(entries 3 to 4 are 0\)"),
        (Discrete(3), [[1, 1]], r"has 3 entries per row, got shape \(1, 2\)"),
        (Discrete(3), [1, 1, 1], r"has 3 entries per row, got shape \(3,\)"),
    ],
)
def test_masks_that_leave_nothing_to_choose_are_refused(space, mask, message):
    with pytest.raises(ValueError, match=message):
        make_action_dist(space).checked_mask(np.array(mask))


def test_bits_may_all_be_masked_and_are_0_then():
    dist = make_action_dist(MultiBinary(2))
    legal = dist.checked_mask(np.int8([[0, 0]]))
    masked = dist.mask(np.float32([[3, 4]]), legal)
    assert_array_equal(dist(masked).sample(np.float32([[2**-24, 0.5]])), [[0, 0]])
    nested = make_action_dist(NESTED).checked_mask(np.int8([[1, 0, 0, 1, 0, 0, 1, 0, 0]]))
    assert nested.dtype == bool


def test_composite_is_its_parts_side_by_side(lib):
    array, plain = lib.array, lib.plain
    dist = make_action_dist(NESTED)
    assert dist.name == "Composite"
    assert dist.noise_name is None
    assert dist.noise == {
        "action/move": ("normal", (2,)),
        "action/pick/0": ("uniform", ()),
        "action/pick/1": ("uniform", (2,)),
        "action/set": ("uniform", (2,)),
    }
    rng = np.random.default_rng(0)
    inputs, others = rng.normal(size=(2, 6, 13)).astype(np.float32)
    noise = {
        name: rng.random((6, *shape)).astype(np.float32) for name, (_, shape) in dist.noise.items()
    }
    move, first, second, bits = np.split(inputs, [4, 7, 11], axis=-1)
    parts = [
        DiagGaussian(move),
        Categorical(first),
        MultiCategorical(second, nvec=(2, 2)),
        Bernoulli(bits),
    ]
    leaves = [part.sample(n) for part, n in zip(parts, noise.values(), strict=True)]
    whole = dist(array(inputs))
    actions = whole.sample(dist.select_noise({k: array(v) for k, v in noise.items()}))
    assert list(actions) == ["move", "pick", "set"]
    got = [actions["move"], actions["pick"][0], actions["pick"][1], actions["set"]]
    for one, expected in zip(got, leaves, strict=True):
        assert_allclose(plain(one), expected, rtol=1e-5, atol=1e-6)
    logp = sum(part.logp(leaf) for part, leaf in zip(parts, leaves, strict=True))
    assert_allclose(plain(whole.logp(actions)), logp, rtol=1e-4)
    again, same = whole.sample_with_logp({k: array(v) for k, v in noise.items()})
    assert_array_equal(plain(again["pick"][1]), leaves[2])
    assert_allclose(plain(same), logp, rtol=1e-4)
    assert_allclose(plain(whole.entropy()), sum(part.entropy() for part in parts), rtol=1e-4)
    kl = plain(whole.kl(dist(array(others))))
    assert (kl > 0).all()
    assert_allclose(plain(whole.kl(whole)), 0, atol=1e-5)
    best = whole.deterministic_sample()
    assert_array_equal(plain(best["pick"][0]), parts[1].deterministic_sample())


def test_composite_keeps_the_order_of_the_space_not_of_the_alphabet():
    space = Dict([("z", Discrete(2)), ("a", Discrete(3))])
    dist = make_action_dist(space)
    best = dist(np.float32([[0, 9, 0, 0, 9]])).deterministic_sample()
    assert {key: value.tolist() for key, value in best.items()} == {"z": [1], "a": [2]}
    assert list(dist.raw_space.spaces) == ["z", "a"]


# Actions as environments take them


def test_beta_actions_stay_inside_the_bounds():
    space = Box(np.float32([0, -5]), np.float32([10, -4]))
    policy = bare_policy(Box(-1, 1, (4,)), space, model={"custom_action_dist": "Beta"})
    assert policy.needs.noise["action"] == ("normal", (2, 2 * GAMMA_NOISE))
    actions, _, _ = policy.compute_actions(np.zeros((500, 4), np.float32), explore=True)
    assert all(space.contains(action) for action in actions)
    assert actions[:, 0].min() < 2
    assert actions[:, 0].max() > 8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("normalize", [True, False])
def test_shares_reach_the_environment_as_they_are(dtype, normalize):
    space = Box(0, 1, (3,), dtype)
    policy = bare_policy(
        Box(-1, 1, (4,)),
        space,
        model={"custom_action_dist": "Dirichlet"},
        normalize_actions=normalize,
    )
    rows = np.zeros((200, 4), np.float32)
    drawn = draw_noise(policy.needs.noise, noise_keys(0, 0, np.arange(200)), np.zeros(200), 1)
    drawn = {name: array[:, 0] for name, array in drawn.items()}
    acted = policy.act({"obs": rows}, (), drawn, explore=True, step=0)
    assert acted.env_actions.dtype == dtype
    assert_array_equal(acted.env_actions, acted.actions)
    assert_allclose(acted.env_actions.sum(axis=-1), 1, atol=3e-7)
    assert all(space.contains(action) for action in acted.env_actions)
    back = policy.dist_class.to_raw(acted.env_actions)
    assert back.dtype == np.float32
    assert_array_equal(back, acted.actions)


def test_relaxed_one_hots_are_stored_and_their_choice_is_played():
    space = Discrete(3, start=4)
    policy = bare_policy(Box(-1, 1, (4,)), space, model={"custom_action_dist": "GumbelSoftmax"})
    rows, drawn = np.zeros((300, 4), np.float32), np.random.default_rng(0).random((300, 3))
    noise = {"action": drawn.astype(np.float32)}
    acted = policy.act({"obs": rows}, (), noise, explore=True, step=0)
    assert acted.actions.shape == (300, 3)
    assert policy.dist_class.raw_space.contains(acted.actions[0])
    assert_array_equal(acted.env_actions, acted.actions.argmax(axis=-1) + 4)
    assert set(acted.env_actions.tolist()) == {4, 5, 6}
    assert acted.env_actions.dtype == space.dtype
    assert_array_equal(policy.dist_class.to_raw(np.array([4, 6])), [[1, 0, 0], [0, 0, 1]])


def test_a_temperature_is_given_by_a_factory_and_is_above_0():
    cold = make_action_dist(Discrete(3), partial(gumbel_softmax, temperature=0.1))
    warm = make_action_dist(Discrete(3), "GumbelSoftmax")
    logits, noise = np.float32([[0, 1, 2]]), np.float32([[0.2, 0.5, 0.4]])
    assert cold(logits).sample(noise).max() > 0.99 > warm(logits).sample(noise).max()
    with pytest.raises(ValueError, match="temperature of GumbelSoftmax is 0; it has to be above 0"):
        gumbel_softmax(Discrete(3), temperature=0)
