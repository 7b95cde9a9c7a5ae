"""A Gymnasium VectorEnv behind `VectorEnv`, in any of the three autoreset modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from rl_policy import space_columns
from rl_sample import flatten_nested
from rl_sample.protocols import Arrays
from rl_workers.env_state import NotRestored, env_state, restore_env, saves_itself
from rl_workers.errors import EnvError
from rl_workers.masks import MASK, OBS_MASK, all_legal, info_of, mask_of, new_masks
from rl_workers.vector_envs import Step


class GymVectorEnvs:
    """A Gymnasium VectorEnv in any of the three autoreset modes."""

    separate = False

    def __init__(self, env: gym.vector.VectorEnv, worker: int = 0) -> None:
        self.envs: Sequence[Any] = getattr(env, "envs", ())
        self.num_envs = env.num_envs
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space
        self.live: np.ndarray | None = None
        self._env = env
        self._heed_infos = OBS_MASK not in space_columns("obs", self.observation_space)
        """Infos may have action masks."""
        self._masks: np.ndarray | None = None
        """[S, M] bool, of the size that all masks have; None: infos have none."""
        self._worker = worker
        self._mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))

    def reset(self, seeds: list[int]) -> Arrays:
        """Start an episode in every sub-environment; those without seeds of their own get one."""
        per_env = hasattr(self._env, "envs") or hasattr(self._env, "env_fns")
        obs, infos = self._env.reset(seed=seeds if per_env else seeds[0])  # type: ignore[arg-type]
        self.live = None
        flat = self._flat(obs)
        for name, (shape, _) in space_columns("obs", self.observation_space).items():
            if flat[name].shape != (self.num_envs, *shape):
                raise EnvError(
                    f"worker {self._worker}: the vectorised environment's reset() gave {name} of "
                    f"shape {flat[name].shape}; its spaces promise {(self.num_envs, *shape)}."
                )
        if self._heed_infos and MASK in infos and self._masks is None:
            first = next(i for i in range(self.num_envs) if info_of(infos, i))
            where = (self._worker, first)
            self._masks = new_masks(info_of(infos, first), self.num_envs, where)
        if self._masks is not None:
            flat[MASK] = self._read_masks(infos)
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
        if self._masks is not None or (self._heed_infos and MASK in infos):
            over = None if self._mode is AutoresetMode.SAME_STEP else done
            flat[MASK] = self._read_masks(infos, over)
        if ended.size:
            final = infos.get("final_obs") if self._mode is AutoresetMode.SAME_STEP else None
            last_obs = {k: v[ended] for k, v in flat.items()}
            if final is not None:
                last_obs |= self._final(final, ended)
                if self._masks is not None:
                    told = infos.get("final_info", {})
                    last_obs[MASK] = self._read_masks(told, np.ones_like(done))[ended]
            if self._mode is AutoresetMode.DISABLED:
                obs, infos_of_reset = self._env.reset(options={"reset_mask": done})
                masks = flat.get(MASK)
                flat = self._flat(obs)
                if masks is not None:
                    fresh = self._read_masks(infos_of_reset, ~done)
                    flat[MASK] = np.where(done[:, None], fresh, masks)
            elif self._mode is AutoresetMode.NEXT_STEP:
                flat = all_legal(flat, ended)
        return Step(flat, rewards, terminateds, truncateds, ended, last_obs, infos)

    def restart(self, seeds: Mapping[int, int]) -> Arrays:
        """Start new episodes in all sub-environments; they share their generators."""
        return self.reset([seeds[i] for i in range(self.num_envs)])

    def forget(self) -> None:
        """Nothing is kept to be forgotten."""

    def state_dict(self) -> dict[str, Any]:
        """The environment's own state, where it has `get_state` and `set_state`."""
        live = None if self.live is None else self.live.copy()
        if saves_itself(self._env):
            return {"live": live, "env": env_state(self._env, 0, 0)}
        return {"live": live, "env": {"why": "it is vectorised, without get_state"}}

    def load_state_dict(
        self, state: Mapping[str, Any], obs: Arrays, returns: np.ndarray
    ) -> dict[int, str]:
        """As VectorEnv says; either all sub-environments are brought back, or none."""
        try:
            restore_env(self._env, state.get("env", {"why": "it was not vectorised"}), ())
        except NotRestored as e:
            return dict.fromkeys(range(self.num_envs), str(e))
        self.live = None if state["live"] is None else np.array(state["live"])
        return {}

    def close(self) -> None:
        self._env.close()

    def _read_masks(
        self, infos: Mapping[str, Any], lacking: np.ndarray | None = None
    ) -> np.ndarray:
        """[S, M] bool; those of `lacking` [S] bool may not be there: all actions are legal."""
        may_lack = [False] * self.num_envs if lacking is None else lacking.tolist()
        return np.stack(
            [
                mask_of(info_of(infos, i), self._masks, (self._worker, i), over=over)
                for i, over in enumerate(may_lack)
            ]
        )

    def _flat(self, obs: Any) -> dict[str, np.ndarray]:
        if isinstance(obs, np.ndarray) and obs.dtype != np.float64:
            return {"obs": obs}
        flat = flatten_nested("obs", obs)
        return {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in flat.items()}

    def _final(self, final: Any, ended: np.ndarray) -> dict[str, np.ndarray]:
        """`infos["final_obs"]` (an object array, or nested arrays) as rows of the ended."""
        if isinstance(final, np.ndarray) and final.dtype == object:
            rows = [flatten_nested("obs", final[i]) for i in ended]
            return self._flat_rows(rows)
        return {k: v[ended] for k, v in self._flat(final).items()}

    def _flat_rows(self, rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in stacked.items()}
