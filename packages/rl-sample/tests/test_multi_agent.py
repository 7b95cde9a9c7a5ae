"""MultiAgentBatch: policies' rows that share environment steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rl_sample import DEFAULT_POLICY_ID, MultiAgentBatch, SampleBatch, concat_samples


def rows(eps_id: list[int], t: list[int], agent: int = 0) -> SampleBatch:
    x = [100 * e + 10 * s + agent for e, s in zip(eps_id, t, strict=True)]
    return SampleBatch(eps_id=eps_id, t=t, agent_index=np.full(len(t), agent), x=x)


def test_counts() -> None:
    batch = MultiAgentBatch({"a": rows([1, 1, 1], [0, 1, 2]), "b": rows([1, 1], [0, 1], 1)}, 3)
    assert batch.count == len(batch) == batch.env_steps() == 3
    assert batch.agent_steps() == 5
    assert batch.size_bytes() == 5 * 4 * 8
    assert batch.as_multi_agent() is batch
    assert repr(MultiAgentBatch({"a": SampleBatch(t=[1])}, 1)) == (
        "MultiAgentBatch({'a': SampleBatch(1: ['t'])}, env_steps=1)"
    )


def test_timeslices_keep_environment_steps_together() -> None:
    # Agent 1 leaves after its first step of episode 2; policy a's rows come out of order.
    batch = MultiAgentBatch(
        {"a": rows([2, 1, 1, 2], [0, 0, 1, 1]), "b": rows([1, 1, 2], [0, 1, 0], 1)}, 4
    )
    slices = batch.timeslices(3)
    assert [part.env_steps() for part in slices] == [3, 1]
    assert slices[0].policy_batches["a"]["x"].tolist() == [100, 110, 200]
    assert slices[0].policy_batches["b"]["x"].tolist() == [101, 111, 201]
    assert list(slices[1].policy_batches) == ["a"]
    assert slices[1].policy_batches["a"]["x"].tolist() == [210]


def test_timeslices_say_what_they_need() -> None:
    with pytest.raises(ValueError, match="needs the column 't', which the batch of 'a' has not"):
        MultiAgentBatch({"a": SampleBatch(eps_id=[1])}, 1).timeslices(1)
    with pytest.raises(ValueError, match="at least 1 environment step, not 0"):
        MultiAgentBatch({}, 0).timeslices(0)
    assert MultiAgentBatch({}, 0).timeslices(2) == []


def test_wrapping() -> None:
    batch = rows([1], [0])
    assert MultiAgentBatch.wrap_as_needed({DEFAULT_POLICY_ID: batch}, 1) is batch
    wrapped = MultiAgentBatch.wrap_as_needed({"a": batch}, 1)
    assert isinstance(wrapped, MultiAgentBatch)
    multi = batch.as_multi_agent()
    assert multi.policy_batches == {DEFAULT_POLICY_ID: batch}
    assert multi.env_steps() == 1


def test_concat_joins_each_policy() -> None:
    one = MultiAgentBatch({"a": rows([1], [0]), "b": rows([1], [0], 1)}, 1)
    two = MultiAgentBatch({"b": rows([2], [0], 1)}, 4)
    joined = concat_samples([one, SampleBatch(), two])
    assert isinstance(joined, MultiAgentBatch)
    assert joined.env_steps() == 5
    assert joined.policy_batches["b"]["x"].tolist() == [101, 201]
    with pytest.raises(ValueError, match=r"batch 1 is a SampleBatch .* as_multi_agent\(\)"):
        concat_samples([one, rows([1], [0])])


def test_copies() -> None:
    batch = MultiAgentBatch({"a": rows([1], [0])}, 1)
    own, shared = batch.copy(), batch.copy(shallow=True)
    assert own.policy_batches["a"]["x"] is not batch.policy_batches["a"]["x"]
    assert shared.policy_batches["a"]["x"] is batch.policy_batches["a"]["x"]


def test_only_batches_are_taken() -> None:
    wrong: Any = {"a": {"t": [1]}}
    with pytest.raises(TypeError, match=r"policy_batches\['a'\] is a dict, not a SampleBatch"):
        MultiAgentBatch(wrong, 1)
