"""ParallelRollouts and what shapes its batches."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rl_sample import MultiAgentBatch, SampleBatch
from rl_workers.flow import (
    ConcatBatches,
    NoExperience,
    ParallelRollouts,
    SelectExperiences,
    StandardizeFields,
    receive,
)


def rewards(*values):
    return SampleBatch(rewards=np.array(values, np.float32))


# -- local ----------------------------------------------------------------------------------------


def test_local_rollouts_give_the_samplers_batches_and_keep_the_books(workers):
    batches = ParallelRollouts(workers).take(2)
    assert [batch["rewards"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert workers.counters["num_env_steps_sampled"] == 8
    assert workers.timings["env"] == 0.5
    assert workers.timings["sample"] > 0
    assert workers.metrics.total == 2


def test_async_samples_locally_when_there_is_nobody_else(workers):
    assert next(ParallelRollouts(workers, mode="async")).count == 4


@pytest.mark.parametrize("nothing", [None, "empty"])
def test_a_source_that_gives_nothing_is_an_error_that_names_it(workers, make_fragment, nothing):
    workers.local_input.given = [make_fragment(rewards(), episodes=[]) if nothing else None]
    rollouts = ParallelRollouts(workers)
    with pytest.raises(NoExperience, match="the local sampler gave no experience"):
        next(rollouts)
    assert next(rollouts).count == 4


def test_the_sampler_is_called_by_the_source_itself(workers):
    depths = []

    class Input:
        def next(self):
            frame, depth = sys._getframe(), 0
            while frame:
                frame, depth = frame.f_back, depth + 1
            depths.append(depth)
            raise RuntimeError("env broke")

    workers.local_input = Input()
    rollouts = ParallelRollouts(workers).for_each(lambda b: b).for_each(lambda b: b)
    frame, here = sys._getframe(), 0
    while frame:
        frame, here = frame.f_back, here + 1
    with pytest.raises(RuntimeError, match="env broke"):
        next(rollouts)
    assert depths == [here + 3]  # __next__, the source, Input.next


def test_unknown_modes_and_raw_without_workers_are_errors(workers):
    with pytest.raises(ValueError, match="'bulk_sync', 'async' or 'raw', not 'sync'"):
        ParallelRollouts(workers, mode="sync")
    with pytest.raises(ValueError, match="set num_workers >= 1"):
        ParallelRollouts(workers, mode="raw")


# -- remote ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def actors(ray_cluster):
    """Two workers; worker i's rewards are all i."""

    class Worker:
        def __init__(self, index, make_fragment):
            self.index, self.make_fragment = index, make_fragment
            self.calls, self.failing = [], None

        def sample(self, snapshots):
            if self.failing is not None:
                message, self.failing = self.failing, None
                raise ValueError(message)
            self.calls.append(snapshots["default_policy"].version)
            return self.make_fragment(SampleBatch(rewards=[float(self.index)] * 2), self.index)

        def fail_once(self, message):
            self.failing = message

        def take_calls(self):
            calls, self.calls = self.calls, []
            return calls

    def make_fragment(batch, worker):
        from rl_sample.protocols import EpisodeRecord, Fragment

        episode = EpisodeRecord(worker, 0, worker, batch.count, {"agent": 1.0})
        return Fragment(batch, [episode], {}, {"env": 0.25}, worker)

    make = ray_cluster.remote(num_cpus=0)(Worker).remote
    return [make(1, make_fragment), make(2, make_fragment)]


@pytest.fixture
def remote(ray_cluster, actors, make_workers):
    """A worker set of these two."""
    ray_cluster.get([actor.take_calls.remote() for actor in actors])
    return make_workers(remote_workers=actors)


@pytest.mark.ray
def test_bulk_sync_gives_one_batch_per_round_in_worker_order(ray_cluster, remote, actors):
    rollouts = ParallelRollouts(remote)
    assert next(rollouts)["rewards"].tolist() == [1, 1, 2, 2]
    remote.publish()
    assert next(rollouts).count == 4
    assert remote.counters["num_env_steps_sampled"] == 8
    assert remote.timings["env"] == 1.0
    # Each request carries the newest snapshot.
    calls = ray_cluster.get([actor.take_calls.remote() for actor in actors])
    assert calls == [[1, 2], [1, 2]]


@pytest.mark.ray
def test_a_failing_worker_is_named_and_the_round_of_the_others_is_kept(ray_cluster, remote, actors):
    rollouts = ParallelRollouts(remote)
    ray_cluster.get(actors[1].fail_once.remote("env exploded"))
    with pytest.raises(ValueError, match="env exploded") as caught:
        next(rollouts)
    assert caught.value.__notes__ == ["from worker 2"]
    assert remote.counters["num_env_steps_sampled"] == 0
    assert next(rollouts)["rewards"].tolist() == [1, 1, 2, 2]
    assert ray_cluster.get(actors[0].take_calls.remote()) == [1]


@pytest.mark.ray
def test_async_gives_fragments_as_they_come(remote):
    rollouts = ParallelRollouts(remote, mode="async", num_async=2)
    batches = rollouts.take(6)
    assert {tuple(batch["rewards"]) for batch in batches} == {(1, 1), (2, 2)}
    assert remote.counters["num_env_steps_sampled"] == 12
    assert [len(calls) for calls in rollouts.source.fragments._calls] == [2, 2]


