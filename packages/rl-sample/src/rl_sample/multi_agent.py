"""MultiAgentBatch: one SampleBatch for each policy that acted in the same environment steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rl_sample.batch import SampleBatch
from rl_sample.protocols import DEFAULT_POLICY_ID, PolicyID


class MultiAgentBatch:
    """Experience of several policies.

    Args:
        policy_batches: {policy id: its agents' rows}.
        env_steps: environment steps in which these rows were made.
    """

    __slots__ = ("_env_steps", "policy_batches")

    def __init__(self, policy_batches: Mapping[PolicyID, SampleBatch], env_steps: int) -> None:
        for policy_id, batch in policy_batches.items():
            if not isinstance(batch, SampleBatch):
                raise TypeError(
                    f"policy_batches[{policy_id!r}] is a {type(batch).__name__}, not a SampleBatch"
                )
        self.policy_batches = dict(policy_batches)
        self._env_steps = env_steps

    @property
    def count(self) -> int:
        """Environment steps."""
        return self._env_steps

    def __len__(self) -> int:
        return self._env_steps

    def env_steps(self) -> int:
        """Environment steps, in each of which any number of agents acted."""
        return self._env_steps

    def agent_steps(self) -> int:
        """Rows of all policies."""
        return sum(batch.count for batch in self.policy_batches.values())

    def timeslices(self, size: int) -> list[MultiAgentBatch]:
        """Batches of `size` environment steps each (the last may be shorter), in (eps_id, t) order.

        An environment step is a distinct (`eps_id`, `t`); rows of one step stay together. The
        slices have no segments: store `new_obs` first if it is wanted.
        """
        if size < 1:
            raise ValueError(f"timeslices takes a size of at least 1 environment step, not {size}")
        keys: dict[PolicyID, np.ndarray] = {}
        for policy_id, batch in self.policy_batches.items():
            for name in ("eps_id", "t", "agent_index"):
                if name not in batch.arrays:
                    raise ValueError(
                        f"timeslices needs the column {name!r}, which the batch of "
                        f"{policy_id!r} has not"
                    )
            keys[policy_id] = np.stack([batch.arrays["eps_id"], batch.arrays["t"]], axis=1)
        if not keys:
            return []
        steps = np.unique(np.concatenate(list(keys.values())), axis=0, return_inverse=True)[1]
        slice_of_row = np.split(
            steps.reshape(-1) // size, np.cumsum([len(k) for k in keys.values()])
        )
        slices: list[dict[PolicyID, SampleBatch]] = [
            {} for _ in range(int(steps.max(initial=-1)) // size + 1)
        ]
        for (policy_id, batch), numbers in zip(
            self.policy_batches.items(), slice_of_row[:-1], strict=True
        ):
            eps_ids, ts, agents = batch.columns(["eps_id", "t", "agent_index"])
            order = np.lexsort((agents, ts, eps_ids))
            numbers = numbers[order]
            for number in np.unique(numbers):
                slices[number][policy_id] = batch.take(order[numbers == number])
        num_steps = int(steps.max(initial=-1)) + 1
        return [
            MultiAgentBatch(part, min(size, num_steps - i * size)) for i, part in enumerate(slices)
        ]

    @staticmethod
    def wrap_as_needed(
        policy_batches: Mapping[PolicyID, SampleBatch], env_steps: int
    ) -> SampleBatch | MultiAgentBatch:
        """The plain SampleBatch if `default_policy` is the only policy, else a MultiAgentBatch."""
        if set(policy_batches) == {DEFAULT_POLICY_ID}:
            return policy_batches[DEFAULT_POLICY_ID]
        return MultiAgentBatch(policy_batches, env_steps)

    @staticmethod
    def concat_samples(batches: Iterable[Any]) -> MultiAgentBatch:
        """Each policy's rows joined, environment steps added; empty SampleBatches are ignored.

        Raises:
            ValueError: a SampleBatch with rows among them, or a policy's batches do not fit.
        """
        from rl_sample.concat import concat_batches

        parts: dict[PolicyID, list[SampleBatch]] = {}
        env_steps = 0
        for i, batch in enumerate(batches):
            if isinstance(batch, MultiAgentBatch):
                env_steps += batch.env_steps()
                for policy_id, part in batch.policy_batches.items():
                    parts.setdefault(policy_id, []).append(part)
            elif len(batch):
                raise ValueError(
                    f"batch {i} is a SampleBatch among MultiAgentBatches: which policy are its "
                    "rows of? Convert it with as_multi_agent()"
                )
        return MultiAgentBatch(
            {pid: concat_batches(part) for pid, part in parts.items()}, env_steps
        )

    def copy(self, shallow: bool = False) -> MultiAgentBatch:
        """A copy; `shallow` shares the arrays."""
        copies = {pid: batch.copy(shallow) for pid, batch in self.policy_batches.items()}
        return MultiAgentBatch(copies, self._env_steps)

    def size_bytes(self) -> int:
        """Bytes held by all policies' batches."""
        return sum(batch.size_bytes() for batch in self.policy_batches.values())

    def as_multi_agent(self) -> MultiAgentBatch:
        """Itself."""
        return self

    def __repr__(self) -> str:
        return f"MultiAgentBatch({self.policy_batches}, env_steps={self._env_steps})"
