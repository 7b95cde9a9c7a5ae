"""Where an environment is, as plain data, and how to bring another one of its kind there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from rl_sample import flatten_nested, unflatten_nested
from rl_sample.protocols import Arrays

REPLAY_LIMIT = 100_000
"""Steps of an open episode beyond which it cannot be replayed: its actions are not kept."""

_PASSING = (
    gym.wrappers.OrderEnforcing,
    gym.wrappers.PassiveEnvChecker,
    gym.wrappers.TransformAction,
    gym.wrappers.TransformObservation,
    gym.wrappers.TransformReward,
)
"""Wrappers that remember nothing of the episode."""


class NotPlain(TypeError):
    """A value that is neither JSON nor a NumPy array; says where it lies."""


class NotRestored(ValueError):
    """An environment could not be brought to where it was; says why."""


def plain(value: Any, place: str) -> Any:
    """A deep copy of dicts, lists and tuples of JSON values and arrays; scalars become numbers.

    Raises:
        NotPlain: there is something else in it.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return np.array(value)
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            raise NotPlain(f"{place} has the key {odd[0]!r}, which is not a string")
        return {key: plain(item, f"{place}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise NotPlain(f"{place} is a {type(value).__name__}, neither JSON nor an array")


def same(a: Any, b: Any) -> bool:
    """Whether two nested values are equal, bit for bit."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        x, y = np.asarray(a), np.asarray(b)
        return x.shape == y.shape and x.tobytes() == y.astype(x.dtype).tobytes()
    return bool(a == b)


def find_generators(env: Any) -> dict[str, Any]:
    """The bit generators of NumPy that an environment and its wrappers hold as attributes."""
    return {
        f"{depth}.{name}": value.bit_generator
        for depth, layer in enumerate(_layers(env))
        for name, value in getattr(layer, "__dict__", {}).items()
        if isinstance(value, np.random.Generator)
    }


def saves_itself(env: Any) -> bool:
    """Whether `get_state` and `set_state` are there, and no wrapper around them keeps a state."""
    for layer in _layers(env):
        if callable(getattr(layer, "get_state", None)):
            return callable(getattr(layer, "set_state", None))
        if not isinstance(layer, (*_PASSING, gym.wrappers.TimeLimit)):
            return False
    return False


def env_state(env: Any, origin: Any, steps: int) -> dict[str, Any]:
    """What `restore_env` needs, beside the actions since the last reset.

    Args:
        env: with its wrappers.
        origin: what its last reset started from: a seed, or the states of its generators.
        steps: since that reset.

    Returns:
        JSON-able values and arrays, nested; `{"why": …}` where it cannot be restored.
    """
    after = _states(find_generators(env))
    if not saves_itself(env):
        if steps > REPLAY_LIMIT:
            why = f"its episode is {steps} steps long, and {REPLAY_LIMIT} are replayed at most"
            return {"why": why}
        return {"origin": origin, "after": after}
    try:
        saved = plain(_keeper(env).get_state(), "get_state()")
    except Exception as e:
        return {"why": f"get_state() gave nothing that can be stored ({e})"}
    elapsed = [layer._elapsed_steps for layer in _time_limits(env)]
    return {"own": saved, "elapsed": elapsed, "after": after}


def restore_env(
    env: Any, saved: Mapping[str, Any], actions: Iterable[Any]
) -> tuple[Any, list[Any], Any] | None:
    """Bring an environment that was reset before to where `env_state` was called.

    Args:
        env: with its wrappers.
        saved: what `env_state` gave.
        actions: those since its last reset.

    Returns:
        The last observation, all rewards and the last info where its episode was replayed; None
        where the environment was given its own state.

    Raises:
        NotRestored: it cannot be done, or did not come out as it was.
    """
    if "why" in saved:
        raise NotRestored(saved["why"])
    try:
        if "own" not in saved:
            return _replay(env, saved, actions)
        _keeper(env).set_state(plain(saved["own"], "the state"))
        for limit, elapsed in zip(_time_limits(env), saved["elapsed"], strict=True):
            limit._elapsed_steps = elapsed
        _set_generators(find_generators(env), saved["after"])
        return None
    except NotRestored:
        raise
    except Exception as e:
        raise NotRestored(f"restoring it raised {type(e).__name__}: {e}") from e


def stack_actions(actions: Sequence[Any]) -> dict[str, np.ndarray]:
    """Actions of one space, nested or not, as columns [T, …]."""
    rows = [flatten_nested("action", action) for action in actions]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}


def unstack_actions(columns: Arrays) -> list[Any]:
    """The actions that `stack_actions` stacked."""
    steps = len(next(iter(columns.values()), ()))
    return [
        unflatten_nested("action", {name: column[t] for name, column in columns.items()})
        for t in range(steps)
    ]


def _replay(
    env: Any, saved: Mapping[str, Any], actions: Iterable[Any]
) -> tuple[Any, list[Any], Any]:
    """Reset an environment as it was reset, do what was done, and see that luck was the same."""
    origin = saved["origin"]
    seed = None if isinstance(origin, Mapping) else int(origin)
    if seed is None:
        _set_generators(find_generators(env), origin)
    rewards: list[Any] = []
    obs, info = env.reset(seed=seed)
    for t, action in enumerate(actions, start=1):
        obs, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        if _is_over(terminated) or _is_over(truncated):
            raise NotRestored(f"replayed, its episode ended at step {t}")
    if not same(_states(find_generators(env)), saved["after"]):
        raise NotRestored("replayed, it drew other random numbers")
    return obs, rewards, info


def _layers(env: Any) -> Iterator[Any]:
    """An environment's wrappers, outermost first, and the environment itself."""
    while env is not None:
        yield env
        env = getattr(env, "__dict__", {}).get("env")


def _keeper(env: Any) -> Any:
    return next(layer for layer in _layers(env) if callable(getattr(layer, "get_state", None)))


def _time_limits(env: Any) -> list[Any]:
    return [layer for layer in _layers(env) if isinstance(layer, gym.wrappers.TimeLimit)]


def _states(generators: Mapping[str, Any]) -> dict[str, Any]:
    return {name: generator.state for name, generator in generators.items()}


def _set_generators(generators: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    if generators.keys() != states.keys():
        raise NotRestored(
            f"its random generators are {sorted(generators)}, those saved {sorted(states)}"
        )
    for name, generator in generators.items():
        generator.state = states[name]


def _is_over(flag: Any) -> bool:
    return bool(flag.get("__all__")) if isinstance(flag, Mapping) else bool(flag)
