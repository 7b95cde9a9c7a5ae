"""Environments in which several agents act, which may come and go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from rl_sample.protocols import AgentID


class MultiAgentEnv:
    """Dicts by agent in, dicts by agent out.

    Exactly the agents that have an observation act in the next step. An agent leaves with its
    own flag or with all others under the key `"__all__"`. Rewards of an agent that has no
    observation in a step are added up until it has one.

    Attributes:
        observation_spaces: {agent: space} of every agent that may ever appear.
        action_spaces: likewise.
    """

    observation_spaces: Mapping[AgentID, gym.Space[Any]]
    action_spaces: Mapping[AgentID, gym.Space[Any]]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[AgentID, Any], dict[AgentID, Any]]:
        """Start an episode: (observations, infos)."""
        raise NotImplementedError

    def step(
        self, actions: dict[AgentID, Any]
    ) -> tuple[
        dict[AgentID, Any],
        dict[AgentID, float],
        dict[AgentID, bool],
        dict[AgentID, bool],
        dict[AgentID, Any],
    ]:
        """One step: (observations, rewards, terminateds, truncateds, infos)."""
        raise NotImplementedError

    def close(self) -> None:
        """Free what the environment holds."""
