"""Definitions, variants and what a config becomes: policies, workers, threads."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rl_algos import PPO, CheckpointError, ConfigError, PPOConfig, TrainerConfig, build_trainer
from rl_algos.presets import resolve_config
from rl_algos.setup import imported, limit_threads, make_policies
from rl_policy import PolicySpec
from rl_workers import MultiAgentEnv

TINY = {"env": "CartPole-v1", "preset": None, "train_batch_size": 32, "sgd_minibatch_size": 16}


class Pair(MultiAgentEnv):
    """Two agents whose action spaces differ."""

    def __init__(self):
        space = Box(-1.0, 1.0, (2,), np.float32)
        self.observation_spaces = {"a": space, "b": space}
        self.action_spaces = {"a": Discrete(2), "b": Discrete(3)}


def test_a_variant_has_other_defaults_and_leaves_the_original_alone():
    variant = PPO.with_updates(name="Mine", default_config={"lr": 0.5, "num_workers": 3})
    found = resolve_config(variant, {"env": "Acrobot-v1", "train_batch_size": 2400})
    assert (found.config.lr, found.config["num_workers"]) == (0.5, 3)
    assert resolve_config(PPO, {"env": "Acrobot-v1"}).config.lr == PPOConfig().lr


def test_a_dict_of_defaults_adds_the_keys_that_are_new():
    mine = build_trainer("Mine", {"gamma": 0.5, "beta": 2.0})
    config = resolve_config(mine, {"env": "CartPole-v1", "beta": 3.0}).config
    assert (config.gamma, config["beta"]) == (0.5, 3.0)
    assert config.policy_keys()["beta"] == 3.0
    with pytest.raises(ConfigError, match="did you mean 'beta'"):
        resolve_config(mine, {"env": "CartPole-v1", "betta": 1})
    assert mine.with_updates(default_config=TrainerConfig).overrides == {}


def test_an_unknown_keyword_of_a_variant_is_an_error():
    with pytest.raises(TypeError, match="executionplan"):
        PPO.with_updates(executionplan=None)


@pytest.mark.torch
def test_a_trainer_tells_what_it_was_made_of():
    with PPO({**TINY, "seed": 5}) as trainer:
        assert trainer.seed == trainer.get_policy().config["seed"] == trainer.workers.seed == 5
        assert trainer.origin == "PPO on CartPole-v1: defaults, no preset"
        assert trainer.get_policy().config["clip_param"] == 0.2
        with pytest.raises(KeyError, match=r"no policy 'x', only \['default_policy'\]"):
            trainer.get_policy("x")


@pytest.mark.torch
def test_a_checkpoint_can_be_taken_up_with_other_keys(tmp_path):
    keys = {"lr_schedule": [(0, 0.5)], "policy_mapping_fn": lambda agent, eps_id, worker: "x"}
    with PPO({**TINY, **keys}) as trainer:
        path = trainer.save(tmp_path)
    with pytest.raises(CheckpointError, match=r"could not store \['policy_mapping_fn'\]"):
        PPO.from_checkpoint(path)
    with PPO.from_checkpoint(path, lr=0.25, multiagent={"policy_mapping_fn": None}) as trainer:
        assert trainer.get_policy().coeffs["lr"] == 0.25
        assert trainer.config.lr_schedule is None
        assert trainer.config.train_batch_size == 32


@pytest.mark.torch
def test_without_a_seed_one_is_drawn_for_all():
    with PPO(TINY) as first, PPO(TINY) as second:
        assert first.seed != second.seed
        assert first.seed == first.workers.seed


@pytest.mark.torch
def test_policies_have_the_spaces_of_their_agents_and_weights_of_their_own():
    keys = {
        "env": Pair,
        "policies": {"a": None, "b": None},
        "policy_mapping_fn": lambda agent, eps_id, worker: agent,
    }
    policies = make_policies(PPOConfig(**keys), PPO.default_policy, seed=1)
    assert [p.action_space.n for p in policies.values()] == [2, 3]
    first, second = (p.get_weights() for p in policies.values())
    name = next(iter(first))
    assert first[name].shape == second[name].shape
    assert not np.array_equal(first[name], second[name])


@pytest.mark.torch
def test_a_policy_cannot_be_for_agents_that_differ():
    with pytest.raises(ConfigError, match="'a' and 'b', whose action_space differs.*PolicySpec"):
        make_policies(PPOConfig(env=Pair), PPO.default_policy, seed=1)
    for spec in (PolicySpec(action_space=Discrete(2)), {"action_space": Discrete(2)}):
        keys = {"env": Pair, "policies": {"x": spec}}
        (policy,) = make_policies(PPOConfig(**keys), PPO.default_policy, seed=1).values()
        assert policy.action_space.n == 2
    for wrong in ("x", {"acton_space": 1}):
        with pytest.raises(ConfigError, match=r"policies\['x'\] = .* neither None nor a PolicySp"):
            make_policies(PPOConfig(env=Pair, policies={"x": wrong}), PPO.default_policy, seed=1)


@pytest.mark.torch
def test_threads_are_limited_unless_they_are_to_be_left_alone():
    import torch

    before = torch.get_num_threads()
    try:
        limit_threads(2)
        limit_threads(None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_things_may_be_named_in_a_config():
    assert imported("collections:OrderedDict").__name__ == "OrderedDict"
    assert imported(len) is len
    for name in ("collections:Nothing", "no_such_module:x", "CartPole-v1"):
        with pytest.raises(ConfigError, match=f"'{name}' cannot be imported as 'module:name'"):
            imported(name)
