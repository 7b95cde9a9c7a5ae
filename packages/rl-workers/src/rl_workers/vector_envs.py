"""Many copies of one environment behind one `step`: what samplers ask for, and the Python loop.

Whatever the backend and its autoreset mode, the transitions are the same: an episode's last
observation is the true one, and the tick on which a NEXT_STEP environment only resets is not a
step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np

from rl_policy import check_obs, space_columns
from rl_sample import flatten_nested
from rl_sample.protocols import Arrays
from rl_workers.env_state import (
    REPLAY_LIMIT,
    NotRestored,
    env_state,
    find_generators,
    restore_env,
    same,
    saves_itself,
    stack_actions,
    unstack_actions,
)
from rl_workers.errors import EnvError, at
from rl_workers.masks import MASK, OBS_MASK, mask_of, new_masks

_NO_SLOTS = np.zeros(0, np.int64)


class Step(NamedTuple):
    """One tick of all sub-environments."""

    obs: Arrays
    """{name: [S, …]} what to act on next, after a reset where an episode ended: observations, and
    `action_mask` where infos have one."""
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
    separate: bool
    """Sub-environments can be restarted one by one."""
    envs: Sequence[Any]
    """The sub-environments where there are any to show, for callbacks."""

    def reset(self, seeds: list[int]) -> Arrays: ...

    def step(self, actions: Any) -> Step: ...

    def restart(self, seeds: Mapping[int, int]) -> Arrays:
        """Begin new episodes in {sub-environment: seed}; what all of them see, {name: [S, …]}."""

    def forget(self) -> None:
        """A fragment is complete: what only restores of earlier states need may be dropped."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(
        self, state: Mapping[str, Any], obs: Arrays, returns: np.ndarray
    ) -> dict[int, str]:
        """Bring the sub-environments to where `state` was taken.

        They have shown `obs` and paid `returns` [S] there. Gives those that could not be brought
        there, and why; they must be restarted.
        """

    def close(self) -> None: ...


class LocalEnvs:
    """Sub-environments stepped one after the other in this process."""

    live = None
    separate = True

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
        self._heed_infos = OBS_MASK not in self._buffers
        """Infos may have action masks."""
        self._masked: bool | None = None
        """They do; None: before the first reset."""
        self._steps = [0] * self.num_envs
        self._done: list[Any] | None = None if all(map(saves_itself, envs)) else []
        """The actions of the last ticks, to replay open episodes with."""
        self._origins: list[Any] = [0] * self.num_envs
        """What the last resets started from: a seed, or the states of the generators."""
        self._generators: list[dict[str, Any]] = [{}] * self.num_envs

    def reset(self, seeds: list[int]) -> Arrays:
        """Start an episode in every sub-environment, the i-th seeded with `seeds[i]`."""
        return self.restart(dict(enumerate(seeds)))

    def restart(self, seeds: Mapping[int, int]) -> Arrays:
        """Start new episodes in some sub-environments, {its number: seed}."""
        for i, seed in seeds.items():
            obs, info = self._reset(i, seed)
            self._put(i, obs, check=True)
            if self._masked or (self._heed_infos and info.get(MASK) is not None):
                self._put_mask(i, info)
                self._masked = True
            self._masked = bool(self._masked)
            self._generators[i] = find_generators(self.envs[i])
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
        masked, heed_infos = self._masked, self._heed_infos
        if self._done is not None:
            self._done.append(actions)
        i = 0
        try:
            for i, env in enumerate(self.envs):
                obs, reward, terminated, truncated, info = env.step(rows[i])
                self._steps[i] += 1
                rewards[i] = reward
                infos.append(info)
                if masked or (heed_infos and info.get(MASK) is not None):
                    self._put_mask(i, info, over=terminated or truncated)
                if terminated or truncated:
                    terminateds[i], truncateds[i] = terminated, truncated
                    ended.append(i)
                    last_obs.append(self._last(i, obs))
                    obs, info = self._reset(i)
                    if masked or (heed_infos and info.get(MASK) is not None):
                        self._put_mask(i, info)
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

    def forget(self) -> None:
        """Drop the actions that no open episode goes back to."""
        if self._done is not None:
            del self._done[: max(0, len(self._done) - min(max(self._steps), REPLAY_LIMIT))]

    def state_dict(self) -> dict[str, Any]:
        """Each sub-environment's own state, or what replays its episode."""
        books = zip(self.envs, self._origins, self._steps, strict=True)
        return {
            "steps": list(self._steps),
            "done": stack_actions(self._done or ()),
            "envs": [env_state(*book) for book in books],
        }

    def load_state_dict(
        self, state: Mapping[str, Any], obs: Arrays, returns: np.ndarray
    ) -> dict[int, str]:
        """As VectorEnv says; replayed episodes must give the same observation and return."""
        lost: dict[int, str] = {}
        if "envs" not in state:
            return dict.fromkeys(range(self.num_envs), "it was vectorised")
        if self._done is not None:
            self._done = unstack_actions(state["done"])
        for i, (saved, steps) in enumerate(zip(state["envs"], state["steps"], strict=True)):
            try:
                came = restore_env(self.envs[i], saved, self._done_by(i, steps))
                self._check_again(i, came, obs, float(returns[i]))
            except NotRestored as e:
                lost[i] = str(e)
            self._steps[i], self._origins[i] = steps, saved.get("origin", 0)
            self._generators[i] = find_generators(self.envs[i])
        return lost

    def _done_by(self, i: int, steps: int) -> Iterator[Any]:
        """The last `steps` actions of one sub-environment."""
        for actions in (self._done or ())[-steps:] if steps else ():
            yield unbatch(actions, self.num_envs)[i] if self._nested_actions else actions[i]

    def _check_again(
        self, i: int, came: tuple[Any, list[Any], Any] | None, obs: Arrays, returned: float
    ) -> None:
        """See that a replayed episode is the one that was saved; take up its observation."""
        if came is None:
            for name, buffer in self._buffers.items():
                buffer[i] = obs[name][i]
            return
        last, rewards, info = came
        total = 0.0
        for reward in rewards:
            total += float(reward)
        try:
            self._put(i, last, check=True)
            if self._masked:
                self._put_mask(i, info)
        except EnvError as e:
            raise NotRestored(str(e)) from e
        if not all(same(buffer[i], obs[name][i]) for name, buffer in self._buffers.items()):
            raise NotRestored("replayed, it showed another observation")
        if total != returned:
            raise NotRestored(f"replayed, it paid {total} in all and not {returned}")

    def close(self) -> None:
        for env in self.envs:
            env.close()

    def _reset(self, i: int, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        self._steps[i] = 0
        self._origins[i] = (
            {name: g.state for name, g in self._generators[i].items()} if seed is None else seed
        )
        try:
            result = self.envs[i].reset(seed=seed)
        except Exception as e:
            raise EnvError(f"{at(self._worker, i)}: reset() raised {type(e).__name__}: {e}") from e
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
            raise EnvError(
                f"{at(self._worker, i)}: reset() returned {show(result)}; the Gymnasium API "
                "wants (observation, info dict). Return `obs, {}`."
            )
        return result

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

    def _put_mask(self, i: int, info: dict[str, Any], *, over: bool = False) -> None:
        """Write the mask of `info` into row `i`; the first reset says whether there are masks."""
        where = (self._worker, i, self._steps[i])
        if self._masked is None:
            self._buffers[MASK] = new_masks(info, self.num_envs, where)
        self._buffers[MASK][i] = mask_of(info, self._buffers.get(MASK), where, over=over)

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
