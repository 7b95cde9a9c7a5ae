"""Action masks from infos and observations: in every backend the mask of what is acted on."""

from __future__ import annotations

from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from coin import Unchanged
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from masked import LegalActor, Masked, MaskedAgents, MaskedInObs, Saying, legal

from rl_workers import EnvError, RolloutOptions, Sampler
from rl_workers.gym_vector_envs import GymVectorEnvs
from rl_workers.multi_agent_sampler import MultiAgentSampler
from rl_workers.testing import CountingEnv
from rl_workers.vector_envs import LocalEnvs

BACKENDS = ["local", *AutoresetMode]


def make_sampler(backend, make_env, length=8, **options):
    if backend == "local":
        envs = LocalEnvs([make_env() for _ in range(3)])
    else:
        envs = GymVectorEnvs(SyncVectorEnv([make_env] * 3, autoreset_mode=backend))
    options = RolloutOptions(num_envs_per_worker=3, rollout_fragment_length=length, **options)
    return Sampler(envs, {"p": (LegalActor(), Unchanged())}, options, seed=5)


@pytest.mark.parametrize("batch_mode", ["truncate_episodes", "complete_episodes"])
@pytest.mark.parametrize("final", ["mask", "nothing", "zeros"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_of_infos_belong_to_the_observation_that_they_came_with(backend, final, batch_mode):
    sampler = make_sampler(backend, partial(Masked, final), batch_mode=batch_mode)
    episodes = 0
    for _ in range(6):
        fragment = sampler.next()
        batch, segments = fragment.batch, fragment.batch.segments
        episodes += len(fragment.episodes)
        np.testing.assert_array_equal(batch["action_mask"], legal(batch["obs"]))
        assert batch["action_mask"].dtype == bool
        assert batch["action_mask"][np.arange(batch.count), batch["actions"]].all()
        np.testing.assert_array_equal(batch["state_in_0"][:, 0], batch["t"])
        last, ends = segments.last_obs, segments.ends - 1
        over = batch["terminateds"][ends] | batch["truncateds"][ends]
        told = {"mask": legal(last["obs"]), "nothing": True, "zeros": False}[final]
        expected = np.where(over[:, None], told, legal(last["obs"]))
        np.testing.assert_array_equal(last["action_mask"], expected)
    assert episodes >= 20


def test_all_backends_give_the_same_rows():
    found = []
    for backend in BACKENDS:
        sampler = make_sampler(backend, Masked, length=40)
        batch = sampler.next().batch
        rows = [batch["env_id"] == i for i in range(3)]
        found.append([(batch["obs"][r][:30], batch["actions"][r][:30]) for r in rows])
    for other in found[1:]:
        np.testing.assert_equal(other, found[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mask_in_observations_counts_and_may_be_empty_at_the_end(backend):
    sampler = make_sampler(backend, MaskedInObs)
    for _ in range(6):
        batch = sampler.next().batch
        np.testing.assert_array_equal(batch["action_mask"], legal(batch["obs"]["at"]))
        over = batch["terminateds"] | batch["truncateds"]
        assert (batch["new_obs"]["action_mask"].any(axis=1) == ~over).all()


def test_environments_without_masks_have_no_column():
    assert "action_mask" not in make_sampler("local", CountingEnv).next().batch


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (([1, 1], [1, 1], None), "worker 0, env 0.*no 'action_mask', but others had one. Give one"),
        ((None, [1, 1]), "worker 0, env 0.*has an 'action_mask', but that of the first reset had"),
        (([1, 1], [0, 0]), "worker 0, env 0.*'action_mask'. allows no action. Leave at least one"),
        (("left",), "worker 0, env 0.*'action_mask'. is .*left.*; it should be an array with 1"),
    ],
)
def test_masks_that_cannot_be_are_named(backend, masks, message):
    with pytest.raises(EnvError, match=message):
        make_sampler(backend, partial(Saying, *masks)).next()


def test_all_masks_are_of_one_size():
    message = "worker 0, env 0, step 1: infos.'action_mask'. has 3 entries, others had 2"
    with pytest.raises(EnvError, match=message):
        make_sampler("local", partial(Saying, [1, 1], [1, 1, 1])).next()


def test_several_choices_have_a_tuple_of_masks():
    class Two(Saying):
        def __init__(self):
            super().__init__((np.array([0, 1]), np.array([1, 0, 1])))
            self.action_space = gym.spaces.MultiDiscrete([2, 3])

    for backend in BACKENDS:
        sampler = make_sampler(backend, Two)
        assert sampler.stream.obs["action_mask"].tolist() == [[False, True, True, False, True]] * 3


def test_an_episode_that_is_replayed_has_its_mask_again():
    class Seeded(Masked):
        def reset(self, *, seed=None, options=None):
            self._episode = -1  # a CountingEnv counts its resets, from which replays would differ
            return super().reset(seed=seed)

    first, second = (make_sampler("local", Seeded) for _ in range(2))
    first.next()
    assert second.load_state_dict(first.state_dict()) == []
    for _ in range(3):
        one, other = first.next().batch, second.next().batch
        for name in ("obs", "action_mask", "actions"):
            np.testing.assert_array_equal(one[name], other[name])


def agents_sampler(told="ab", mapping_fn=lambda *_: "p", length=5):
    options = RolloutOptions(num_envs_per_worker=2, rollout_fragment_length=length)
    envs = [MaskedAgents(told), MaskedAgents(told)]
    policies = {pid: (LegalActor(), Unchanged()) for pid in "pq"}
    return MultiAgentSampler(envs, policies, options, mapping_fn=mapping_fn, seed=5)


@pytest.mark.parametrize("length", [1, 5, 12])
def test_agents_have_masks_of_their_own(length):
    sampler, rows = agents_sampler(length=length), 0
    for _ in range(24 // length):
        for batch in sampler.next().batch.policy_batches.values():
            rows += batch.count
            np.testing.assert_array_equal(batch["action_mask"], legal(batch["obs"]))
            calls = np.where(batch["obs"][:, 0] == 0, batch["t"], batch["t"] // 2 - 1)
            np.testing.assert_array_equal(batch["state_in_0"][:, 0], calls)
    assert rows > 30
    state, other = sampler.state_dict(), agents_sampler(length=length)
    assert other.load_state_dict(state) == []
    one, two = sampler.next().batch.policy_batches, other.next().batch.policy_batches
    for pid in one:
        np.testing.assert_array_equal(one[pid]["actions"], two[pid]["actions"])


def test_agents_of_one_policy_all_have_a_mask_or_none():
    with pytest.raises(EnvError, match="worker 0, env 0, step 2: the info has no 'action_mask'"):
        agents_sampler(told="a").next()
    with pytest.raises(EnvError, match="step 2: the info has an 'action_mask', but that of the fi"):
        agents_sampler(told="b").next()
