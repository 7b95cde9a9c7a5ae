"""Environments by id, path, class, callable and registered name."""

from __future__ import annotations

import pickle

import gymnasium as gym
import pytest

from rl_workers import EnvContext, EnvError, env_spaces, make_env, register_env
from rl_workers.envs import make_vector_env
from rl_workers.testing import CountingEnv, LeavingAgentsEnv


class Configured(CountingEnv):
    def __init__(self, config):
        super().__init__(config.get("max_length", 3))
        self.config = config


@pytest.mark.parametrize(
    "spec",
    ["rl_workers.testing:CountingEnv", CountingEnv, lambda context: CountingEnv(**context)],
)
def test_config_reaches_the_env(spec):
    env = make_env(spec, EnvContext({"max_length": 5}))
    assert isinstance(env, CountingEnv)
    assert env._max_length == 5


def test_a_class_with_a_config_parameter_gets_the_context():
    env = make_env(Configured, EnvContext({"max_length": 2}, worker_index=3, num_workers=4))
    assert (env.config.worker_index, env.config.num_workers, env.config.remote) == (3, 4, True)


def test_gymnasium_ids_and_registered_names():
    assert make_env("CartPole-v1", EnvContext()).spec.id == "CartPole-v1"
    register_env("counting", lambda context: CountingEnv(**context))
    assert isinstance(make_env("counting", EnvContext()), CountingEnv)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("CartPol-v1", "no environment 'CartPol-v1'. Did you mean 'CartPole-v1'"),
        ("rl_workers.testing:CountinEnv", "Did you mean rl_workers.testing:CountingEnv"),
        ("no_such_module:Env", "no module 'no_such_module'"),
        (3, "neither a name, a class nor a callable"),
    ],
)
def test_unknown_envs_are_told_the_nearest(spec, message):
    with pytest.raises(ValueError, match=message):
        make_env(spec, EnvContext())


def test_own_vectorised_version():
    env = make_vector_env("CartPole-v1", EnvContext(), 3)
    assert isinstance(env, gym.vector.VectorEnv)
    assert env.num_envs == 3
    with pytest.raises(ValueError, match="'Pendulum-v1' has no vectorised version"):
        make_vector_env("Pendulum-v1", EnvContext(), 3)
    with pytest.raises(ValueError, match="needs a Gymnasium id"):
        make_vector_env(CountingEnv, EnvContext(), 3)


def test_spaces_without_keeping_the_env():
    observation_space, action_space = env_spaces("CartPole-v1")
    assert observation_space.shape == (4,)
    assert action_space == gym.spaces.Discrete(2)
    assert set(env_spaces(LeavingAgentsEnv)[0]) == {"early", "late"}


def test_contexts_travel():
    context = EnvContext({"a": 1}, worker_index=2, vector_index=1, num_workers=2)
    copy = pickle.loads(pickle.dumps(context))
    assert copy == context
    assert vars(copy) == vars(context)


class Sized(gym.Env):
    def __init__(self, size):
        if size < 1:
            raise OSError("no such simulator")


@pytest.mark.parametrize(
    ("spec", "config", "message"),
    [
        (
            Sized,
            {},
            r"Sized.*env_config=\{\}: TypeError: .*'size'\. env_config holds the arguments",
        ),
        (Sized, {"size": 0}, "env_config={'size': 0}: OSError: no such simulator"),
        (lambda: Sized(1), {}, r"TypeError: .*called with one argument, the EnvContext: lambda"),
        (lambda config: Sized(config["size"]), {}, "KeyError: 'size'. env_config holds"),
        (lambda config: None, {}, "returned None"),
        ("CartPole-v1", {"length": 3}, r"'CartPole-v1' could not be made.*'length'"),
    ],
)
def test_an_environment_that_cannot_be_made_is_named(spec, config, message):
    with pytest.raises(EnvError, match=message):
        make_env(spec, EnvContext(config))


def test_an_environment_that_was_made_already_is_refused():
    env = gym.make("CartPole-v1")
    with pytest.raises(ValueError, match="made already, but each worker makes its own"):
        make_env(env, EnvContext())
