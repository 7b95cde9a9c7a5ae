"""Evaluation: beside training and without a trace in it, and of checkpoints."""

from __future__ import annotations

import random
from importlib import import_module

import gymnasium as gym
import numpy as np
import pytest
from tiny_trainers import COUNTER, TINY

from rl_algos import PPO, CheckpointError, ConfigError, PPOConfig, TrainerConfig, evaluate
from rl_algos.config import EVALUATION_KEYS, evaluation_keys, validated
from rl_algos.evaluation import evaluation_seed, summary
from rl_algos.keys import key_index
from rl_sample.protocols import EpisodeRecord
from rl_workers import Callbacks, EnvError, MultiAgentEnv


class Dice(gym.Env):
    """Pays what a seeded die shows; also draws from the process's global generators, as many do."""

    made = 0

    def __init__(self, sides=6, length=3):
        self.observation_space = gym.spaces.Box(0.0, 1.0, (4,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self._sides, self._length = sides, length
        Dice.made += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._t = 0
        return self._seen(), {}

    def step(self, action):
        self._t += 1
        reward = float(self.np_random.integers(1, self._sides + 1))
        return self._seen(), reward, False, self._t >= self._length, {}

    def _seen(self):
        # Global generators: what an evaluation draws here, training must not miss.
        return np.float32([np.random.random(), random.random(), 0.5, 0.5])


class Pair(MultiAgentEnv):
    """Two agents that see and do different things, for two steps."""

    def __init__(self, wide=False):
        box = gym.spaces.Box(-1.0, 1.0, (3 if wide else 2,), np.float32)
        self.observation_spaces = {"a": box, "b": gym.spaces.Box(-1.0, 1.0, (4,), np.float32)}
        self.action_spaces = {"a": gym.spaces.Discrete(2), "b": gym.spaces.Discrete(2)}

    def reset(self, *, seed=None, options=None):
        self._t = 0
        return self._seen(), {}

    def step(self, actions):
        self._t += 1
        over = {"__all__": self._t == 2}
        return self._seen(), {"a": 1.0, "b": 2.0}, over, {"__all__": False}, {}

    def _seen(self):
        return {k: np.zeros(s.shape, np.float32) for k, s in self.observation_spaces.items()}


def own(agent_id, eps_id, worker_index):
    return agent_id


class Length(Callbacks):
    """A custom metric of every episode; remembers what kind of worker told it."""

    def on_episode_end(self, *, episode, **_):
        episode.custom_metrics["length"] = episode.length


KEYS = {"env": Dice, "preset": None, "train_batch_size": 32, "seed": 3}
PPO_KEYS = {**KEYS, "sgd_minibatch_size": 16, "num_sgd_iter": 1}


def history(definition, keys, iterations=5):
    """Everything that training made, and the results without evaluations and timings."""
    np.random.seed(1)
    random.seed(1)
    with definition(keys) as trainer:
        results = [trainer.train() for _ in range(iterations)]
        timed = ("evaluation", "timers", "time_this_iter_s", "time_total_s")
        learner = {k: v for k, v in trainer.get_policy().state_dict().items() if k != "inference"}
        sampler = trainer.workers.local_worker.input
        return (
            [{k: v for k, v in result.items() if k not in timed} for result in results],
            learner,
            sampler.next().batch.arrays,
            [result.get("evaluation") for result in results],
        )


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b)


@pytest.mark.torch
def test_training_with_evaluation_is_bit_for_bit_training_without():
    keys = {**PPO_KEYS, "observation_filter": "MeanStdFilter"}
    plain = history(PPO, keys)
    more = {"evaluation_interval": 2, "evaluation_duration": 4, "num_envs_per_worker": 8}
    evaluated = history(PPO, {**keys, **more})
    for one, other in zip(plain[:3], evaluated[:3], strict=True):
        assert same(one, other)
    assert plain[3] == [None] * 5
    assert [e and e["training_iteration"] for e in evaluated[3]] == [None, 2, None, 4, None]


@pytest.mark.torch
def test_a_resumed_training_is_evaluated_as_one_that_was_not_interrupted(tmp_path):
    keys = {**PPO_KEYS, "env": "CartPole-v1", "evaluation_interval": 2}
    with PPO(keys) as trainer:
        results = [trainer.train() for _ in range(3)]
        path = trainer.save(tmp_path)
        results.append(trainer.train())
    with PPO.from_checkpoint(path) as trainer:
        again = trainer.train()["evaluation"]
    assert again["hist_stats"] == results[3]["evaluation"]["hist_stats"]
    assert again["training_iteration"] == 4


@pytest.mark.parametrize(
    ("framework", "more"),
    [
        pytest.param("torch", {}, marks=pytest.mark.torch),
        pytest.param("torch", {"custom_model": "torch_nets:Small"}, marks=pytest.mark.torch),
        pytest.param("tf", {}, marks=pytest.mark.tensorflow),
        pytest.param("tf", {"custom_model": "tf_nets:Small"}, marks=pytest.mark.tensorflow),
    ],
)
def test_networks_in_the_framework_evaluate_without_a_trace_too(framework, more):
    import_module(f"rl_policy.{framework}")  # which draws from the generators that Dice reads
    keys = {**PPO_KEYS, "inference": "framework", "framework": framework, **more}
    plain, evaluated = history(PPO, keys), history(PPO, {**keys, "evaluation_interval": 1})
    assert same(plain[:3], evaluated[:3])


def test_figures_are_over_exactly_the_episodes_that_were_played():
    found = summary(
        [
            EpisodeRecord(1, 0, 0, 10, {"agent": 1.0}, custom={"hits": 2.0}),
            EpisodeRecord(2, 1, 0, 20, {"agent": 4.0}, custom={"hits": 4.0}),
        ]
    )
    assert found["episode_reward_mean"] == 2.5
    assert (found["episode_reward_min"], found["episode_reward_max"]) == (1.0, 4.0)
    assert found["episode_len_mean"] == 15
    assert (found["episodes_this_iter"], found["timesteps_this_iter"]) == (2, 30)
    assert found["custom_metrics"]["hits_mean"] == 3.0
    assert found["hist_stats"]["episode_reward"] == [1.0, 4.0]


def test_a_trainer_evaluates_when_it_is_asked_to():
    with COUNTER({**KEYS, "callbacks": Length}) as trainer:
        before = trainer.evaluate()["evaluation"]
        assert before == {
            **trainer.evaluate()["evaluation"],
            "time_this_iter_s": before["time_this_iter_s"],
        }
        assert (before["training_iteration"], before["explore"]) == (0, False)
        assert (before["episodes_this_iter"], before["timesteps_this_iter"]) == (10, 30)
        assert before["custom_metrics"]["length_mean"] == 3.0
        assert "evaluation" not in trainer.train()
        after = trainer.evaluate()["evaluation"]
        assert after["training_iteration"] == 1
        assert after["hist_stats"] != before["hist_stats"]  # other seeds


def test_the_seed_of_an_evaluation_is_its_own():
    seeds = {evaluation_seed(seed, iteration) for seed in range(20) for iteration in range(20)}
    assert len(seeds) == 400
    assert not seeds & set(range(20))


def test_timesteps_are_rounded_up_to_whole_episodes():
    more = {"evaluation_duration": 20, "evaluation_duration_unit": "timesteps"}
    with COUNTER({**KEYS, **more, "num_envs_per_worker": 4}) as trainer:
        found = trainer.evaluate()["evaluation"]
    assert (found["timesteps_this_iter"], found["episodes_this_iter"]) == (24, 8)  # 4 x 6 >= 20


def test_other_keys_hold_while_evaluating():
    more = {
        "env_config": {"sides": 1, "length": 2},
        "evaluation_config": {"env_config": {"length": 5}, "explore": True, "callbacks": [Length]},
    }
    with COUNTER({**KEYS, **more}) as trainer:
        found = trainer.evaluate()["evaluation"]
        assert trainer.train()["hist_stats"]["episode_lengths"][0] == 2
    assert found["hist_stats"]["episode_reward"] == [5.0] * 10  # one side, five throws
    assert found["explore"] is True
    assert found["custom_metrics"]["length_max"] == 5.0


def test_environments_are_made_once_and_no_more_of_them_than_episodes():
    Dice.made = 0
    with COUNTER({**KEYS, "evaluation_interval": 1, "evaluation_duration": 2}) as trainer:
        before = Dice.made
        assert before == 8 + 2 + 1  # training, evaluation, and one to see the spaces of
        for _ in range(3):
            trainer.train()
        assert Dice.made == before


def test_an_evaluation_that_cannot_start_stops_the_trainer_at_once():
    class Broken(Dice):
        def __init__(self, broken=False):
            if broken:
                raise OSError("no display")
            super().__init__()

    more = {"evaluation_config": {"env_config": {"broken": True}}}
    with pytest.raises(EnvError, match="no display"):
        COUNTER({**KEYS, **more, "env": Broken, "evaluation_interval": 1})
    with COUNTER({**KEYS, **more, "env": Broken}) as trainer:  # nobody asks for one
        trainer.train()


def test_an_environment_that_breaks_in_an_evaluation_is_named():
    class Breaks(Dice):
        def __init__(self, at=10**9):
            super().__init__()
            self._at = at

        def step(self, action):
            if self._t == self._at:
                raise RuntimeError("lost a die")
            return super().step(action)

    keys = {**KEYS, "env": Breaks, "evaluation_config": {"env_config": {"at": 1}}}
    with (
        COUNTER(keys) as trainer,
        pytest.raises(EnvError, match="evaluation, worker 0, env 0.*lost"),
    ):
        trainer.evaluate()


# ------------------------------------------------------------------ checkpoints


@pytest.mark.torch
@pytest.mark.parametrize("env", [Dice, "CartPole-v1"])
def test_a_checkpoint_plays_as_its_trainer_does(tmp_path, env):
    keys = {**PPO_KEYS, "env": env, "observation_filter": "MeanStdFilter", "callbacks": Length}
    with PPO(keys) as trainer:
        trainer.train()
        path = trainer.save(tmp_path)
        own = trainer.evaluate()["evaluation"]
        assert evaluate(trainer)["hist_stats"] == own["hist_stats"]
    found = evaluate(path)
    assert found.keys() == own.keys()
    assert found["hist_stats"] == own["hist_stats"]
    assert found["custom_metrics"] == own["custom_metrics"]
    assert evaluate(tmp_path, 3)["episodes_this_iter"] == 3  # the newest of a directory
    assert evaluate(path, seed=4)["hist_stats"] != own["hist_stats"]
    assert evaluate(path, seed=4) | {"time_this_iter_s": 0} == (
        evaluate(path, seed=4) | {"time_this_iter_s": 0}
    )


@pytest.mark.torch
def test_a_checkpoint_plays_in_an_environment_that_fits(tmp_path):
    with PPO(PPO_KEYS) as trainer:
        path = trainer.save(tmp_path)
    found = evaluate(path, 2, env_config={"sides": 1, "length": 7}, explore=True)
    assert found["hist_stats"]["episode_reward"] == [7.0, 7.0]
    assert found["explore"] is True
    assert evaluate(path, 1, env="CartPole-v1")["episodes_this_iter"] == 1
    message = r"trained on observations Box\(.*\(4,\).*env='Pendulum-v1' has Box\(.*\(3,\)"
    with pytest.raises(ConfigError, match=message):
        evaluate(path, 1, env="Pendulum-v1")


@pytest.mark.torch
def test_what_could_not_be_stored_is_asked_for_where_it_is_needed(tmp_path):
    keys = {**PPO_KEYS, "env": lambda context: Dice(), "sampler_class": None}
    with PPO(keys) as trainer:
        path = trainer.save(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"could not store \['env'\].* evaluate\(path, env=…\)"
    ):
        evaluate(path)
    assert evaluate(path, 1, env=Dice)["episodes_this_iter"] == 1


@pytest.mark.torch
def test_several_agents_are_evaluated_together(tmp_path):
    keys = {**PPO_KEYS, "env": Pair, "policies": {"a": None, "b": None}, "policy_mapping_fn": own}
    with PPO(keys) as trainer:
        trainer.train()
        path = trainer.save(tmp_path)
        found = trainer.evaluate()["evaluation"]
    assert found["policy_reward_mean"] == {"a": 2.0, "b": 4.0}
    assert evaluate(path)["policy_reward_mean"] == {"a": 2.0, "b": 4.0}
    with pytest.raises(ConfigError, match="'a' was trained on observations"):
        evaluate(path, env_config={"wide": True})


def test_policies_without_a_network_are_made_again(tmp_path):
    with COUNTER({**TINY, "seed": 1}) as trainer:
        trainer.train()
        path = trainer.save(tmp_path)
        own = trainer.evaluate()["evaluation"]
    assert evaluate(path, algorithm=COUNTER)["hist_stats"] == own["hist_stats"]
    with pytest.raises(ConfigError, match="no algorithm 'Counter'"):
        evaluate(path)


@pytest.mark.parametrize("episodes", [0, -1, 2.5, "ten", True, None])
def test_a_number_of_episodes_is_asked_for(episodes):
    with pytest.raises(ConfigError, match=f"episodes={episodes!r} is a number of episodes"):
        evaluate("nowhere", episodes)


def test_where_there_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        evaluate(tmp_path)
    message = "cannot hold 'num_envs': did you mean 'num_envs_per_worker'"
    with COUNTER(TINY) as trainer, pytest.raises(ConfigError, match=message):
        evaluate(trainer, num_envs=3)


# ----------------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"evaluation_interval": 0}, "evaluation_interval = 0: .*greater than 0"),
        ({"evaluation_duration": 0}, "evaluation_duration = 0: .*greater than 0"),
        ({"evaluation_duration_unit": "steps"}, "'steps'.*'episodes' or 'timesteps'"),
        ({"evaluation_num_workers": -1}, "evaluation_num_workers = -1"),
        ({"evaluation_intervall": 1}, "did you mean 'evaluation_interval'"),
        ({"evaluation_interval": 1, "env": None}, "needs an environment.*set env"),
        (
            {"evaluation_parallel_to_training": True, "evaluation_interval": 1},
            "evaluation_num_workers=0 evaluates in the process that trains.*at least 1",
        ),
        (
            {"evaluation_parallel_to_training": True, "evaluation_num_workers": 1},
            "nothing is evaluated while training: set evaluation_interval",
        ),
        ({"evaluation_config": {"explor": True}}, "cannot hold 'explor': did you mean 'explore'"),
        ({"evaluation_config": {"num_workers": 1}}, "set evaluation_num_workers itself"),
        ({"evaluation_config": {"evaluation_duration": 1}}, "set evaluation_duration itself"),
        ({"evaluation_config": {"lr": 1.0}}, "'lr': it changes nothing while evaluating"),
        ({"evaluation_config": {"clip_param": 1.0}}, "'clip_param': it changes nothing"),
        ({"evaluation_config": {"xyzzy": 1.0}}, "cannot hold 'xyzzy': keys: env, env_config"),
        ({"evaluation_config": {"explore": "maybe"}}, "evaluation_config: explore = 'maybe'"),
        ({"evaluation_config": {"num_envs_per_worker": 0}}, "num_envs_per_worker = 0"),
        ({"evaluation_config": 3}, "evaluation_config = 3"),
    ],
)
def test_evaluation_keys_that_cannot_be_meant(keys, message):
    with pytest.raises(ConfigError, match=message):
        validated(PPOConfig, {"env": "CartPole-v1", **keys})


def test_what_holds_while_evaluating():
    assert set(EVALUATION_KEYS) <= key_index(TrainerConfig).keys()
    config = PPOConfig(env="CartPole-v1", env_config={"a": 1, "b": 2}, seed=7)
    found = evaluation_keys(config.flat(), {"env_config": {"b": 3}})
    assert (found["env"], found["env_config"]) == ("CartPole-v1", {"a": 1, "b": 3})
    assert (found["explore"], found["seed"]) == (False, None)
    assert evaluation_keys(config.flat(), {"explore": True, "seed": 5})["seed"] == 5
