"""What policies do in observations that a user has: in one, in many, in those of agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from rl_policy import Policy, make_raw_map
from rl_sample.protocols import AgentID


def act_for_one(
    policy: Policy,
    obs: Any,
    state: Sequence[np.ndarray] | None,
    *,
    explore: bool | None,
    prev_action: Any,
    prev_reward: float | None,
    action_mask: Any,
) -> Any:
    """The action in one observation; (action, next state) where `state` is given."""
    action, next_state, _ = policy.compute_single_action(
        obs,
        state,
        prev_action=None if prev_action is None else _raw(policy)(prev_action),
        prev_reward=prev_reward,
        action_mask=action_mask,
        explore=explore,
    )
    return action if state is None else (action, next_state)


def act_for_many(
    policy: Policy,
    obs: Any,
    state: Sequence[np.ndarray] | None,
    *,
    explore: bool | None,
    prev_action: Any,
    prev_reward: Any,
    action_mask: Any,
) -> Any:
    """Actions [B, …] in observations [B, …] or a list; (actions, next state) with a `state`."""
    actions, next_state, _ = policy.compute_actions(
        obs,
        state,
        prev_action_batch=None if prev_action is None else _raw(policy)(prev_action),
        prev_reward_batch=prev_reward,
        action_mask=action_mask,
        explore=explore,
    )
    return actions if state is None else (actions, next_state)


def act_for_agents(
    policy_of: Callable[[AgentID], Policy],
    obs: Mapping[AgentID, Any],
    state: Mapping[AgentID, Sequence[np.ndarray]] | None,
    *,
    explore: bool | None,
    **inputs: Mapping[AgentID, Any] | None,
) -> Any:
    """{agent: action}; ({agent: action}, {agent: next state}) where `state` is given.

    `inputs` are `prev_action`, `prev_reward` and `action_mask` by agent. Agents of one policy that
    have the same inputs act in one call; one without a state has just begun its episode.
    """
    given = {name: values for name, values in inputs.items() if values is not None}
    groups: dict[Any, list[AgentID]] = {}
    for agent in obs:
        has = tuple(agent in values for values in (*given.values(), state or {}))
        groups.setdefault((id(policy_of(agent)), has), []).append(agent)
    actions: dict[AgentID, Any] = {}
    states: dict[AgentID, Any] = {}
    for agents in groups.values():
        policy = policy_of(agents[0])
        chosen, next_state, _ = policy.compute_actions(
            [obs[agent] for agent in agents],
            _states(agents, state or {}),
            prev_action_batch=_previous(policy, agents, given.get("prev_action", {})),
            prev_reward_batch=_column(agents, given.get("prev_reward", {})),
            action_mask=_column(agents, given.get("action_mask", {})),
            explore=explore,
        )
        each = iterate(batch_space(policy.action_space, len(agents)), chosen)
        actions.update(zip(agents, each, strict=True))
        states.update({agent: tuple(s[i] for s in next_state) for i, agent in enumerate(agents)})
    actions = {agent: actions[agent] for agent in obs}
    return actions if state is None else (actions, {agent: states[agent] for agent in obs})


def is_of_agents(obs: Any, policies: Mapping[str, Any]) -> bool:
    """Whether `obs` is {agent: observation} and not observations of a Dict space."""
    if not isinstance(obs, Mapping):
        return False
    spaces = [getattr(p.observation_space, "spaces", None) for p in policies.values()]
    return not any(isinstance(s, Mapping) and s.keys() == obs.keys() for s in spaces)


def _raw(policy: Policy) -> Callable[[Any], Any]:
    """From an action as the environment took it to one as the policy reads it."""
    own = policy.dist_class.to_raw
    return own or make_raw_map(policy.action_space, policy.config["normalize_actions"])


def _states(
    agents: Sequence[AgentID], state: Mapping[AgentID, Sequence[np.ndarray]]
) -> list[np.ndarray] | None:
    if agents[0] not in state:
        return None
    return [np.stack(parts) for parts in zip(*(state[agent] for agent in agents), strict=True)]


def _previous(policy: Policy, agents: Sequence[AgentID], values: Mapping[AgentID, Any]) -> Any:
    if agents[0] not in values:
        return None
    space = policy.action_space
    stacked: Any = create_empty_array(space, len(agents))
    return _raw(policy)(concatenate(space, [values[agent] for agent in agents], stacked))


def _column(agents: Sequence[AgentID], values: Mapping[AgentID, Any]) -> np.ndarray | None:
    return np.stack([values[agent] for agent in agents]) if agents[0] in values else None
