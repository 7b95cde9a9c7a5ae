from __future__ import annotations

import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
from bare_policies import bare_policy
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy.action_dist import make_action_dist
from rl_policy.config import resolve_config
from rl_policy.hooks import ActingHooks, xp_only
from rl_policy.spec import catalogue_spec
from rl_policy.testing import check_policy, initial_state, random_inputs
from rl_sample import draw_noise, noise_keys
from rl_sample.protocols import Snapshot

VECTOR, TWO = Box(-1.0, 1.0, (4,)), Discrete(2)


def noise(policy, rows, seed=0):
    drawn = draw_noise(policy.needs.noise, noise_keys(seed, 0, np.arange(rows)), np.zeros(rows), 1)
    return {name: array[:, 0] for name, array in drawn.items()}


def act(policy, inputs, explore=True, state=None, drawn=None):
    rows = len(next(iter(inputs.values())))
    state = initial_state(policy, rows) if state is None else state
    drawn = noise(policy, rows) if drawn is None else drawn
    return policy.act(inputs, state, drawn, explore=explore, step=0)


OBSERVATIONS = [
    VECTOR,
    Discrete(5, start=2),
    Box(0, 255, (3, 4), np.uint8),
    Dict({"a": Box(-2.0, 2.0, (3,)), "b": Tuple((Discrete(3), Box(-1.0, 1.0, (2, 2))))}),
]
ACTIONS = [
    Discrete(3, start=1),
    MultiDiscrete([2, 3]),
    Box(-2.0, np.float32([1.0, 2.0]), (2,)),
    Dict({"x": Discrete(2), "y": Tuple((Box(-1.0, 1.0, (2,)), Discrete(3)))}),
]


@pytest.mark.parametrize("observation_space", OBSERVATIONS, ids=str)
@pytest.mark.parametrize("action_space", ACTIONS, ids=str)
@pytest.mark.parametrize("lstm", [False, True])
def test_saved_policies_keep_the_protocol(observation_space, action_space, lstm):
    model = {"use_lstm": lstm, "lstm_use_prev_action": True, "lstm_use_prev_reward": True}
    check_policy(lambda: bare_policy(observation_space, action_space, model=model), learns=False)


def test_acting_makes_few_calls_of_our_own():
    policy = bare_policy(VECTOR, TWO)
    actor, _ = policy.actor_spec().build()
    actor.load(policy.snapshot())
    inputs, drawn = random_inputs(policy, 1, 0), noise(policy, 1)
    calls = []

    def record(frame, event, _):
        if event == "call" and "rl_policy" in frame.f_code.co_filename:
            calls.append(frame.f_code.co_name)

    actor.act(inputs, (), drawn, explore=True, step=0)
    sys.setprofile(record)
    try:
        actor.act(inputs, (), drawn, explore=True, step=0)
    finally:
        sys.setprofile(None)
    assert len(calls) <= 8, calls


def test_specs_travel():
    """Ray pickles them."""
    policy = bare_policy(OBSERVATIONS[3], ACTIONS[3], observation_filter="NoFilter")
    spec = pickle.loads(pickle.dumps(policy.actor_spec()))
    actor, _ = spec.build()
    actor.load(policy.snapshot())
    inputs = random_inputs(policy, 5, 0)
    here, there = act(policy, inputs), actor.act(inputs, (), noise(policy, 5), explore=True, step=0)
    assert_array_equal(here.actions["x"], there.actions["x"])


def test_masked_actions_are_never_taken():
    policy = bare_policy(VECTOR, Discrete(4))
    inputs = random_inputs(policy, 64, 0)
    inputs["action_mask"] = np.tile(np.int8([0, 1, 0, 1]), (64, 1))
    for explore in (True, False):
        assert set(act(policy, inputs, explore).actions.tolist()) <= {1, 3}
    stored = act(policy, inputs).columns["action_dist_inputs"]
    assert (stored[:, [0, 2]] == np.finfo(np.float32).min).all()


def test_a_dict_observation_may_carry_the_mask():
    space = Dict({"action_mask": Box(0, 1, (3,), np.int8), "x": Box(-1.0, 1.0, (2,))})
    policy = bare_policy(space, Discrete(3))
    obs = {"action_mask": np.int8([[0, 0, 1]] * 8), "x": np.zeros((8, 2), np.float32)}
    actions, _, _ = policy.compute_actions(obs, explore=True)
    assert_array_equal(actions, [2] * 8)


