"""Multi-agent environments stepped one by one: their errors named, their episodes restorable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rl_sample.protocols import AgentID
from rl_workers.env_state import (
    REPLAY_LIMIT,
    NotRestored,
    env_state,
    find_generators,
    restore_env,
    saves_itself,
    stack_actions,
    unstack_actions,
)
from rl_workers.errors import EnvError, at
from rl_workers.multi_agent_env import MultiAgentEnv
from rl_workers.vector_envs import show


class MultiAgentEnvs:
    """Sub-environments of a worker.

    Attributes:
        envs: them.
        agents: every agent that has a space, by its `repr`, which names it in saved states.
        infos: what each sub-environment told last, {agent: info}.
    """

    def __init__(self, envs: Sequence[MultiAgentEnv], worker: int) -> None:
        self.envs = envs
        self.agents = {
            repr(agent): agent
            for env in envs
            for agent in (*env.observation_spaces, *env.action_spaces)
        }
        self.infos: list[dict[AgentID, Any]] = [{} for _ in envs]
        self._worker = worker
        self._records = not all(map(saves_itself, envs))
        self._origins: list[Any] = [0] * len(envs)
        self._generators: list[dict[str, Any]] = [{}] * len(envs)
        self._steps = [0] * len(envs)
        self._done: list[list[dict[AgentID, Any]]] = [[] for _ in envs]
        """The actions since the last reset of each."""

    def reset(self, i: int, seed: int | None = None) -> dict[AgentID, Any]:
        """The first observations of a new episode in sub-environment `i`."""
        states = {name: g.state for name, g in self._generators[i].items()}
        self._origins[i] = states if seed is None else seed
        self._steps[i], self._done[i] = 0, []
        try:
            obs, self.infos[i] = self.envs[i].reset(seed=seed)
        except Exception as e:
            raise EnvError(
                f"{at(self._worker, i)}: reset() failed ({type(e).__name__}: {e}); a "
                "MultiAgentEnv returns (observations by agent, infos by agent)."
            ) from e
        if seed is not None:
            self._generators[i] = find_generators(self.envs[i])
        return obs

    def step(self, i: int, actions: dict[AgentID, Any]) -> tuple[Any, ...]:
        """What sub-environment `i` answers to {agent: action}."""
        if self._records and self._steps[i] < REPLAY_LIMIT:
            self._done[i].append(actions)
        place = at(self._worker, i, self._steps[i])
        self._steps[i] += 1
        try:
            came: tuple[Any, ...] = self.envs[i].step(actions)
        except Exception as e:
            raise EnvError(f"{place}: step({show(actions)}) raised {type(e).__name__}: {e}") from e
        if len(came) != 5 or not all(isinstance(part, dict) for part in came):
            raise EnvError(
                f"{place}: step() returned {show(came)}; a MultiAgentEnv returns five dicts "
                "(observations, rewards, terminateds, truncateds, infos)."
            )
        self.infos[i] = came[4]
        return came

    def close(self) -> None:
        """Close them all."""
        for env in self.envs:
            env.close()

    def state_dict(self) -> dict[str, Any]:
        """Each sub-environment's own state, or what replays its episode."""
        books = zip(self.envs, self._origins, self._steps, strict=True)
        return {
            "steps": list(self._steps),
            "envs": [env_state(*book) for book in books],
            "done": [_columns(done) for done in self._done],
        }

    def load_state_dict(
        self,
        state: Mapping[str, Any],
        check: Callable[[int, dict[AgentID, Any], dict[AgentID, float]], None],
    ) -> dict[int, str]:
        """Bring the sub-environments to where `state` was taken.

        Args:
            state: of `state_dict`.
            check: raises NotRestored where the replayed sub-environment `i` showed other last
                observations or paid other returns than were saved.

        Returns:
            Why some could not be brought there; they must be reset with a seed.
        """
        lost: dict[int, str] = {}
        for i, (saved, steps) in enumerate(zip(state["envs"], state["steps"], strict=True)):
            try:
                self._done[i] = _actions(state["done"][i], steps, self.agents)
                came = restore_env(self.envs[i], saved, self._done[i])
                if came is not None:
                    self.infos[i] = came[2]
                    check(i, came[0], _totals(came[1]))
            except (NotRestored, EnvError) as e:
                lost[i] = str(e)
            self._steps[i], self._origins[i] = steps, saved.get("origin", 0)
            self._generators[i] = find_generators(self.envs[i])
        return lost


def _totals(rewards: list[dict[AgentID, Any]]) -> dict[AgentID, float]:
    """Returns by agent, added up in order."""
    totals: dict[AgentID, float] = {}
    for paid in rewards:
        for agent, reward in paid.items():
            totals[agent] = totals.get(agent, 0.0) + float(reward)
    return totals


def _columns(done: list[dict[AgentID, Any]]) -> dict[str, Any]:
    """{agent's repr: when it acted [n] and its actions, columns [n, …]}."""
    columns: dict[str, Any] = {}
    for agent in dict.fromkeys(agent for actions in done for agent in actions):
        when = [t for t, actions in enumerate(done) if agent in actions]
        acted = stack_actions([done[t][agent] for t in when])
        columns[repr(agent)] = {"when": np.array(when), "actions": acted}
    return columns


def _actions(
    columns: Mapping[str, Any], steps: int, agents: Mapping[str, AgentID]
) -> list[dict[AgentID, Any]]:
    """What `_columns` was made of: {agent: action} of each step."""
    acted: list[dict[AgentID, Any]] = [{} for _ in range(steps)]
    for name, column in columns.items():
        actions = unstack_actions(column["actions"])
        for t, action in zip(column["when"].tolist(), actions, strict=True):
            acted[t][agents[name]] = action
    return acted
