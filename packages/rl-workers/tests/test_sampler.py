"""The single-agent sampler: every backend, autoreset mode and fragment length, one truth."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from coin import CoinActor, Unchanged
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rl_sample import SampleBatch, concat_samples
from rl_workers import Callbacks, EnvError, Episode, RolloutOptions, Sampler
from rl_workers.gym_vector_envs import GymVectorEnvs
from rl_workers.testing import CountingEnv
from rl_workers.vector_envs import LocalEnvs

BACKENDS = ["local", *AutoresetMode]


def make_envs(backend, num_envs=3):
    if backend == "local":
        return LocalEnvs([CountingEnv() for _ in range(num_envs)])
    return GymVectorEnvs(SyncVectorEnv([CountingEnv] * num_envs, autoreset_mode=backend))


def make_sampler(backend="local", num_envs=3, callbacks=None, actor=None, **options):
    options = RolloutOptions(num_envs_per_worker=num_envs, **options)
    policies = {"coin": (actor or CoinActor(), Unchanged())}
    envs = backend if not isinstance(backend, str | AutoresetMode) else make_envs(backend, num_envs)
    return Sampler(envs, policies, options, callbacks=callbacks, seed=5)


def transitions(sampler, rows_per_env):
    """{env: the first rows of (obs, action, reward, new_obs, flags, t)} over fragments."""
    batches = []
    while True:
        batches.append(sampler.next().batch)
        batch = concat_samples(batches)
        counts = np.bincount(batch["env_id"], minlength=3)
        if counts.min() >= rows_per_env:
            break
    names = ("obs", "actions", "rewards", "new_obs", "terminateds", "truncateds", "t")
    return {
        env: {name: batch[name][batch["env_id"] == env][:rows_per_env] for name in names}
        for env in range(3)
    }


@pytest.fixture(scope="module")
def truth():
    return transitions(make_sampler(rollout_fragment_length=60), 60)


@pytest.mark.parametrize("batch_mode", ["truncate_episodes", "complete_episodes"])
@pytest.mark.parametrize("length", [1, 3, 8, 50])
@pytest.mark.parametrize("backend", BACKENDS)
def test_identical_transitions(backend, length, batch_mode, truth):
    sampler = make_sampler(backend, rollout_fragment_length=length, batch_mode=batch_mode)
    found = transitions(sampler, 60)
    for env, columns in truth.items():
        for name, expected in columns.items():
            np.testing.assert_array_equal(found[env][name], expected, err_msg=f"{env} {name}")


def test_the_truth_is_what_the_env_says(truth):
    for columns in truth.values():
        t, new_obs, obs = columns["t"], columns["new_obs"], columns["obs"]
        np.testing.assert_array_equal(obs[:, 1], t)
        np.testing.assert_array_equal(new_obs[:, 1], t + 1)
        np.testing.assert_array_equal(obs[:, 0], new_obs[:, 0])
        np.testing.assert_array_equal(columns["rewards"], t + 0.5 * columns["actions"])
        ends = columns["terminateds"] | columns["truncateds"]
        np.testing.assert_array_equal((t == 0)[1:], ends[:-1])
        assert {0, 1} == set(columns["actions"].tolist())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fragment_is_full_and_its_segments_are_pieces(backend):
    sampler = make_sampler(backend, rollout_fragment_length=8)
    for _ in range(5):
        batch = sampler.next().batch
        assert 24 <= batch.count <= 26  # NEXT_STEP envs may fill up more than one row at once
        starts = np.concatenate([[0], batch.segments.ends[:-1]])
        assert batch.segments.ends[-1] == batch.count
        for a, b in zip(starts, batch.segments.ends, strict=True):
            assert len(set(batch["eps_id"][a:b])) == 1
            np.testing.assert_array_equal(np.diff(batch["t"][a:b]), 1)
        np.testing.assert_array_equal(
            batch["eps_id"], np.repeat(batch["eps_id"][starts], batch.segments.ends - starts)
        )


def test_complete_episodes_are_whole():
    sampler = make_sampler(rollout_fragment_length=10, batch_mode="complete_episodes")
    seen: set[int] = set()
    for _ in range(4):
        fragment = sampler.next()
        for episode in fragment.batch.split_by_episode():
            ends = episode["terminateds"] | episode["truncateds"]
            assert ends[-1]
            assert not ends[:-1].any()
            assert episode["t"][0] == 0
            eps_id = int(episode["eps_id"][0])
            assert eps_id not in seen
            seen.add(eps_id)
        assert fragment.batch.count >= 30


def test_episode_records_add_up():
    sampler = make_sampler(rollout_fragment_length=10, batch_mode="complete_episodes")
    fragment = sampler.next()
    by_id = {int(e["eps_id"][0]): e for e in fragment.batch.split_by_episode()}
    assert {record.eps_id for record in fragment.episodes} == set(by_id)
    for record in fragment.episodes:
        rows = by_id[record.eps_id]
        assert record.length == rows.count
        assert record.returns == {"agent": pytest.approx(rows["rewards"].sum())}
        assert record.terminated == bool(rows["terminateds"][-1])
        assert record.env_id == rows["env_id"][0]


def test_handed_over_arrays_are_never_written_again():
    sampler = make_sampler(rollout_fragment_length=8)
    first = sampler.next().batch
    before = first.copy()
    sampler.next()
    for name in before:
        np.testing.assert_array_equal(first[name], before[name])


def test_own_vectorised_version_stores_no_dead_ticks():
    envs = GymVectorEnvs(gym.make_vec("CartPole-v1", 4, vectorization_mode="vector_entry_point"))
    sampler = make_sampler(envs, num_envs=4, rollout_fragment_length=100)
    batch = sampler.next().batch
    assert (batch["rewards"] == 1).all()
    ends = batch["terminateds"]
    assert ends.sum() >= 4
    assert (batch["t"][np.flatnonzero(ends[:-1]) + 1] == 0).all()


def test_callbacks_hear_of_everything():
    heard = []

    class Hear(Callbacks):
        def on_episode_start(self, *, episode, env_index, **_):
            episode.user_data["steps"] = 0
            heard.append(("start", env_index))

        def on_episode_step(self, *, episode, **_):
            episode.user_data["steps"] += 1

        def on_episode_end(self, *, worker, base_env, policies, episode, env_index):
            assert isinstance(episode, Episode)
            assert list(policies) == ["coin"]
            assert len(base_env) == 3
            episode.custom_metrics["steps"] = episode.user_data["steps"]

        def on_sample_end(self, *, worker, samples):
            heard.append(("sampled", samples.count))

    sampler = make_sampler(rollout_fragment_length=20, callbacks=Hear())
    fragment = sampler.next()
    assert heard[:3] == [("start", 0), ("start", 1), ("start", 2)]
    assert heard[-1] == ("sampled", 60)
    assert fragment.episodes
    for record in fragment.episodes:
        assert record.custom == {"steps": record.length}


def test_infos_are_collected_only_when_asked_for():
    assert "infos" not in make_sampler(rollout_fragment_length=4).next().batch
    for backend in BACKENDS:
        actor = CoinActor(learn=frozenset({"infos"}))
        batch = make_sampler(backend, rollout_fragment_length=4, actor=actor).next().batch
        assert [int(info["t"]) for info in batch["infos"]] == (batch["t"] + 1).tolist()


def test_look_back_is_zero_at_the_start_and_raw_afterwards():
    needs = {"prev_actions": ("actions", (-1,)), "prev_rewards": ("rewards", (-2, -1))}
    sampler = make_sampler(rollout_fragment_length=30, actor=CoinActor(look_back=needs))
    sampler.next()
    batch = sampler.next().batch
    for piece in batch.split_by_episode():
        first = int(piece["t"][0])
        for i in range(len(piece)):
            if i + first == 0:
                assert piece["prev_actions"][i] == 0
                assert (piece["prev_rewards"][i] == 0).all()
            elif i:
                assert piece["prev_actions"][i] == piece["actions"][i - 1]
                assert piece["prev_rewards"][i][1] == piece["rewards"][i - 1]
            if i >= 2:
                assert piece["prev_rewards"][i][0] == piece["rewards"][i - 2]


def test_only_earlier_actions_and_rewards_can_be_looked_back_at():
    actor = CoinActor(look_back={"stack": ("obs", (-3, -2, -1, 0))})
    with pytest.raises(ValueError, match="FrameStackObservation"):
        make_sampler(actor=actor)


def test_recurrent_state_is_zero_at_the_start_and_carried_on():
    sampler = make_sampler(rollout_fragment_length=9, actor=CoinActor(counts=True))
    for _ in range(4):
        batch = sampler.next().batch
        # the actor's state counts its calls in the episode, so it must equal the step
        np.testing.assert_array_equal(batch["state_in_0"][:, 0], batch["t"])
        last = batch["t"][batch.segments.ends - 1]
        np.testing.assert_array_equal(batch.segments.last_state[0][:, 0], last + 1)


class Broken(CountingEnv):
    """Breaks one rule of the Gymnasium API on its third step."""

    def __init__(self, how):
        super().__init__(max_length=7)
        self.how, self.steps = how, 0

    def step(self, action):
        self.steps += 1
        self._length = 100
        obs, reward, terminated, truncated, info = super().step(action)
        if self.steps < 3:
            return obs, reward, terminated, truncated, info
        return {
            "shape": (obs[:1], reward, terminated, truncated, info),
            "type": ("text", reward, terminated, truncated, info),
            "nan": (obs * np.nan, reward, terminated, truncated, info),
            "nan reward": (obs, float("nan"), terminated, truncated, info),
            "reward": (obs, "a lot", terminated, truncated, info),
            "four": (obs, reward, terminated, info),
        }[self.how]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("shape", r"worker 0, env 1, step 3.*\(1,\).*\(2,\)"),
        ("type", r"worker 0, env 1, step 3"),
        ("nan", r"worker 0, env 1, step 3: the environment gave obs = .*nan"),
        ("nan reward", r"worker 0, env 1, step 2: the environment gave rewards = .*nan"),
        ("reward", r"worker 0, env 1, step 3.*a lot"),
        ("four", r"worker 0, env 1, step 2: step\(\) did not return five values"),
    ],
)
def test_broken_environments_are_named(how, message):
    envs = LocalEnvs([CountingEnv(), Broken(how)])
    sampler = make_sampler(envs, num_envs=2, rollout_fragment_length=6)
    with pytest.raises(EnvError, match=message):
        sampler.next()


def test_what_is_no_environment_is_refused():
    with pytest.raises(EnvError, match=r"worker 0, env 0: object has no observation_space"):
        LocalEnvs([object()])


def test_reset_must_return_two_things():
    class OldReset(CountingEnv):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0]

    with pytest.raises(EnvError, match=r"reset\(\) returned .*wants \(observation, info dict\)"):
        make_sampler(LocalEnvs([OldReset()]), num_envs=1)


def test_two_policies_need_a_multi_agent_env():
    policies = {name: (CoinActor(), Unchanged()) for name in ("a", "b")}
    with pytest.raises(ValueError, match="2 policies"):
        Sampler(make_envs("local"), policies, RolloutOptions())


def test_options_teach():
    with pytest.raises(ValueError, match="rollout_fragment_length=0 must be at least 1"):
        RolloutOptions(rollout_fragment_length=0)
    with pytest.raises(ValueError, match="batch_mode='whole'"):
        RolloutOptions(batch_mode="whole")


def test_batches_are_sample_batches():
    assert isinstance(make_sampler(rollout_fragment_length=2).next().batch, SampleBatch)
