"""Every hook sees what it is promised; several callbacks act as one; what nobody hears is free."""

from __future__ import annotations

import numpy as np
import pytest
from coin import CoinActor, Unchanged
from linear import LinearPolicy

from rl_sample import SampleBatch
from rl_workers import Callbacks, MultiCallbacks, WorkerSet, env_spaces, overridden
from rl_workers.callbacks import HOOKS, make_callbacks
from rl_workers.flow import (
    ApplyGradients,
    ComputeGradients,
    ParallelRollouts,
    StandardMetricsReporting,
    TrainOneStep,
)
from rl_workers.pieces import TrajectoryHook, postprocess_pieces
from rl_workers.testing import CountingEnv, LeavingAgentsEnv


class Remember(Callbacks):
    """Keeps what the hooks of sampling and learning are told, by their names."""

    def __init__(self):
        self.told = {hook: [] for hook in HOOKS}
        for hook in HOOKS:
            setattr(self, hook, lambda hook=hook, **told: self.told[hook].append(told))


def make_workers(env=CountingEnv, callbacks=None, **options):
    policy = LinearPolicy(*env_spaces(CountingEnv), {"seed": 0})
    options = {"seed": 1, "rollout_fragment_length": 8, "num_envs_per_worker": 2, **options}
    return WorkerSet(env, policy, callbacks=callbacks, **options)


def test_every_hook_is_known_and_does_nothing_by_itself():
    assert HOOKS == (
        "on_sub_environment_created", "on_trainer_init", "on_episode_start", "on_episode_step",
        "on_episode_end", "on_postprocess_trajectory", "on_sample_end", "on_learn_on_batch",
        "on_train_result",
    )  # fmt: skip
    assert all(overridden(Callbacks(), hook) is None for hook in HOOKS)


def test_a_worker_tells_its_hooks_of_everything():
    told = Remember()
    with make_workers(callbacks=told) as workers:
        batch = next(ParallelRollouts(workers))
    made = told.told["on_sub_environment_created"]
    assert [m["env_context"].vector_index for m in made] == [0, 1]
    assert all(m["worker"] == 0 and isinstance(m["sub_environment"], CountingEnv) for m in made)
    ended = told.told["on_episode_end"]
    assert len(told.told["on_episode_start"]) == len(ended) + 2
    assert len(told.told["on_episode_step"]) == 16
    for each in (*told.told["on_episode_start"], *told.told["on_episode_step"], *ended):
        assert each.keys() == {"worker", "base_env", "policies", "episode", "env_index"}
    assert [each["samples"].count for each in told.told["on_sample_end"]] == [batch.count] == [16]


class CountPieces(Callbacks):
    """RLlib's own example of this hook, and a column of the user's."""

    def on_postprocess_trajectory(
        self, *, worker, episode, agent_id, policy_id, policies, postprocessed_batch,
        original_batches,
    ):  # fmt: skip
        metrics = episode.custom_metrics
        metrics["num_batches"] = metrics.get("num_batches", 0) + 1
        metrics["worker"], metrics["policies"] = worker, len(policies)
        assert original_batches[agent_id][0] == policy_id
        raw = original_batches[agent_id][1]
        assert "length" not in raw
        assert set(postprocessed_batch["eps_id"]) == {episode.eps_id}
        rewards = raw["rewards"] + 1
        postprocessed_batch["rewards"] = rewards
        postprocessed_batch["length"] = np.full(raw.count, raw.count)


@pytest.mark.parametrize("batch_mode", ["truncate_episodes", "complete_episodes"])
def test_the_trajectory_hook_sees_every_piece_and_may_set_columns(batch_mode):
    with make_workers(batch_mode=batch_mode) as workers:
        plain = next(ParallelRollouts(workers))
    with make_workers(callbacks=CountPieces, batch_mode=batch_mode) as workers:
        batch = next(ParallelRollouts(workers))
        custom = workers.metrics.summary()["custom_metrics"]
    np.testing.assert_array_equal(batch["rewards"], plain["rewards"] + 1)
    np.testing.assert_array_equal(batch.segments.ends, plain.segments.ends)
    lengths = np.diff(batch.segments.ends, prepend=0)
    np.testing.assert_array_equal(batch["length"], np.repeat(lengths, lengths))
    assert (custom["num_batches_mean"], custom["policies_mean"]) == (1.0, 1.0)


def test_an_episode_in_two_fragments_is_told_of_twice():
    with make_workers(lambda context: CountingEnv(40), CountPieces, num_envs_per_worker=1) as found:
        rollouts = ParallelRollouts(found)
        while found.metrics.total < 5:
            next(rollouts)
        assert found.metrics.summary()["custom_metrics"]["num_batches_max"] > 1


