"""Agents that leave early, arrive late or wait their turn write through the same slots."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from coin import CoinActor, Unchanged

from rl_workers import EnvError, MultiAgentEnv, RolloutOptions
from rl_workers.multi_agent_sampler import MultiAgentSampler
from rl_workers.testing import LeavingAgentsEnv

BOX = gym.spaces.Box(-1.0, np.inf, (2,), np.float32)


def make_sampler(envs, mapping_fn=lambda agent, eps_id, worker: agent, **options):
    policies = {name: (CoinActor(), Unchanged()) for name in ("early", "late")}
    options = RolloutOptions(num_envs_per_worker=len(envs), **options)
    return MultiAgentSampler(envs, policies, options, mapping_fn=mapping_fn, seed=3)


def test_an_agent_that_leaves_early_ends_early():
    sampler = make_sampler(
        [LeavingAgentsEnv(length=6, leave_at=3)],
        rollout_fragment_length=12,
        batch_mode="complete_episodes",
    )
    fragment = sampler.next()
    early, late = (fragment.batch.policy_batches[p] for p in ("early", "late"))
    assert fragment.batch.env_steps() == 12
    assert fragment.batch.agent_steps() == 2 * (3 + 6)
    np.testing.assert_array_equal(early["t"], [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(early["terminateds"], [0, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(late["t"], [*range(6), *range(6)])
    np.testing.assert_array_equal(late["terminateds"], [0, 0, 0, 0, 0, 1] * 2)
    np.testing.assert_array_equal(early["new_obs"][:, 1], [1, 2, 3, 1, 2, 3])
    paid = (early["actions"] == early["t"] % 2).astype(np.float32)
    np.testing.assert_array_equal(early["rewards"], paid)
    alone = 0.25 * (late["t"] >= 3)
    np.testing.assert_array_equal(late["rewards"], (late["actions"] == late["t"] % 2) + alone)
    assert set(early["agent_index"]) != set(late["agent_index"])


def test_records_hold_each_agents_return():
    sampler = make_sampler([LeavingAgentsEnv()] * 1, rollout_fragment_length=6)
    fragment = sampler.next()
    (record,) = fragment.episodes
    assert record.length == 6
    assert record.policies == {"early": "early", "late": "late"}
    for name in ("early", "late"):
        rows = fragment.batch.policy_batches[name]
        assert record.returns[name] == pytest.approx(rows["rewards"].sum())


@pytest.mark.parametrize("length", [1, 2, 5])
def test_fragments_of_any_length_hold_the_same_rows(length):
    def rows(fragment_length, total=24):
        sampler = make_sampler(
            [LeavingAgentsEnv(), LeavingAgentsEnv(length=4, leave_at=1)],
            rollout_fragment_length=fragment_length,
        )
        found = {}
        for _ in range(total // fragment_length + 1):
            for pid, batch in sampler.next().batch.policy_batches.items():
                for row in batch.rows():
                    key = (pid, int(row["env_id"]), int(row["eps_id"]), int(row["t"]))
                    assert key not in found
                    found[key] = (int(row["actions"]), float(row["rewards"]))
        return found

    whole, pieces = rows(24), rows(length)
    both = whole.keys() & pieces.keys()
    assert len(both) > 30
    assert all(whole[key] == pieces[key] for key in both)


class Turns(MultiAgentEnv):
    """`a` and `b` take turns; whoever waits is paid 1 for each step it waits."""

    def __init__(self):
        self.observation_spaces = {"a": BOX, "b": BOX}
        self.action_spaces = {"a": gym.spaces.Discrete(2), "b": gym.spaces.Discrete(2)}

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return {"a": np.array([0, 0], np.float32)}, {}

    def step(self, actions):
        turn, waits = ("a", "b") if self.t % 2 == 0 else ("b", "a")
        assert list(actions) == [turn]
        self.t += 1
        over = self.t == 4
        obs = {waits: np.array([0, self.t], np.float32)}
        if over:
            obs[turn] = np.array([0, self.t], np.float32)
        return obs, {turn: 10.0, waits: 1.0}, {"__all__": False}, {"__all__": over}, {}


def test_rewards_of_waiting_agents_wait_too():
    sampler = make_sampler(
        [Turns()],
        mapping_fn=lambda agent, eps_id, worker: {"a": "early", "b": "late"}[agent],
        rollout_fragment_length=4,
        batch_mode="complete_episodes",
    )
    batches = sampler.next().batch.policy_batches
    a, b = batches["early"], batches["late"]
    np.testing.assert_array_equal(a["t"], [0, 2])
    np.testing.assert_array_equal(a["rewards"], [11, 11])  # own step, then the other's
    np.testing.assert_array_equal(a["new_obs"][:, 1], [2, 4])
    np.testing.assert_array_equal(b["t"], [1, 3])
    np.testing.assert_array_equal(b["rewards"], [11, 10])
    np.testing.assert_array_equal(a["truncateds"], [False, True])
    np.testing.assert_array_equal(b["truncateds"], [False, True])


def test_open_rows_wait_for_the_next_fragment():
    sampler = make_sampler(
        [Turns()],
        mapping_fn=lambda agent, eps_id, worker: {"a": "early", "b": "late"}[agent],
        rollout_fragment_length=1,
    )
    first = sampler.next().batch
    assert first.agent_steps() == 0  # a has acted, but not seen yet what came of it
    assert sampler.next().batch.policy_batches["early"]["rewards"].tolist() == [11.0]


class Silent(LeavingAgentsEnv):
    """Truncates `early` without telling it what it saw last."""

    def step(self, actions):
        obs, rewards, _, _, infos = super().step(actions)
        if self._t == self._leave_at:
            obs.pop("early")
        return obs, rewards, {"__all__": False}, {"early": self._t == self._leave_at}, infos


def test_a_truncated_agent_needs_its_last_observation():
    with pytest.raises(EnvError, match="worker 0, env 0.*'early' was truncated without"):
        make_sampler([Silent()], rollout_fragment_length=6).next()


def test_unknown_policies_are_named():
    with pytest.raises(ValueError, match=r"'none' for agent 'early'.*\['early', 'late'\]"):
        make_sampler([LeavingAgentsEnv()], mapping_fn=lambda *_: "none")
