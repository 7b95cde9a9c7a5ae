from __future__ import annotations

import pytest
from gymnasium.spaces import Box, Discrete

from rl_policy import build_policy, build_tf_policy, build_torch_policy
from rl_policy.definition import PolicyDefinition
from rl_sample.protocols import Needs

SPACES = Box(-1.0, 1.0, (2,)), Discrete(2)


def test_keywords_are_checked_by_name():
    for make in (
        build_policy,
        build_torch_policy,
        build_tf_policy,
        build_policy("P").with_updates,
    ):
        with pytest.raises(TypeError, match="'los_fn'; did you mean 'loss_fn'"):
            make(name="P", los_fn=print)


def test_with_updates_makes_another_definition():
    first = build_policy("First", loss_fn=print)
    second = first.with_updates(name="Second", needs=("new_obs",))
    assert (first.name, second.name) == ("First", "Second")
    assert second.loss_fn is print
    assert second.asked_needs() == Needs(learn=frozenset({"new_obs"}))


def test_the_framework_is_fixed_or_left_to_the_config():
    assert build_policy("P").framework is None
    assert build_torch_policy("P").framework == "torch"
    assert build_tf_policy("P").framework == "tf"
    with pytest.raises(ValueError, match="unknown framework 'jax'"):
        build_policy("P")(*SPACES, {"framework": "jax"})


@pytest.mark.parametrize(
    ("define", "wanted", "found"),
    [
        (build_policy, "auto", "torch"),
        (build_policy, "tfe", "tf2"),
        (build_torch_policy, "auto", "torch"),
        (build_tf_policy, "auto", "tf"),
        (build_tf_policy, "tf2", "tf2"),
        (lambda name: build_tf_policy(name).with_updates(framework="tf2"), "tf", "tf2"),
    ],
)
def test_a_config_chooses_among_what_a_definition_allows(monkeypatch, define, wanted, found):
    monkeypatch.setattr("rl_policy.config.find_spec", lambda name: object())
    assert define("P").resolve_framework(wanted) == found


def test_a_config_cannot_change_a_fixed_framework(monkeypatch):
    monkeypatch.setattr("rl_policy.config.find_spec", lambda name: object())
    with pytest.raises(ValueError, match=r"'P' is defined for 'torch' and config.* is 'tf'"):
        build_torch_policy("P")(*SPACES, {"framework": "tf"})
    with pytest.raises(ValueError, match="eager_tracing=True is about framework='tf2'"):
        build_torch_policy("P")(*SPACES, {"eager_tracing": True})


@pytest.mark.parametrize(
    ("keyword", "message"),
    [
        ("gradients_fn", "'gradients_fn' is called compute_gradients_fn"),
        ("extra_action_fetches_fn", "is called extra_action_out_fn"),
        ("obs_include_prev_action_reward", "lstm_use_prev_action"),
    ],
)
def test_older_keywords_name_their_replacement(keyword, message):
    with pytest.raises(TypeError, match=message):
        build_tf_policy("P", **{keyword: None})


def test_only_optional_columns_can_be_asked_for():
    assert PolicyDefinition("P", needs="infos").asked_needs().learn == {"infos"}
    whole = Needs(act={"prev_rewards": ("rewards", (-1,))})
    assert PolicyDefinition("P", needs=whole).asked_needs() is whole
    with pytest.raises(ValueError, match="needs='rewards': only 'new_obs' and 'infos'"):
        PolicyDefinition("P", needs=("rewards",)).asked_needs()
