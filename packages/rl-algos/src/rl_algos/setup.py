"""From a config to policies and rollout workers."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from rl_algos.config import TrainerConfig, fragment_length
from rl_algos.frameworks import limit_threads, resolved
from rl_algos.keys import ConfigError
from rl_policy import DEFAULT_POLICY_CONFIG, PolicyDefinition, PolicySpec
from rl_sample.protocols import DEFAULT_POLICY_ID, Learner
from rl_workers import Callbacks, WorkerSet, env_spaces

PACKAGES = ("rl_sample", "rl_policy", "rl_workers", "rl_algos", "rl_serve")
"""Whose log messages `log_level` is about."""


def make_policies(config: TrainerConfig, default_policy: Any, seed: int) -> dict[str, Learner]:
    """The policies of a config, each for the spaces of the agents that play it.

    Each starts from weights of its own, the first one from those that `seed` alone gives.

    Raises:
        ConfigError: a policy's spaces are neither given nor the same for all of its agents.
    """
    environment, multi = config.environment, config.multiagent
    spaces = env_spaces(environment.env, environment.env_config)
    specs = multi.policies or {DEFAULT_POLICY_ID: None}
    policies = {}
    for index, (policy_id, given) in enumerate(specs.items()):
        spec = _spec(policy_id, given)
        found = _spaces(policy_id, spec, spaces, imported(multi.policy_mapping_fn))
        keys = {**config.policy_keys(), "seed": _seed(seed, index)}
        make, keys = _accepting(spec.policy_class or default_policy, keys)
        keys = {**keys, **spec.config}
        if isinstance(make, PolicyDefinition):  # threads can be told before it computes only
            name = resolved(make.framework or keys["framework"])
            limit_threads(name, config.resources.num_cpus_for_driver)
        policies[policy_id] = make(*found, keys)
    return policies


def make_workers(config: TrainerConfig, policies: Mapping[str, Learner], seed: int) -> WorkerSet:
    """The rollout workers that a config asks for."""
    environment, workers, multi = config.environment, config.workers, config.multiagent
    return WorkerSet(
        environment.env,
        policies,
        num_workers=workers.num_workers,
        policy_mapping_fn=imported(multi.policy_mapping_fn),
        policies_to_train=multi.policies_to_train,
        callbacks=callbacks_of(workers.callbacks),
        num_cpus_per_worker=config.resources.num_cpus_per_worker,
        rollout_fragment_length=fragment_length(config),
        num_envs_per_worker=workers.num_envs_per_worker,
        batch_mode=workers.batch_mode,
        env_config=environment.env_config,
        vectorize=workers.vectorize,
        explore=config.exploration.explore,
        seed=seed,
        inference=workers.inference,
        sampler_class=imported(workers.sampler_class),
    )


def callbacks_of(value: Any) -> Any:
    """Callback classes from what a config holds: a class or `module:Class`, or several of them.

    Raises:
        ConfigError: it is nothing of this.
    """
    found = [imported(v) for v in value] if isinstance(value, list | tuple) else imported(value)
    for each in found if isinstance(found, list) else [found]:
        is_class = isinstance(each, type) and issubclass(each, Callbacks)
        if not (each is None or is_class or isinstance(each, Callbacks)):
            raise ConfigError(
                f"callbacks: {each!r} is not a subclass of rl_workers.Callbacks. Give such a "
                "class, its name as 'module:Class', or a list of them"
            )
    return found


def set_log_level(level: str | None) -> None:
    """Let messages of our packages through from `level` on, to stderr if nobody else listens."""
    if level is None:
        return
    for name in PACKAGES:
        logging.getLogger(name).setLevel(level)
    if not logging.getLogger(__name__).hasHandlers():
        logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")


def imported(value: Any) -> Any:
    """What `module:name` names; anything that is not a string stays.

    Raises:
        ConfigError: it cannot be imported.
    """
    if not isinstance(value, str):
        return value
    module, _, name = value.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{value!r} cannot be imported as 'module:name': {error}") from error


def _spec(policy_id: str, given: Any) -> PolicySpec:
    """A policy's spec from what stands under `policies`: None, a PolicySpec, its fields."""
    if isinstance(given, PolicySpec):
        return given
    try:
        return PolicySpec(**(given or {}))
    except TypeError as error:
        raise ConfigError(
            f"policies[{policy_id!r}] = {given!r} is neither None nor a PolicySpec nor a dict of "
            f"its fields: {error}"
        ) from error


def _accepting(policy: Any, keys: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A policy that knows the algorithm's keys, so that its loss can read them; and the keys.

    A class of the user's own gets those that it declares.
    """
    if isinstance(policy, PolicyDefinition):
        defaults = {**keys, **policy.default_config()}
        return policy.with_updates(get_default_config=lambda: defaults), keys
    known = {**DEFAULT_POLICY_CONFIG, **getattr(policy, "default_config", {})}
    return policy, {key: value for key, value in keys.items() if key in known}


def _seed(seed: int, index: int) -> int:
    mixed = np.random.SeedSequence([seed, index]).generate_state(1)[0]
    return seed if index == 0 else int(mixed)


def _spaces(
    policy_id: str, spec: PolicySpec, spaces: tuple[Any, Any], mapping_fn: Any
) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """(observation space, action space) of a policy: as its spec says, else as the env's agents."""
    given = (spec.observation_space, spec.action_space)
    found = []
    for what, space, of_env in zip(("observation", "action"), given, spaces, strict=True):
        if space is None and isinstance(of_env, dict):  # a Dict space is a Mapping, too
            space = _shared_space(policy_id, f"{what}_space", of_env, mapping_fn)
        found.append(of_env if space is None else space)
    return found[0], found[1]


def _shared_space(
    policy_id: str, what: str, of_agents: Mapping[Any, Any], mapping_fn: Any
) -> gym.Space[Any]:
    """The one space that all agents of a policy have."""
    players = [a for a in of_agents if mapping_fn is None or mapping_fn(a, 0, 0) == policy_id]
    players = players or list(of_agents)
    first: gym.Space[Any] = of_agents[players[0]]
    for agent in players[1:]:
        if of_agents[agent] != first:
            raise ConfigError(
                f"policy {policy_id!r} is played by {players[0]!r} and {agent!r}, whose {what} "
                f"differs ({first} and {of_agents[agent]}): give PolicySpec({what}=…), or them "
                "policies of their own"
            )
    return first