def test_a_row_without_legal_action_is_named():
    policy = bare_policy(VECTOR, Discrete(3))
    inputs = random_inputs(policy, 2, 0)
    inputs["action_mask"] = np.int8([[1, 0, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match="action mask of row 1 allows no action"):
        act(policy, inputs)


def test_a_mask_for_actions_without_choices_is_refused():
    policy = bare_policy(VECTOR, Box(-1.0, 1.0, (2,)))
    inputs = random_inputs(policy, 2, 0) | {"action_mask": np.ones((2, 2), bool)}
    with pytest.raises(ValueError, match="mask was given, but DiagGaussian .* no choices"):
        act(policy, inputs)


def test_filter_constants_come_with_the_snapshot():
    arrays = {"filter/mean": np.float32([1, 1, 1, 1]), "filter/inv_std": np.float32([2, 2, 2, 2])}
    plain = bare_policy(VECTOR, TWO)
    filtered = bare_policy(VECTOR, TWO, observation_filter="MeanStdFilter", arrays=arrays)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    expected = act(plain, {"obs": (x - 1) * 2}).columns["action_dist_inputs"]
    assert_allclose(act(filtered, {"obs": x}).columns["action_dist_inputs"], expected, rtol=1e-5)


def test_filter_deltas_are_pure_and_absent_without_a_filter():
    assert bare_policy(VECTOR, TWO)._actor.filter_delta({"obs": np.ones((2, 4), np.float32)}) == {}
    policy = bare_policy(VECTOR, TWO, observation_filter="MeanStdFilter")
    x = np.float32([[0, 0, 0, 0], [2, 4, 6, 8]])
    for _ in range(2):
        delta = policy._actor.filter_delta({"obs": x})
        assert_allclose(delta["mean"], [1, 2, 3, 4])
        assert_allclose(delta["m2"], [2, 8, 18, 32])


def test_recurrent_state_is_carried():
    policy = bare_policy(VECTOR, TWO, model={"use_lstm": True, "lstm_cell_size": 3})
    inputs = random_inputs(policy, 2, 0)
    first = act(policy, inputs)
    second = act(policy, inputs, state=first.state)
    assert [s.shape for s in first.state] == [(2, 3), (2, 3)]
    assert not np.allclose(
        first.columns["action_dist_inputs"], second.columns["action_dist_inputs"]
    )
    assert policy.is_recurrent()
    assert [s.shape for s in policy.get_initial_state()] == [(3,), (3,)]


def test_history_reaches_the_lstm():
    model = {"use_lstm": True, "lstm_use_prev_action": True, "lstm_use_prev_reward": True}
    policy = bare_policy(VECTOR, TWO, model=model)
    assert set(policy.needs.act) == {"prev_actions", "prev_rewards"}
    obs = np.zeros((1, 4), np.float32)
    outs = [
        policy.compute_actions(obs, prev_action_batch=np.int64([a]), prev_reward_batch=[r])[2]
        for a, r in [(0, 0.0), (1, 0.0), (0, 1.0)]
    ]
    logits = [out["action_dist_inputs"] for out in outs]
    assert not np.allclose(logits[0], logits[1])
    assert not np.allclose(logits[0], logits[2])


def test_the_engine_says_why():
    spec = bare_policy(VECTOR, TWO).actor_spec()
    assert (spec.engine, spec.engine_reason) == ("numpy", "catalogue model on a CPU")
    with pytest.raises(ValueError, match="unknown inference 'nunpy'; did you mean 'numpy'"):
        bare_policy(VECTOR, TWO, inference="nunpy")
    assert bare_policy(Box(0, 255, (10, 10, 1), np.uint8), TWO).actor_spec().engine == "numpy"
    with pytest.raises(ValueError, match="free_log_std=True needs a Gaussian.*'Categorical'"):
        bare_policy(VECTOR, TWO, model={"free_log_std": True})
    hooks = ActingHooks(extra_action_out_fn=lambda *args: {})
    with pytest.raises(ValueError, match="extra_action_out_fn is not marked @xp_only"):
        bare_policy(VECTOR, TWO, inference="numpy", hooks=hooks)


def test_a_distribution_that_reads_the_model_needs_the_framework():
    dist = replace(make_action_dist(TWO), reads_model=True)
    spec = catalogue_spec(VECTOR, TWO, resolve_config({}, {}), dist=dist)
    reason = "the action distribution Categorical reads the model"
    assert (spec.engine, spec.engine_reason) == ("framework", reason)


@xp_only
def greedy_with_column(policy, input_dict, state_batches, model, action_dist, noise):
    return {"best": action_dist.deterministic_sample(), "drawn": noise["action"]}


@xp_only
def always_one(policy, model, input_dict, state_batches, explore, timestep, noise):
    rows = len(input_dict["obs_flat"])
    return np.ones(rows, np.int64), np.zeros(rows, np.float32)


@xp_only
def favour_action_one(policy, model, input_dict, state_batches, explore, timestep, noise):
    logits, state = model.forward(input_dict, state_batches)
    return logits + np.float32([0.0, 50.0]), policy.dist_class, state


def test_marked_hooks_run_on_numpy():
    policy = bare_policy(VECTOR, TWO, hooks=ActingHooks(extra_action_out_fn=greedy_with_column))
    assert policy.actor_spec().engine == "numpy"
    inputs = random_inputs(policy, 3, 0)
    plain, hooked = act(bare_policy(VECTOR, TWO), inputs), act(policy, inputs)
    assert_array_equal(plain.actions, hooked.actions)
    assert_array_equal(hooked.columns["drawn"], noise(policy, 3)["action"])
    assert set(hooked.columns) == {"action_dist_inputs", "action_logp", "best", "drawn"}


@pytest.mark.parametrize("hook", ["action_sampler_fn", "action_distribution_fn"])
def test_hooks_decide(hook):
    function = {"action_sampler_fn": always_one, "action_distribution_fn": favour_action_one}[hook]
    policy = bare_policy(VECTOR, TWO, hooks=ActingHooks(**{hook: function}))
    acted = act(policy, random_inputs(policy, 5, 0))
    assert_array_equal(acted.actions, np.ones(5))
    assert_allclose(acted.columns["action_logp"], np.zeros(5), atol=1e-6)


def test_new_weights_only_come_with_load():
    policy = bare_policy(VECTOR, TWO)
    snapshot = policy.snapshot()
    changed = {name: array + 1 for name, array in snapshot.arrays.items()}
    inputs = random_inputs(policy, 2, 0)
    before = act(policy, inputs).columns["action_dist_inputs"]
    policy.load(Snapshot(4, 200, changed))
    assert not np.allclose(act(policy, inputs).columns["action_dist_inputs"], before)
    assert (policy.version, policy.global_step) == (4, 200)
