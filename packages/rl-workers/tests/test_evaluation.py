"""Whole episodes for evaluation: fair shares, reproducible, locally and on Ray."""

from __future__ import annotations

from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
from linear import LinearPolicy

from rl_workers import Callbacks, EnvError, env_spaces
from rl_workers.evaluation import EvaluationWorkers, dealt
from rl_workers.testing import CountingEnv, LeavingAgentsEnv


class EvenOrLong(gym.Env):
    """Sub-environment `i` of a worker has episodes of `lengths[i]` steps; each step pays 1."""

    def __init__(self, env_config):
        self.observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self._length = env_config["lengths"][env_config.vector_index]

    def reset(self, *, seed=None, options=None):
        self._t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self._t += 1
        return np.zeros(1, np.float32), 1.0, self._t >= self._length, False, {}


def make_evaluation(env=CountingEnv, **options):
    policy = LinearPolicy(*(env_spaces(env, options.get("env_config"))), {"seed": 0})
    options = {"num_envs_per_worker": 3, **options}
    workers = EvaluationWorkers(env, {"default_policy": policy.actor_spec()}, **options)
    return workers, {"default_policy": policy.snapshot()}


@pytest.mark.parametrize(
    ("amount", "parts", "shares"), [(5, 2, [3, 2]), (2, 3, [1, 1, 0]), (6, 3, [2, 2, 2])]
)
def test_work_is_dealt_out_evenly(amount, parts, shares):
    assert dealt(amount, parts) == shares


def test_short_episodes_are_not_over_represented():
    # The first environment could play ten episodes while the second plays one.
    lengths = [3, 30]
    workers, snapshots = make_evaluation(
        lambda context: EvenOrLong(context), num_envs_per_worker=2,
        env_config={"lengths": lengths},
    )  # fmt: skip
    with workers:
        episodes = workers.play(snapshots, 6)
        assert [e.length for e in episodes] == [3, 3, 3, 30, 30, 30]
        # 100 steps: 50 each, and the episode under way is ended: 17 of 3 steps, 2 of 30.
        counted = Counter(e.length for e in workers.play(snapshots, 100, unit="timesteps"))
        assert counted == {3: 17, 30: 2}


def test_the_same_seed_plays_the_same_episodes_whatever_came_before():
    workers, snapshots = make_evaluation("CartPole-v1", explore=True)
    with workers:
        first = [e.length for e in workers.play(snapshots, 5, seed=1)]
        other = [e.length for e in workers.play(snapshots, 5, seed=2)]
        assert [e.length for e in workers.play(snapshots, 5, seed=1)] == first != other


def test_episodes_that_do_not_end_are_named():
    env_config = {"lengths": [5, 10**9]}
    workers, snapshots = make_evaluation(
        lambda context: EvenOrLong(context), num_envs_per_worker=2,
        env_config=env_config, max_episode_steps=100,
    )  # fmt: skip
    with workers, pytest.raises(EnvError, match=r"worker 0, env 1, step 112: .*TimeLimit"):
        workers.play(snapshots, 4)


def test_an_environment_that_has_played_its_share_may_go_on_for_ever():
    workers, snapshots = make_evaluation(
        lambda context: EvenOrLong(context), num_envs_per_worker=2,
        env_config={"lengths": [5, 10**9]}, max_episode_steps=100,
    )  # fmt: skip
    with workers:
        assert [e.length for e in workers.play(snapshots, 1)] == [5]


class Tell(Callbacks):
    def on_episode_end(self, *, episode, **told):
        episode.custom_metrics["double"] = 2.0 * episode.length


def test_hooks_and_several_agents_take_part():
    space = LeavingAgentsEnv().observation_spaces["late"]
    action_space = LeavingAgentsEnv().action_spaces["late"]
    policies = {pid: LinearPolicy(space, action_space, {"seed": 0}) for pid in ("early", "late")}
    workers = EvaluationWorkers(
        LeavingAgentsEnv, {pid: p.actor_spec() for pid, p in policies.items()},
        policy_mapping_fn=lambda agent, eps_id, worker: agent,
        num_envs_per_worker=2, callbacks=Tell,
    )  # fmt: skip
    with workers:
        episodes = workers.play({pid: p.snapshot() for pid, p in policies.items()}, 3)
    assert [e.custom["double"] for e in episodes] == [12.0, 12.0, 12.0]
    assert episodes[0].policies == {"early": "early", "late": "late"}


def test_a_vectorised_environment_with_a_size_of_its_own():
    def five(context):
        return gym.make_vec("CartPole-v1", num_envs=5)

    workers, snapshots = make_evaluation(five, num_envs_per_worker=2)
    with workers:
        episodes = workers.play(snapshots, 10)
    assert sorted(Counter(e.env_id for e in episodes).values()) == [2] * 5


@pytest.mark.ray
def test_remote_workers_play_their_shares_meanwhile(ray_cluster):
    workers, snapshots = make_evaluation(num_workers=2, num_cpus_per_worker=0.5)
    with workers:
        collect = workers.start(snapshots, 7, seed=3)
        episodes = collect()
        assert Counter(e.worker for e in episodes) == {1: 4, 2: 3}
        again = workers.play(snapshots, 7, seed=3)
        assert [e.length for e in again] == [e.length for e in episodes]
        assert [e.worker for e in workers.play(snapshots, 1)] == [1]


@pytest.mark.ray
def test_errors_of_remote_workers_keep_their_cause(ray_cluster):
    workers, snapshots = make_evaluation(
        lambda context: EvenOrLong(context), num_workers=1,
        env_config={"lengths": [10**9] * 3}, max_episode_steps=100,
    )  # fmt: skip
    with workers, pytest.raises(EnvError, match="worker 1, env 0, step 112"):
        workers.play(snapshots, 1)
