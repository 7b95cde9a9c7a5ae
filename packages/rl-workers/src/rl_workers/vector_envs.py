"""Many copies of one environment behind one `step`: in a Python loop or in a Gymnasium VectorEnv.

Whatever the backend and its autoreset mode, the transitions are the same: an episode's last
observation is the true one, and the tick on which a NEXT_STEP environment only resets is not a
step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from rl_policy import check_obs, space_columns
from rl_sample import flatten_nested
from rl_sample.protocols import Arrays
from rl_workers.errors import EnvError, at

_NO_SLOTS = np.zeros(0, np.int64)


class Step(NamedTuple):
    """One tick of all sub-environments."""

    obs: Arrays
    """{name: [S, …]} what to act on next: after a reset where an episode ended."""
    rewards: np.ndarray
    """[S] float64, raw."""
    terminateds: np.ndarray
    """[S] bool."""
    truncateds: np.ndarray
    """[S] bool."""
    ended: np.ndarray
    """[E] int64, the sub-environments whose episode ended."""
    last_obs: Arrays
    """{name: [E, …]} their true last observations."""
    infos: Any
    """A list of info dicts, or Gymnasium's dict of arrays."""


class VectorEnv(Protocol):
    """What the sampler steps."""

    num_envs: int
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    live: np.ndarray | None
    """[S] bool, which sub-environments take an action in the next step; None: all."""
    envs: Sequence[Any]
    """The sub-environments where there are any to show, for callbacks."""

    def reset(self, seeds: list[int]) -> Arrays: ...

    def step(self, actions: Any) -> Step: ...

    def close(self) -> None: ...


class LocalEnvs:
    """Sub-environments stepped one after the other in this process."""

    live = None

    def __init__(self, envs: Sequence[gym.Env[Any, Any]], worker: int = 0) -> None:
        for i, env in enumerate(envs):
            check_api(env, at(worker, i))
        self.envs = envs
        self.num_envs = len(envs)
        self.observation_space = envs[0].observation_space
        self.action_space = envs[0].action_space
        self._worker = worker
        self._flat = isinstance(self.observation_space, gym.spaces.Box)
        self._nested_actions = isinstance(self.action_space, gym.spaces.Dict | gym.spaces.Tuple)
        self._buffers = obs_buffers(self.observation_space, self.num_envs)
        self._steps = [0] * self.num_envs

    def reset(self, seeds: list[int]) -> Arrays:
        """Start an episode in every sub-environment, the i-th seeded with `seeds[i]`."""
        for i, seed in enumerate(seeds):
            self._put(i, self._reset(i, seed), check=True)
        return self._buffers

    def step(self, actions: Any) -> Step:
        """Step every sub-environment; `actions` [S, …] or a nested structure of such arrays."""
        rewards = np.empty(self.num_envs)
        terminateds = np.zeros(self.num_envs, bool)
        truncateds = np.zeros(self.num_envs, bool)
        ended: list[int] = []
        last_obs: list[Arrays] = []
        infos: list[Any] = []
        buffer = self._buffers["obs"] if self._flat else None
        rows = unbatch(actions, self.num_envs) if self._nested_actions else actions
        i = 0
        try:
            for i, env in enumerate(self.envs):
                obs, reward, terminated, truncated, info = env.step(rows[i])
                self._steps[i] += 1
                rewards[i] = reward
                infos.append(info)
                if terminated or truncated:
                    terminateds[i], truncateds[i] = terminated, truncated
                    ended.append(i)
                    last_obs.append(self._last(i, obs))
                    obs = self._reset(i)
                if buffer is not None and getattr(obs, "shape", None) == buffer.shape[1:]:
                    buffer[i] = obs
                else:
                    self._put(i, obs)
        except EnvError:
            raise
        except Exception as e:
            raise EnvError(self._explain(i, rows[i], e)) from e
        return Step(
            self._buffers, rewards, terminateds, truncateds,
            np.array(ended, np.int64) if ended else _NO_SLOTS,
            {k: np.stack([o[k] for o in last_obs]) for k in self._buffers} if ended else {},
            infos,
        )  # fmt: skip

    def close(self) -> None:
        for env in self.envs:
            env.close()

    def _reset(self, i: int, seed: int | None = None) -> Any:
        self._steps[i] = 0
        try:
            result = self.envs[i].reset(seed=seed)
        except Exception as e:
            raise EnvError(f"{at(self._worker, i)}: reset() raised {type(e).__name__}: {e}") from e
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
            raise EnvError(
                f"{at(self._worker, i)}: reset() returned {show(result)}; the Gymnasium API "
                "wants (observation, info dict). Return `obs, {}`."
            )
        return result[0]

    def _last(self, i: int, obs: Any) -> Arrays:
        """A checked copy of an episode's last observation."""
        self._put(i, obs, check=True)
        return {name: buffer[i].copy() for name, buffer in self._buffers.items()}

    def _put(self, i: int, obs: Any, check: bool = False) -> None:
        """Write one observation into row `i`, or say what is wrong with it."""
        space = self.observation_space
        if self._flat and getattr(obs, "dtype", None) == space.dtype and obs.shape == space.shape:
            self._buffers["obs"][i] = obs
            return
        try:
            if check or self._flat:
                check_obs(space, obs)
            flat = {"obs": obs} if self._flat else flatten_nested("obs", obs)
            for name, value in flat.items():
                self._buffers[name][i] = value
        except (ValueError, TypeError, KeyError) as e:
            raise EnvError(
                f"{at(self._worker, i, self._steps[i])}: the observation is not in the "
                f"environment's observation space: {e}"
            ) from e

    def _explain(self, i: int, action: Any, error: Exception) -> str:
        place = at(self._worker, i, self._steps[i])
        if isinstance(error, ValueError) and "unpack" in str(error):
            return (
                f"{place}: step() did not return five values ({error}). The Gymnasium API wants "
                "(observation, reward, terminated, truncated, info)."
            )
        seen = {k: v[i] for k, v in self._buffers.items() if v.dtype.kind == "f"}
        bad = [k for k, v in seen.items() if not np.isfinite(v).all()]
        before = f" The observation before it held NaN or inf ({', '.join(bad)})." if bad else ""
        return (
            f"{place}: step({show(action)}) raised {type(error).__name__}: {error}.{before} "
            "A step returns (observation, reward: a number, terminated: bool, truncated: bool, "
            "info)."
        )


