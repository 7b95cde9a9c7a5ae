"""What a rollout worker is told: how much to sample, in what pieces, from how many environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class RolloutOptions:
    """Options of every rollout worker of a WorkerSet; names are RLlib's.

    Raises:
        ValueError: a size below 1 or an unknown batch mode.
    """

    rollout_fragment_length: int = 200
    """Environment steps per sub-environment in one fragment."""
    num_envs_per_worker: int = 1
    batch_mode: Literal["truncate_episodes", "complete_episodes"] = "truncate_episodes"
    """Whether a fragment may cut episodes or waits for whole ones."""
    env_config: Mapping[str, Any] = field(default_factory=dict)
    vectorize: bool = False
    """Use the environment's own vectorised version."""
    explore: bool = True
    """Sample actions; False takes the most likely ones."""
    seed: int | None = None
    inference: Literal["auto", "numpy", "framework"] = "auto"
    """What evaluates the networks while sampling."""
    sampler_class: type | None = None
    """Replaces the built-in sampler; called with the same arguments."""

    def __post_init__(self) -> None:
        for name in ("rollout_fragment_length", "num_envs_per_worker"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.batch_mode not in ("truncate_episodes", "complete_episodes"):
            raise ValueError(
                f"batch_mode={self.batch_mode!r} must be 'truncate_episodes' or "
                "'complete_episodes'."
            )
