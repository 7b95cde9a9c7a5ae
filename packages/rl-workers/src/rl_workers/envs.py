"""Environments by id, `module:Class`, class, callable or registered name."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import gymnasium as gym

from rl_workers.errors import EnvError
from rl_workers.multi_agent_env import MultiAgentEnv
from rl_workers.vector_envs import check_api

EnvSpec: TypeAlias = "str | type | Callable[[EnvContext], Any]"

_CREATORS: dict[str, Callable[[EnvContext], Any]] = {}
_CONTEXT_NAMES = ("config", "env_config", "context", "env_context", "ctx")


class UnknownEnvError(ValueError):
    """An id that nobody has registered."""


class EnvContext(dict[str, Any]):
    """The env_config of one sub-environment, which also knows where it runs.

    Attributes:
        worker_index: 0 in the local worker, from 1 on in Ray workers.
        vector_index: the sub-environment's place in its worker.
        num_workers: how many Ray workers there are.
        remote: whether this runs in a Ray worker.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        worker_index: int = 0,
        vector_index: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(config or {})
        self.worker_index = worker_index
        self.vector_index = vector_index
        self.num_workers = num_workers
        self.remote = worker_index > 0

    def __reduce__(self) -> tuple[Any, ...]:
        return (EnvContext, (dict(self),), dict(vars(self)))


def register_env(name: str, creator: Callable[[EnvContext], Any]) -> None:
    """Let `env=name` mean `creator(EnvContext)`, here and in the workers started from here."""
    _CREATORS[name] = creator


def resolve_env(spec: EnvSpec) -> EnvSpec:
    """What to send to a worker: a registered name becomes its creator, the rest stays."""
    return _CREATORS.get(spec, spec) if isinstance(spec, str) else spec


def make_env(spec: EnvSpec, context: EnvContext) -> Any:
    """One environment, as `spec` says.

    Raises:
        ValueError: `spec` names nothing known; the nearest known names are told.
        EnvError: it could not be made.
    """
    make = _maker(resolve_env(spec), context)
    try:
        env = make()
    except UnknownEnvError:
        raise
    except Exception as e:
        raise EnvError(_why_not(spec, context, e)) from e
    if env is None:
        raise EnvError(f"env={spec!r} returned None; it has to return the environment it makes.")
    return env


def _maker(spec: EnvSpec, context: EnvContext) -> Callable[[], Any]:
    """What makes the environment when it is called."""
    if isinstance(spec, str):
        target = _import(spec)
        if target is None:
            return partial(_make_by_id, gym.make, spec, disable_env_checker=True, **context)
        spec = target
    if not callable(spec):
        made = "an environment that was made already, but each worker makes its own"
        what = made if hasattr(spec, "step") else "neither a name, a class nor a callable"
        raise ValueError(
            f"env={spec!r} is {what}. Give a Gymnasium id, 'module:Class', a class, or a function "
            "that takes an EnvContext and returns an env."
        )
    if inspect.isclass(spec) and not _takes_context(spec):
        return partial(spec, **context)
    return partial(spec, context)


def _why_not(spec: EnvSpec, context: EnvContext, error: Exception) -> str:
    """What made an environment's constructor fail, and what it is called with."""
    hint = ""
    if isinstance(error, TypeError) and inspect.isfunction(spec):
        hint = ". A function is called with one argument, the EnvContext: lambda config: MyEnv()"
    elif isinstance(error, TypeError | KeyError):
        hint = ". env_config holds the arguments of its constructor"
    return (
        f"env={spec!r} could not be made with env_config={dict(context)}: "
        f"{type(error).__name__}: {error}{hint}"
    )


def env_spaces(spec: EnvSpec, config: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
    """(observation space, action space) of an environment, made once and closed to find out.

    A MultiAgentEnv gives a mapping {agent: space} for each.
    """
    env = make_env(spec, EnvContext(config))
    try:
        if isinstance(env, MultiAgentEnv):
            return dict(env.observation_spaces), dict(env.action_spaces)
        if isinstance(env, gym.vector.VectorEnv):
            return env.single_observation_space, env.single_action_space
        check_api(env, f"env={spec!r}")
        return env.observation_space, env.action_space
    finally:
        getattr(env, "close", bool)()


def make_vector_env(
    spec: EnvSpec, context: EnvContext, num_envs: int
) -> gym.vector.VectorEnv[Any, Any, Any]:
    """The environment's own vectorised version (its `vector_entry_point`).

    Raises:
        ValueError: it has none.
    """
    env_id = resolve_env(spec)
    if not isinstance(env_id, str) or _import(env_id) is not None:
        raise ValueError(f"vectorize=True needs a Gymnasium id, not {spec!r}. Leave it False.")
    registered = gym.registry.get(env_id)
    if registered is not None and registered.vector_entry_point is None:
        raise ValueError(
            f"{env_id!r} has no vectorised version of its own (vector_entry_point). "
            "Leave vectorize=False: its copies are then stepped one after the other."
        )
    env: gym.vector.VectorEnv[Any, Any, Any] = _make_by_id(
        gym.make_vec, env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **context
    )
    return env


def _make_by_id(make: Callable[..., Any], env_id: str, **kwargs: Any) -> Any:
    """`gym.make` or `gym.make_vec`, which name the nearest ids when there is no such one."""
    try:
        return make(env_id, **kwargs)
    except (gym.error.NameNotFound, gym.error.NamespaceNotFound, gym.error.VersionNotFound) as e:
        known = [*gym.registry, *_CREATORS]
        near = difflib.get_close_matches(env_id, known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UnknownEnvError(
            f"There is no environment {env_id!r}.{hint} Known are Gymnasium ids, names given to "
            "register_env, 'module:Class', classes and callables."
        ) from e


def _import(spec: str) -> Any | None:
    """The object that `module:Class` names, or None where `spec` is an id."""
    module_name, colon, attribute = spec.partition(":")
    if not colon:
        return None
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as e:
        raise ValueError(f"env={spec!r}: there is no module {module_name!r} to import.") from e
    if attribute in gym.registry:
        return None
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(attribute, dir(module), n=1)
        hint = f" Did you mean {module_name}:{near[0]}?" if near else ""
        raise ValueError(f"env={spec!r}: module {module_name!r} has no {attribute!r}.{hint}")
    return getattr(module, attribute)


def _takes_context(cls: type) -> bool:
    """Whether a class wants the EnvContext itself, as RLlib's do, rather than keyword arguments."""
    parameters = [
        p
        for p in inspect.signature(cls).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return bool(parameters) and parameters[0].name in _CONTEXT_NAMES
