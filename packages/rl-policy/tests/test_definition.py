from __future__ import annotations

import pytest
from gymnasium.spaces import Box, Discrete

from rl_policy import build_policy, build_torch_policy
from rl_policy.definition import PolicyDefinition
from rl_sample.protocols import Needs


def test_keywords_are_checked_by_name():
    for make in (build_policy, build_torch_policy, build_policy("P").with_updates):
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
    with pytest.raises(ValueError, match="unknown framework 'jax'"):
        build_policy("P")(Box(-1.0, 1.0, (2,)), Discrete(2), {"framework": "jax"})


def test_only_optional_columns_can_be_asked_for():
    assert PolicyDefinition("P", needs="infos").asked_needs().learn == {"infos"}
    whole = Needs(act={"prev_rewards": ("rewards", (-1,))})
    assert PolicyDefinition("P", needs=whole).asked_needs() is whole
    with pytest.raises(ValueError, match="needs='rewards': only 'new_obs' and 'infos'"):
        PolicyDefinition("P", needs=("rewards",)).asked_needs()
