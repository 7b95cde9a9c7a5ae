"""A policy read from disk: it acts, with NumPy where it can, and does not learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rl_policy.action_dist import ActionDist
from rl_policy.artifact import read_policy
from rl_policy.artifact_files import ArtifactError
from rl_policy.policy import Policy, State
from rl_policy.spec import NetActorSpec
from rl_sample import SampleBatch
from rl_sample.protocols import Acted, Arrays, Learned, Snapshot


def load_policy(directory: str | Path) -> SavedPolicy:
    """Read a policy that acts as the saved one did; it cannot learn.

    Needs neither PyTorch nor TensorFlow unless the policy's model or acting hooks do.

    Raises:
        ArtifactError: the directory is no saved policy, or a file is missing or damaged.
        ImportError: the policy acts with a framework that is not installed.
    """
    spec, snapshot = read_policy(directory)
    try:
        return SavedPolicy(spec, snapshot)
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            f"{Path(directory) / 'weights.safetensors'} does not hold the weights that policy.json "
            f"describes: {error}"
        ) from error


class SavedPolicy(Policy):
    """What `load_policy` gives: the acting half of a `Policy`."""

    def __init__(self, spec: NetActorSpec, snapshot: Snapshot) -> None:
        """The weights of `snapshot` in the actor of `spec`."""
        super().__init__(spec.observation_space, spec.action_space, spec.config)
        self._spec, self._snapshot = spec, snapshot
        self.needs = spec.needs
        self._actor, self._postprocess = spec.build()
        self.load(snapshot)

    @property
    def dist_class(self) -> ActionDist:
        """How actions are distributed."""
        return self._spec.dist

    @property
    def inference(self) -> tuple[str, str]:
        """Which engine acts, "numpy" or "framework", and why."""
        return self._spec.engine, self._spec.engine_reason

    def act(
        self, inputs: Arrays, state: State, noise: Arrays, *, explore: bool, step: int
    ) -> Acted:
        """Decide for `B` rows; see `rl_sample.protocols.Actor`."""
        return self._actor.act(inputs, state, noise, explore=explore, step=step)

    def values(self, inputs: Arrays, state: State) -> np.ndarray | None:
        """Value estimates [B] float32 of raw observations; None without a value output."""
        return self._actor.values(inputs, state)

    def load(self, snapshot: Snapshot) -> None:
        """Take other weights."""
        self._actor.load(snapshot)
        self._snapshot = snapshot
        self.version, self.global_step = snapshot.version, snapshot.step

    def postprocess_trajectory(
        self, sample_batch: SampleBatch, other_agent_batches: Any = None, episode: Any = None
    ) -> SampleBatch:
        """Fill `action_logp`."""
        return self._postprocess(sample_batch, other_agent_batches or {}, episode)

    def get_weights(self) -> dict[str, np.ndarray]:
        """Copies of the weights by name."""
        start = len("net/")
        arrays = self._snapshot.arrays
        return {k[start:]: np.array(v) for k, v in arrays.items() if k.startswith("net/")}

    def set_weights(self, weights: Arrays) -> None:
        """Take weights by name."""
        arrays = dict(self._snapshot.arrays) | {f"net/{k}": v for k, v in weights.items()}
        self.load(Snapshot(self.version + 1, self.global_step, arrays))

    def snapshot(self) -> Snapshot:
        """Weights and filter constants."""
        return self._snapshot

    def actor_spec(self) -> NetActorSpec:
        """How a worker builds this policy's actor."""
        return self._spec

    def learn_on_batch(self, batch: SampleBatch, **options: Any) -> Learned:
        """Never: a saved policy holds no loss and no optimiser."""
        raise NotImplementedError(
            "a policy from load_policy only acts. To go on training, restore the trainer's "
            "checkpoint, or build the policy again and call set_weights(saved.get_weights())"
        )
