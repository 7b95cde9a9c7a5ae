"""StandardMetricsReporting: which keys a result has, and what they mean."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from rl_sample import SampleBatch
from rl_sample.protocols import Learned
from rl_workers.flow import (
    NOT_READY,
    ConcatBatches,
    NoExperience,
    ParallelRollouts,
    StandardizeFields,
    StandardMetricsReporting,
    TrainOneStep,
)

ALWAYS = {
    "agent_timesteps_total",
    "counters",
    "custom_metrics",
    "episode_len_mean",
    "episodes_this_iter",
    "episodes_total",
    "hist_stats",
    "info",
    "num_agent_steps_sampled",
    "num_agent_steps_sampled_this_iter",
    "num_agent_steps_trained",
    "num_agent_steps_trained_this_iter",
    "num_env_steps_sampled",
    "num_env_steps_sampled_this_iter",
    "num_env_steps_trained",
    "num_env_steps_trained_this_iter",
    "inference",
    "num_healthy_workers",
    "policy_reward_max",
    "policy_reward_mean",
    "policy_reward_min",
    "timers",
    "timesteps_total",
}
REWARDS = {"episode_reward_max", "episode_reward_mean", "episode_reward_min"}
TIMERS = {
    *(f"{s}_time_ms" for s in ("env", "inference", "write", "postprocess", "wait")),
    *(f"{s}_time_ms" for s in ("sample", "learn", "update")),
    "sample_throughput",
    "learn_throughput",
}


def plan(workers, config=None):
    return (
        ParallelRollouts(workers)
        .combine(ConcatBatches(8))
        .for_each(StandardizeFields(["rewards"]))
        .for_each(TrainOneStep(workers))
        .for_each(StandardMetricsReporting(workers, config))
    )


def test_a_whole_plan_gives_results_with_rllibs_keys(workers):
    first, second = plan(workers).take(2)
    assert set(first) == ALWAYS | REWARDS
    assert (first["timesteps_total"], second["timesteps_total"]) == (8, 16)
    assert second["num_env_steps_sampled_this_iter"] == 8
    assert second["num_agent_steps_trained_this_iter"] == 8
    assert second["num_env_steps_trained"] == 16
    assert (second["episodes_this_iter"], second["episodes_total"]) == (2, 4)
    assert second["episode_reward_mean"] == 1
    assert set(second["timers"]) == TIMERS
    assert second["timers"]["env_time_ms"] == 500
    assert second["timers"]["wait_time_ms"] == 0
    assert second["counters"] == {
        "num_env_steps_sampled": 16,
        "num_agent_steps_sampled": 16,
        "num_env_steps_trained": 16,
        "num_agent_steps_trained": 16,
    }
    assert set(second["info"]["learner"]["default_policy"]["learner_stats"]) == {"loss"}
    json.dumps(second, allow_nan=False)


def test_rewards_are_absent_until_an_episode_has_finished(workers, make_fragment):
    batch = SampleBatch(rewards=np.arange(8, dtype=np.float32))
    workers.local_input.given = [make_fragment(batch, episodes=[])]
    first, second = plan(workers).take(2)
    assert set(first) == ALWAYS
    assert set(second) == ALWAYS | REWARDS
    json.dumps(first, allow_nan=False)


def test_the_window_comes_from_the_config(workers):
    results = plan(workers, {"metrics_num_episodes_for_smoothing": 3, "lr": 1}).take(2)
    assert len(results[-1]["hist_stats"]["episode_reward"]) == 3
    assert workers.metrics.window == 3
    assert "last 3 episodes" in str(plan(workers, {"metrics_num_episodes_for_smoothing": 3}))


def test_updates_are_not_ready_until_an_iteration_is_long_enough(workers):
    assert next(plan(workers, {"min_time_s_per_reporting": 1000})) is NOT_READY
    assert workers.counters["num_env_steps_trained"] == 8


def test_a_result_without_a_step_is_an_error(workers):
    report = StandardMetricsReporting(workers)
    with pytest.raises(NoExperience, match="sampled and trained not a single step"):
        report((SampleBatch(), {}))


def test_a_statistic_that_is_no_number_is_left_out_with_a_warning(workers):
    report = StandardMetricsReporting(workers)
    batch = next(ParallelRollouts(workers))
    with pytest.warns(
        RuntimeWarning, match="learner_stats of 'default_policy' left out.*'kl': nan"
    ):
        result = report((batch, {"default_policy": Learned({"kl": math.nan, "loss": 1.0})}))
    assert result["info"]["learner"]["default_policy"]["learner_stats"] == {"loss": 1.0}


def test_after_a_restore_counts_go_on_and_timings_begin_anew(workers, make_workers):
    first, others = plan(workers), make_workers()
    next(first)
    second = plan(others)
    others.counters.update(workers.counters)
    others.metrics.load_state_dict(workers.metrics.state_dict())
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    result = next(second)
    assert result["num_env_steps_sampled_this_iter"] == 8
    assert result["timesteps_total"] == 16
    assert (result["episodes_this_iter"], result["episodes_total"]) == (2, 4)
    assert result["timers"]["env_time_ms"] == 500


def test_the_plan_prints_as_a_picture(workers):
    assert plan(workers).describe().splitlines() == [
        "ParallelRollouts(local worker)",
        "├─ combine   ConcatBatches(8 env_steps)",
        "├─ for_each  StandardizeFields(['rewards'])",
        "├─ for_each  TrainOneStep(1 epochs, minibatch all rows)",
        "└─ for_each  StandardMetricsReporting(last 100 episodes)",
    ]