def test_the_trajectory_hook_sees_all_agents_of_an_episode():
    heard = []

    class Hear(Callbacks):
        def on_postprocess_trajectory(self, *, agent_id, policy_id, original_batches, **_):
            lengths = {agent: batch.count for agent, (_, batch) in original_batches.items()}
            heard.append((agent_id, policy_id, lengths))

    envs = LeavingAgentsEnv()
    policies = {
        pid: LinearPolicy(envs.observation_spaces[pid], envs.action_spaces[pid], {"seed": 0})
        for pid in ("early", "late")
    }
    with WorkerSet(
        LeavingAgentsEnv, policies, policy_mapping_fn=lambda agent, eps_id, worker: agent,
        callbacks=Hear, rollout_fragment_length=6, seed=0,
    ) as workers:  # fmt: skip
        next(ParallelRollouts(workers))
    assert sorted(heard) == [
        ("early", "early", {"early": 3, "late": 6}),
        ("late", "late", {"early": 3, "late": 6}),
    ]


class Scale(Callbacks):
    """Puts a column into what is learned on, and a number into the result."""

    def on_learn_on_batch(self, *, policy, train_batch, result):
        assert isinstance(policy, LinearPolicy)
        train_batch["rewards"] = np.zeros_like(train_batch["rewards"])
        result["rows"] = train_batch.count
        result["odd"] = float("nan")


def test_the_learn_hook_may_change_the_batch_and_report():
    with make_workers(callbacks=Scale) as workers:
        plan = (
            ParallelRollouts(workers)
            .for_each(TrainOneStep(workers))
            .for_each(StandardMetricsReporting(workers))
        )
        with pytest.warns(RuntimeWarning, match="custom metrics of 'default_policy'.*'odd': nan"):
            result = next(plan)
        assert not workers.learners["default_policy"].w.any()  # nothing was gained
    assert result["info"]["learner"]["default_policy"]["custom_metrics"] == {"rows": 16.0}


def test_the_learn_hook_is_told_once_where_gradients_are_computed(workers):
    told = Remember()
    workers.on_learn_on_batch = told.on_learn_on_batch
    batch = SampleBatch(rewards=np.arange(4, dtype=np.float32))
    ApplyGradients(workers)(ComputeGradients(workers)(batch))
    (learned,) = told.told["on_learn_on_batch"]
    assert learned == {
        "policy": workers.learners["default_policy"], "train_batch": batch, "result": {},
    }  # fmt: skip


class First(Callbacks):
    def on_episode_end(self, *, episode, **_):
        episode.custom_metrics["first"] = 1.0


class Second(Callbacks):
    def on_episode_start(self, *, episode, **_):
        episode.user_data["begun"] = True

    def on_episode_end(self, *, episode, **_):
        assert "first" in episode.custom_metrics
        episode.custom_metrics["second"] = 2.0


def test_several_callbacks_act_in_order():
    both = make_callbacks([First, Second])
    assert isinstance(both, MultiCallbacks)
    assert [hook for hook in HOOKS if overridden(both, hook)] == [
        "on_episode_start",
        "on_episode_end",
    ]
    with make_workers(callbacks=[First, Second]) as workers:
        next(ParallelRollouts(workers))
        custom = workers.metrics.summary()["custom_metrics"]
    assert (custom["first_mean"], custom["second_mean"]) == (1.0, 2.0)


@pytest.mark.ray
def test_several_callbacks_travel_to_remote_workers(ray_cluster):
    with make_workers(callbacks=[First, Second], num_workers=1) as workers:
        next(ParallelRollouts(workers))
        assert "second_mean" in workers.metrics.summary()["custom_metrics"]


def test_what_is_no_callback_is_named():
    for wrong in (int, 3, "First", [First, dict]):
        with pytest.raises(TypeError, match=r"neither a class that inherits rl_workers\.Callbacks"):
            make_callbacks(wrong)


def test_pieces_without_rows_and_without_hooks_pass():
    empty = {"p": SampleBatch(rewards=np.zeros(0, np.float32))}
    assert postprocess_pieces(empty, {"p": Unchanged()}, {0: "agent"}, []) == empty
    hook = TrajectoryHook(print, 0, {"p": CoinActor()}, [])
    assert hook.records([]) == []


def test_an_environment_that_is_made_only_once_is_refused():
    env = CountingEnv()
    with pytest.raises(ValueError, match="returned the same object twice"):
        make_workers(lambda context: env)
