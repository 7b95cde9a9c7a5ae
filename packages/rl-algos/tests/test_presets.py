"""defaults < preset < user, and the one line that says which."""

from __future__ import annotations

import pytest

from rl_algos import PPO, ConfigError, PPOConfig, get_algorithm, resolve_config
from rl_algos.presets import PRESETS


def test_the_users_key_beats_the_preset_and_the_preset_the_default():
    resolved = resolve_config("PPO", {"env": "CartPole-v1", "num_sgd_iter": 3})
    assert resolved.config.num_sgd_iter == 3
    assert resolved.config.gamma == 0.98
    assert resolved.config.clip_param == PPOConfig().clip_param
    assert resolved.origin == "PPO on CartPole-v1: preset CartPole-v1"


def test_without_a_preset_there_are_defaults():
    resolved = resolve_config("PPO", {"env": "Acrobot-v1"})
    assert resolved.preset is None
    assert resolved.origin == "PPO on Acrobot-v1: defaults, no preset"


def test_a_preset_can_be_refused_or_borrowed():
    assert resolve_config("PPO", {"env": "CartPole-v1", "preset": None}).preset is None
    borrowed = resolve_config("PPO", {"env": "my_envs:CartPole", "preset": "CartPole-v1"})
    assert borrowed.config.gamma == 0.98
    with pytest.raises(ConfigError, match=r"no preset 'CartPole-v9' for PPO: use one of \['CartP"):
        resolve_config("PPO", {"env": "x", "preset": "CartPole-v9"})


def test_a_constant_of_the_user_hides_the_presets_schedule():
    user = {"env": "CartPole-v1", "lr": 0.01}
    assert resolve_config("PPO", user).config.lr_schedule is None
    assert resolve_config("PPO", user).config.clip_param_schedule is not None
    schedule = [(0, 1.0), (10, 0.0)]
    both = {**user, "lr_schedule": schedule}
    assert resolve_config("PPO", both).config.lr_schedule == schedule


def test_an_environment_is_needed():
    with pytest.raises(ConfigError, match="set env, for example env='CartPole-v1'"):
        resolve_config("PPO", {"lr": 0.1})


@pytest.mark.parametrize(("algorithm", "env"), list(PRESETS))
def test_every_preset_is_a_config_that_fits(algorithm, env):
    resolved = resolve_config(algorithm, {"env": env})
    assert resolved.preset is PRESETS[algorithm, env]
    assert resolve_config(algorithm, {"env": env, "num_workers": 2}).config["num_workers"] == 2


def test_algorithms_are_found_by_name_or_path():
    assert get_algorithm("ppo") is PPO
    assert get_algorithm("rl_algos.ppo:PPO") is PPO


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("PPOO", "no algorithm 'PPOO'; did you mean 'PPO'"),
        ("impala", "no algorithm 'impala'; Known: A2C, PG, PPO"),
        ("no_such_module:X", "cannot be imported"),
        ("rl_algos.ppo:X", "cannot be imported"),
    ],
)
def test_an_unknown_algorithm_is_named(name, message):
    with pytest.raises(ConfigError, match=message):
        get_algorithm(name)