@pytest.mark.ray
def test_raw_runs_operators_inside_the_workers(remote):
    fragments = ParallelRollouts(remote, mode="raw")
    assert fragments.num_shards() == 2
    sums = fragments.for_each(lambda fragment: float(fragment.batch["rewards"].sum()))
    assert sums.take(4) == [2, 4, 2, 4]
    assert remote.counters["num_env_steps_sampled"] == 0
    batches = fragments.gather_sync().for_each(partial(receive, remote))
    assert next(batches).count == 2
    assert remote.counters["num_env_steps_sampled"] == 2


@pytest.mark.ray
def test_pictures_name_the_workers(remote, workers):
    assert str(ParallelRollouts(workers)) == "ParallelRollouts(local worker)"
    assert str(ParallelRollouts(remote)) == "ParallelRollouts(in rounds: worker 1, worker 2)"


# -- ConcatBatches --------------------------------------------------------------------------------


def test_concat_collects_until_there_are_enough_steps():
    concat = ConcatBatches(5)
    assert concat(rewards(0, 1)) == []
    assert concat(rewards(2, 3)) == []
    (batch,) = concat(rewards(4, 5))
    assert batch["rewards"].tolist() == [0, 1, 2, 3, 4, 5]
    assert concat(rewards(6)) == []


def test_concat_hands_on_a_batch_that_is_large_enough():
    batch = rewards(0, 1, 2)
    assert ConcatBatches(3)(batch)[0] is batch


def test_concat_counts_agent_steps_when_told():
    both = MultiAgentBatch({"a": rewards(0, 1), "b": rewards(2, 3)}, 2)
    assert ConcatBatches(4)(both) == []
    assert ConcatBatches(4, "agent_steps")(both)[0] is both


def test_concat_keeps_what_it_has_collected_in_its_state():
    first, second = ConcatBatches(3), ConcatBatches(3)
    first(rewards(0, 1))
    second.load_state_dict(first.state_dict())
    assert second(rewards(2))[0]["rewards"].tolist() == [0, 1, 2]


def test_concat_refuses_sizes_and_units_that_make_no_sense():
    with pytest.raises(ValueError, match="'env_steps' or 'agent_steps', not 'rows'"):
        ConcatBatches(4, "rows")
    with pytest.raises(ValueError, match="at least 1: 0"):
        ConcatBatches(0)


# -- SelectExperiences ----------------------------------------------------------------------------


def test_select_keeps_some_policies_and_all_env_steps():
    both = MultiAgentBatch({"a": rewards(0, 1), "b": rewards(2)}, 2)
    kept = SelectExperiences(["b"])(both)
    assert list(kept.policy_batches) == ["b"]
    assert (kept.env_steps(), kept.agent_steps()) == (2, 1)
    assert list(both.policy_batches) == ["a", "b"]


def test_select_lets_the_default_policy_pass_only_if_it_is_named():
    batch = rewards(1)
    assert SelectExperiences("default_policy")(batch) is batch
    with pytest.raises(ValueError, match=r"not among the selected policies \['a'\]"):
        SelectExperiences("a")(batch)


# -- StandardizeFields ----------------------------------------------------------------------------


def test_standardize_by_hand():
    batch = rewards(1, 2, 3)
    before = batch["rewards"]
    assert StandardizeFields("rewards")(batch) is batch
    # mean 2, deviation sqrt(2/3)
    np.testing.assert_allclose(batch["rewards"], [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-6)
    assert batch["rewards"].dtype == np.float32
    assert before.tolist() == [1, 2, 3]


def test_standardize_is_per_policy_and_leaves_single_rows_alone():
    both = MultiAgentBatch({"a": rewards(0, 2), "b": rewards(7)}, 2)
    StandardizeFields(["rewards"])(both)
    assert both.policy_batches["a"]["rewards"].tolist() == [-1, 1]
    assert both.policy_batches["b"]["rewards"].tolist() == [7]


def test_standardize_divides_by_no_less_than_1e4():
    batch = rewards(5, 5, 5)
    StandardizeFields(["rewards"])(batch)
    assert batch["rewards"].tolist() == [0, 0, 0]


def test_standardize_does_not_count_padding():
    batch = SampleBatch(
        rewards=[1.0, 0.0, 3.0, 5.0], seq_lens=[1, 2], max_seq_len=2, zero_padded=True
    )
    StandardizeFields(["rewards"])(batch)
    # The real rows 1, 3, 5 have mean 3 and deviation sqrt(8/3).
    np.testing.assert_allclose(batch["rewards"], [-(1.5**0.5), 0, 0, 1.5**0.5], rtol=1e-6)


@given(arrays(np.float32, st.integers(2, 50), elements=st.floats(-1e4, 1e4, width=32)))
def test_standardized_columns_have_mean_0_and_deviation_1_or_less(values):
    batch = SampleBatch(rewards=values)
    StandardizeFields(["rewards"])(batch)
    assert abs(batch["rewards"].mean(dtype=np.float64)) < 1e-4
    assert batch["rewards"].std() < 1 + 1e-4


def test_standardize_names_the_nearest_column():
    with pytest.raises(KeyError, match="no policy has a column 'reward'; did you mean 'rewards'"):
        StandardizeFields(["reward"])(rewards(1, 2))
