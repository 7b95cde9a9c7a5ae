"""EpisodeMetrics: the window, RLlib's keys, and no NaN."""

from __future__ import annotations

import json
import math

import pytest

from rl_sample.protocols import EpisodeRecord
from rl_workers.flow.results import EpisodeMetrics


def episode(reward, length=10, **more):
    return EpisodeRecord(0, 0, 0, length, {"agent": reward}, **more)


def test_before_an_episode_has_finished_only_rewards_are_absent():
    summary = EpisodeMetrics().summary()
    assert summary == {
        "episode_len_mean": 0.0,
        "episodes_total": 0,
        "policy_reward_min": {},
        "policy_reward_max": {},
        "policy_reward_mean": {},
        "custom_metrics": {},
        "hist_stats": {"episode_reward": [], "episode_lengths": []},
    }


def test_figures_are_over_the_last_episodes():
    metrics = EpisodeMetrics(window=3)
    metrics.add([episode(100), episode(1, 10), episode(2, 20)])
    metrics.add([episode(6, 60)])
    summary = metrics.summary()
    assert summary["episode_reward_mean"] == 3
    assert (summary["episode_reward_min"], summary["episode_reward_max"]) == (1, 6)
    assert summary["episode_len_mean"] == 30
    assert summary["episodes_total"] == 4
    assert summary["hist_stats"] == {"episode_reward": [1, 2, 6], "episode_lengths": [10, 20, 60]}


def test_rewards_add_up_over_agents_and_are_split_by_named_policies():
    metrics = EpisodeMetrics()
    returns, policies = {"x": 1.0, "y": 2.0, "z": 5.0}, {"x": "p", "y": "p", "z": "q"}
    metrics.add([EpisodeRecord(0, 0, 0, 3, returns, policies)])
    summary = metrics.summary()
    assert summary["episode_reward_mean"] == 8
    assert summary["policy_reward_mean"] == {"p": 1.5, "q": 5}
    assert summary["policy_reward_max"] == {"p": 2, "q": 5}
    assert summary["hist_stats"]["policy_p_reward"] == [1, 2]


def test_the_default_policy_is_not_reported_twice():
    metrics = EpisodeMetrics()
    metrics.add([episode(1.0, policies={"agent": "default_policy"})])
    assert metrics.summary()["policy_reward_mean"] == {}


def test_custom_metrics_get_mean_min_and_max():
    metrics = EpisodeMetrics()
    metrics.add([episode(0, custom={"angle": 1.0}), episode(0, custom={"angle": 3.0})])
    assert metrics.summary()["custom_metrics"] == {
        "angle_min": 1.0,
        "angle_max": 3.0,
        "angle_mean": 2.0,
    }


def test_a_custom_metric_that_is_no_number_is_left_out_with_a_warning():
    metrics = EpisodeMetrics()
    metrics.add([episode(0, custom={"angle": math.nan, "speed": 1.0})])
    with pytest.warns(RuntimeWarning, match="custom metric left out of the result: {'angle': nan}"):
        custom = metrics.summary()["custom_metrics"]
    assert set(custom) == {"speed_min", "speed_max", "speed_mean"}


def test_the_window_can_be_resized_and_must_hold_an_episode():
    metrics = EpisodeMetrics(5)
    metrics.add(episode(i) for i in range(5))
    metrics.resize(2)
    assert metrics.summary()["episode_reward_mean"] == 3.5
    assert metrics.window == 2
    with pytest.raises(ValueError, match="at least 1: 0"):
        metrics.resize(0)


def test_state_goes_on_through_json():
    first, second = EpisodeMetrics(2), EpisodeMetrics()
    team = EpisodeRecord(0, 0, 0, 3, {("red", 1): 3.0}, {("red", 1): "p"}, {"angle": 1.0})
    first.add([episode(1), episode(2), team])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.summary() == first.summary()
    assert second.window == 2
    assert second.summary()["policy_reward_mean"] == {"p": 3.0}
