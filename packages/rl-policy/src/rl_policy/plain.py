"""How workers get a policy that was written without `build_policy`: they build it themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from rl_sample import SampleBatch
from rl_sample.protocols import Postprocess

if TYPE_CHECKING:
    from rl_policy.policy import Policy


@dataclass(frozen=True)
class PlainActorSpec:
    """The policy's class and the arguments of its constructor; the policy is its own actor."""

    policy_class: type[Policy]
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    config: Mapping[str, Any]

    def build(
        self, engine: str = "auto", *, worker_index: int = 0, num_workers: int = 0
    ) -> tuple[Policy, Postprocess]:
        """Make the policy; `engine` has no meaning here."""
        policy = self.policy_class(self.observation_space, self.action_space, self.config)
        return policy, TrajectoryPostprocess(policy)


class TrajectoryPostprocess:
    """`rl_sample.protocols.Postprocess` that calls a policy's `postprocess_trajectory`."""

    def __init__(self, policy: Policy) -> None:
        """Only an overridden method is called per trajectory piece."""
        from rl_policy.policy import Policy

        self._policy = policy
        method = type(policy).postprocess_trajectory
        self.per_trajectory = method is not Policy.postprocess_trajectory

    def __call__(self, batch: SampleBatch, others: Any, episode: Any) -> SampleBatch:
        """Fill `action_logp` where distribution inputs allow it, then postprocess."""
        if "action_logp" not in batch and "action_dist_inputs" in batch:
            dist = self._policy.dist_class(batch["action_dist_inputs"])
            batch["action_logp"] = dist.logp(batch["actions"])
        return self._policy.postprocess_trajectory(batch, others, episode)
