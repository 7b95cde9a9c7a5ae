"""Definitions, variants and what a config becomes: policies, workers, threads."""

from __future__ import annotations

import logging

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from tiny_trainers import TF, TF2, TORCH

from rl_algos import PPO, CheckpointError, ConfigError, PPOConfig, TrainerConfig, build_trainer
from rl_algos.acting import act_for_agents
from rl_algos.frameworks import limit_threads
from rl_algos.presets import resolve_config
from rl_algos.setup import PACKAGES, imported, make_policies
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
        limit_threads("torch", 2)
        limit_threads("torch", None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_things_may_be_named_in_a_config():
    assert imported("collections:OrderedDict").__name__ == "OrderedDict"
    assert imported(len) is len
    for name in ("collections:Nothing", "no_such_module:x", "CartPole-v1"):
        with pytest.raises(ConfigError, match=f"'{name}' cannot be imported as 'module:name'"):
            imported(name)


# ----------------------------------------------------------------------- acting

LSTM = {"use_lstm": True, "lstm_cell_size": 4, "max_seq_len": 8}


@pytest.mark.parametrize("keys", [TORCH, TF])
def test_a_recurrent_policy_carries_its_state_from_action_to_action(keys):
    more = {"lstm_use_prev_action": True, "lstm_use_prev_reward": True}
    with PPO({**TINY, **LSTM, **more, "seed": 1, **keys}) as trainer:
        trainer.train()
        policy = trainer.get_policy()
        obs = np.float32([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
        state = policy.get_initial_state()
        previous = {"prev_action": 1, "prev_reward": 2.0}
        action, after = trainer.compute_single_action(obs[0], state, explore=False, **previous)
        assert action in (0, 1)
        assert [s.shape for s in after] == [(4,), (4,)]
        assert any(np.any(a != b) for a, b in zip(after, state, strict=True))
        _, other = trainer.compute_single_action(obs[0], state, explore=False, prev_action=0)
        assert not np.array_equal(other[0], after[0])
        # The same by batches, as arrays and as a list, and by agents.
        batched = tuple(np.stack([s, s]) for s in state)
        many = {"prev_action": np.array([1, 1]), "prev_reward": [2.0, 2.0]}
        for given in (obs, list(obs)):
            actions, states = trainer.compute_actions(given, batched, explore=False, **many)
            assert actions[0] == action
            np.testing.assert_allclose(states[0][0], after[0], rtol=1e-6)
        of_agents = {"x": obs[0], "y": obs[1], "new": obs[0]}
        by_agent = {name: {"x": v, "y": v} for name, v in previous.items()}
        actions, states = trainer.compute_actions(
            of_agents, {"x": state, "y": state}, explore=False, **by_agent
        )
        assert list(actions) == list(states) == ["x", "y", "new"]
        np.testing.assert_allclose(states["x"][0], after[0], rtol=1e-6)
        _, fresh = trainer.compute_single_action(obs[0], state, explore=False)
        np.testing.assert_allclose(states["new"][0], fresh[0], rtol=1e-6)
        assert isinstance(trainer.compute_actions(of_agents), dict)  # no state, none back


@pytest.mark.torch
def test_the_action_before_is_given_as_the_environment_took_it():
    keys = {**TINY, **LSTM, "env": "Pendulum-v1", "lstm_use_prev_action": True, "seed": 1}
    with PPO(keys) as trainer:
        policy, obs = trainer.get_policy(), np.zeros(3, np.float32)
        state = policy.get_initial_state()
        _, after = trainer.compute_single_action(obs, state, prev_action=np.float32([2.0]))
        # Torques go from -2 to 2, the policy deals in -1 to 1.
        _, raw, _ = policy.compute_single_action(obs, state, prev_action=np.float32([1.0]))
        np.testing.assert_array_equal(after[0], raw[0])
        _, many = trainer.compute_actions({"a": obs}, {"a": state}, prev_action={"a": [2.0]})
        np.testing.assert_array_equal(many["a"][0], raw[0])


class Masked(gym.Env):
    """Only the action that the mask allows is legal; the mask is part of the observation."""

    def __init__(self):
        self.action_space = Discrete(3)
        spaces = {"action_mask": Box(0, 1, (3,), np.int8), "x": Box(-1.0, 1.0, (2,), np.float32)}
        self.observation_space = gym.spaces.Dict(spaces)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._t = 0
        return self._obs(), {}

    def step(self, action):
        assert action == self._allowed, "an illegal action"
        self._t += 1
        return self._obs(), 1.0, self._t == 5, False, {}

    def _obs(self):
        self._allowed = int(self.np_random.integers(3))
        mask = np.eye(3, dtype=np.int8)[self._allowed]
        return {"action_mask": mask, "x": np.zeros(2, np.float32)}


class MaskedInInfos(Masked):
    """The mask comes in the infos."""

    def __init__(self):
        super().__init__()
        self.observation_space = self.observation_space["x"]

    def reset(self, *, seed=None, options=None):
        obs, _ = super().reset(seed=seed)
        return obs["x"], {"action_mask": obs["action_mask"]}

    def step(self, action):
        obs, *rest, _ = super().step(action)
        return obs["x"], *rest, {"action_mask": obs["action_mask"]}


@pytest.mark.parametrize("keys", [TORCH, TF, TF2])
def test_masks_in_infos_hold_in_training_and_evaluation(keys):
    with PPO({**TINY, "env": MaskedInInfos, "evaluation_interval": 1, **keys}) as trainer:
        for _ in range(2):
            result = trainer.train()
        assert result["episode_len_mean"] == result["evaluation"]["episode_len_mean"] == 5
        stats = result["info"]["learner"]["default_policy"]["learner_stats"]
        assert stats["entropy"] == pytest.approx(0, abs=1e-6)  # there was never a choice


@pytest.mark.parametrize("keys", [TORCH, TF])
def test_masks_hold_in_training_evaluation_and_for_users(keys):
    with PPO({**TINY, "env": Masked, **keys}) as trainer:
        trainer.train()
        assert trainer.evaluate()["evaluation"]["episode_len_mean"] == 5
        env = Masked()
        obs, _ = env.reset(seed=1)
        for _ in range(4):
            obs, *_ = env.step(trainer.compute_single_action(obs, explore=True))
        batch = {"action_mask": np.eye(3, dtype=np.int8), "x": np.zeros((3, 2), np.float32)}
        assert trainer.compute_actions(batch).tolist() == [0, 1, 2]  # a Dict space, no agents
        each = [{k: v[i] for k, v in batch.items()} for i in range(3)]
        assert trainer.compute_actions(dict(enumerate(each))) == {0: 0, 1: 1, 2: 2}
    with PPO({**TINY, **keys}) as trainer:
        obs = np.zeros((2, 4), np.float32)
        for mask in ([1, 0], [0, 1]):
            only = mask.index(1)
            assert trainer.compute_single_action(obs[0], action_mask=mask) == only
            assert trainer.compute_actions(obs, action_mask=[mask] * 2).tolist() == [only] * 2
            chosen = trainer.compute_actions({"a": obs[0]}, action_mask={"a": mask})
            assert chosen == {"a": only}


@pytest.mark.torch
def test_agents_act_with_the_policies_that_they_play():
    keys = {
        "env": Pair,
        "preset": None,
        "policies": {"a": None, "b": None},
        "policy_mapping_fn": lambda agent, eps_id, worker: agent,
    }
    policies = make_policies(PPOConfig(**keys), PPO.default_policy, seed=1)
    obs = {agent: np.zeros(2, np.float32) for agent in ("a", "b")}
    found = act_for_agents(
        policies.__getitem__, obs, None, explore=False,
        prev_action=None, prev_reward=None, action_mask={"b": [0, 0, 1]},
    )  # fmt: skip
    assert list(found) == ["a", "b"]
    assert found["b"] == 2


# ------------------------------------------------------------------ going on


@pytest.mark.torch
def test_schedules_go_on_where_they_were(tmp_path):
    # 32 steps an iteration: after k iterations the last update was at 32 k steps.
    schedules = {
        "lr_schedule": [(0, 0.01), (320, 0.0)],
        "clip_param_schedule": [(0, 0.4), (320, 0.2)],
        "entropy_coeff_schedule": [(0, 0.0), (320, 1.0)],
        "vf_loss_coeff_schedule": [(0, 1.0), (320, 0.5)],
    }

    def coeffs(trainer):
        return dict(trainer.get_policy().coeffs)

    with PPO({**TINY, **schedules, "seed": 1}) as trainer:
        for _ in range(3):
            trainer.train()
        path, at_save = trainer.save(tmp_path), coeffs(trainer)
        trainer.train()
        after = coeffs(trainer)
    assert at_save["lr"] == pytest.approx(0.01 * (1 - 96 / 320))
    assert after["lr"] == pytest.approx(0.01 * (1 - 128 / 320))
    assert after["clip_param"] == pytest.approx(0.4 - 0.2 * 128 / 320)
    assert after["entropy_coeff"] == pytest.approx(128 / 320)
    assert after["vf_loss_coeff"] == pytest.approx(1 - 0.5 * 128 / 320)
    with PPO.from_checkpoint(path) as trainer:
        assert coeffs(trainer) == at_save
        trainer.train()
        assert coeffs(trainer) == after


@pytest.mark.torch
def test_the_last_result_is_kept_and_time_adds_up():
    with PPO(TINY) as trainer:
        assert trainer.last_result is None
        first = trainer.train()
        second = trainer.train()
        assert trainer.last_result is second
        assert second["time_total_s"] == pytest.approx(
            first["time_total_s"] + second["time_this_iter_s"]
        )


@pytest.mark.torch
def test_stopping_closes_the_environments_of_evaluation_too():
    closed = []

    class Closing(Masked):
        def close(self):
            closed.append(self)

    with PPO({**TINY, "env": Closing, "evaluation_interval": 1, "evaluation_duration": 3}):
        assert len(closed) == 1  # the one that was asked for its spaces
    assert len(closed) == 1 + 3 + 8


# ------------------------------------------------------------------- logging


@pytest.fixture
def levels():
    """Levels of our loggers, given back as they were."""
    before = {name: logging.getLogger(name).level for name in PACKAGES}
    yield before
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.torch
def test_the_log_level_is_that_of_our_loggers_only(levels, caplog):
    root = logging.getLogger().level
    with PPO({**TINY, "log_level": "INFO", "evaluation_duration": 2}) as trainer:
        trainer.evaluate()
    assert {logging.getLogger(name).level for name in PACKAGES} == {logging.INFO}
    assert logging.getLogger().level == root
    assert "evaluation of iteration 0: episode_reward_mean" in caplog.text


@pytest.mark.torch
def test_without_a_log_level_logging_is_left_alone(levels):
    logging.getLogger("rl_algos").setLevel("DEBUG")
    PPO(TINY).stop()
    assert logging.getLogger("rl_algos").level == logging.DEBUG