class GymVectorEnvs:
    """A Gymnasium VectorEnv in any of the three autoreset modes."""

    def __init__(self, env: gym.vector.VectorEnv, worker: int = 0) -> None:
        self.envs: Sequence[Any] = getattr(env, "envs", ())
        self.num_envs = env.num_envs
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space
        self.live: np.ndarray | None = None
        self._env = env
        self._worker = worker
        self._mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))

    def reset(self, seeds: list[int]) -> Arrays:
        """Start an episode in every sub-environment; those without seeds of their own get one."""
        per_env = hasattr(self._env, "envs") or hasattr(self._env, "env_fns")
        obs, _ = self._env.reset(seed=seeds if per_env else seeds[0])  # type: ignore[arg-type]
        self.live = None
        flat = self._flat(obs)
        for name, (shape, _) in space_columns("obs", self.observation_space).items():
            if flat[name].shape != (self.num_envs, *shape):
                raise EnvError(
                    f"worker {self._worker}: the vectorised environment's reset() gave {name} of "
                    f"shape {flat[name].shape}; its spaces promise {(self.num_envs, *shape)}."
                )
        return flat

    def step(self, actions: Any) -> Step:
        """Step every sub-environment; those that are not live only reset."""
        obs, rewards, terminateds, truncateds, infos = self._env.step(actions)
        done = terminateds | truncateds
        (ended,) = done.nonzero()
        last_obs: Arrays = {}
        if self._mode is AutoresetMode.NEXT_STEP:
            self.live = ~done if ended.size else None
        flat = self._flat(obs)
        if ended.size:
            final = infos.get("final_obs") if self._mode is AutoresetMode.SAME_STEP else None
            last_obs = (
                {k: v[ended] for k, v in flat.items()}
                if final is None
                else self._final(final, ended)
            )
            if self._mode is AutoresetMode.DISABLED:
                obs, _ = self._env.reset(options={"reset_mask": done})
                flat = self._flat(obs)
        return Step(flat, rewards, terminateds, truncateds, ended, last_obs, infos)

    def close(self) -> None:
        self._env.close()

    def _flat(self, obs: Any) -> Arrays:
        if isinstance(obs, np.ndarray) and obs.dtype != np.float64:
            return {"obs": obs}
        flat = flatten_nested("obs", obs)
        return {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in flat.items()}

    def _final(self, final: Any, ended: np.ndarray) -> Arrays:
        """`infos["final_obs"]` (an object array, or nested arrays) as rows of the ended."""
        if isinstance(final, np.ndarray) and final.dtype == object:
            rows = [flatten_nested("obs", final[i]) for i in ended]
            return self._flat_rows(rows)
        return {k: v[ended] for k, v in self._flat(final).items()}

    def _flat_rows(self, rows: list[dict[str, np.ndarray]]) -> Arrays:
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in stacked.items()}


def check_api(env: Any, place: str) -> None:
    """Refuse what is not a Gymnasium environment.

    Raises:
        EnvError: names what is missing.
    """
    wanted = ("observation_space", "action_space", "reset", "step")
    missing = [name for name in wanted if getattr(env, name, None) is None]
    if missing:
        raise EnvError(
            f"{place}: {type(env).__name__} has no {', '.join(missing)}; a Gymnasium environment "
            f"has {', '.join(wanted)}. Subclass gymnasium.Env (or MultiAgentEnv)."
        )


def info_rows(infos: Any, slots: Iterable[int]) -> np.ndarray:
    """[L] object array of the slots' info dicts, from a list of them or Gymnasium's arrays."""
    rows = [_info_row(infos, i) if isinstance(infos, dict) else infos[i] for i in slots]
    found = np.empty(len(rows), object)
    found[:] = rows
    return found


def _info_row(infos: dict[str, Any], i: int) -> dict[str, Any]:
    """One sub-environment's info; where its episode ended, the last one and not the reset's."""
    there = [k for k in infos if not k.startswith("_") and infos.get(f"_{k}", {i: True})[i]]
    if "final_info" in there:
        return _info_row(infos["final_info"], i)
    return {k: _info_row(infos[k], i) if isinstance(infos[k], dict) else infos[k][i] for k in there}


def obs_buffers(space: gym.Space[Any], num_envs: int) -> dict[str, np.ndarray]:
    """One row per sub-environment; float64 observations become float32 at this boundary."""
    columns = space_columns("obs", space)
    return {
        name: np.zeros((num_envs, *shape), np.float32 if dtype == np.float64 else dtype)
        for name, (shape, dtype) in columns.items()
    }


def unbatch(actions: Any, rows: int) -> list[Any]:
    """A nested structure of `[S, …]` arrays as a list of nested actions."""
    if isinstance(actions, dict):
        parts = {k: unbatch(v, rows) for k, v in actions.items()}
        return [{k: v[i] for k, v in parts.items()} for i in range(rows)]
    if isinstance(actions, tuple):
        items = [unbatch(v, rows) for v in actions]
        return [tuple(v[i] for v in items) for i in range(rows)]
    return list(actions)


def show(value: Any) -> str:
    """A value as errors print it: not too long."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
