"""Samplers that are saved in the midst of episodes go on as if nothing had happened."""

from __future__ import annotations

import json
import logging
import random
import re

import gymnasium as gym
import numpy as np
import pytest
from coin import CoinActor, Unchanged
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import NormalizeObservation, TimeLimit
from linear import LinearPolicy
from wandering import DictActions, Forgetful, SavesItself, TakingTurns, Wandering

from rl_sample import MultiAgentBatch, SampleBatch
from rl_sample.protocols import Acted
from rl_workers import Callbacks, RolloutOptions, Sampler, WorkerSet, env_spaces
from rl_workers.flow import ParallelRollouts
from rl_workers.gym_vector_envs import GymVectorEnvs
from rl_workers.multi_agent_sampler import MultiAgentSampler
from rl_workers.testing import CountingEnv
from rl_workers.vector_envs import LocalEnvs

MODES = ("truncate_episodes", "complete_episodes")
CUT = "num_episodes_cut_by_restore"


def make_sampler(make_env, *, num_envs=3, actor=None, callbacks=None, seed=5, **options):
    options = RolloutOptions(**{"rollout_fragment_length": 16, **options})
    envs = make_env()
    if not isinstance(envs, GymVectorEnvs):
        envs = LocalEnvs([envs, *(make_env() for _ in range(num_envs - 1))])
    policies = {"coin": (actor or CoinActor(), Unchanged())}
    return Sampler(envs, policies, options, callbacks=callbacks, seed=seed)


def through_json(state):
    """The state as a file would give it back: nothing in it but JSON and arrays of numbers."""

    def put(value):
        assert isinstance(value, np.ndarray), f"{value!r} is neither JSON nor an array"
        assert value.dtype.kind in "biuf", value.dtype
        return {"$array": value.tolist(), "dtype": str(value.dtype), "shape": value.shape}

    def get(found):
        if "$array" not in found:
            return found
        return np.array(found["$array"], found["dtype"]).reshape(found["shape"])

    return json.loads(json.dumps(state, default=put), object_hook=get)


def assert_same(one, other):
    """Two fragments hold the same rows, segments and episodes, bit for bit."""
    if isinstance(one.batch, MultiAgentBatch):
        assert one.batch.env_steps() == other.batch.env_steps()
        batches = one.batch.policy_batches, other.batch.policy_batches
    else:
        batches = {"": one.batch}, {"": other.batch}
    assert batches[0].keys() == batches[1].keys()
    for pid, left in batches[0].items():
        right: SampleBatch = batches[1][pid]
        assert set(left) == set(right)
        for name, column in left.arrays.items():
            assert column.dtype == right[name].dtype, name
            np.testing.assert_array_equal(column, right[name], err_msg=name)
        np.testing.assert_array_equal(left.segments.ends, right.segments.ends)
        for name, last in left.segments.last_obs.items():
            np.testing.assert_array_equal(last, right.segments.last_obs[name])
        for mine, theirs in zip(left.segments.last_state, right.segments.last_state, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert [e._asdict() for e in one.episodes] == [e._asdict() for e in other.episodes]


def assert_goes_on(make, *, fragments=2):
    """What `make()` makes, saved after some fragments, equals one that was never interrupted."""
    first, second = make(), make()
    for _ in range(fragments):
        first.next()
    state = through_json(first.state_dict())
    assert second.load_state_dict(state) == []
    third = make()
    assert third.load_state_dict(state) == []  # the same state serves again
    for _ in range(4):
        truth = first.next()
        assert_same(truth, second.next())
        assert_same(truth, third.next())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fragments", [0, 1, 3])
def test_sampling_goes_on_bit_for_bit(mode, fragments):
    def make():
        looks_back = {"prev_actions": ("actions", (-1,)), "two": ("rewards", (-2, -1))}
        actor = CoinActor(learn=frozenset({"infos"}), look_back=looks_back, counts=True)
        return make_sampler(Wandering, actor=actor, batch_mode=mode)

    assert_goes_on(make, fragments=fragments)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1", "FrozenLake-v1", "Blackjack-v1"])
def test_gymnasiums_own_environments_go_on(env, mode):
    def make():
        envs = LocalEnvs([gym.make(env) for _ in range(2)])
        options = RolloutOptions(rollout_fragment_length=30, batch_mode=mode)
        return Sampler(envs, {"coin": (CoinActor(), Unchanged())}, options, seed=1)

    assert_goes_on(make)


class Parts(CoinActor):
    """Acts in several parts at once."""

    def act(self, inputs, state, noise, *, explore, step):
        coin = noise["action"]
        actions = {"by": np.stack([coin, coin], 1), "go": (coin < 0.5).astype(np.int64)}
        return Acted(actions, actions, (), {})


def test_actions_of_several_parts_are_replayed():
    assert_goes_on(lambda: make_sampler(DictActions, actor=Parts()))


def test_another_seed_of_the_new_process_does_not_matter():
    first, second = make_sampler(Wandering, seed=5), make_sampler(Wandering, seed=6)
    first.next()
    assert second.load_state_dict(through_json(first.state_dict())) == []
    assert_same(first.next(), second.next())


def test_a_sampler_that_has_gone_on_goes_back():
    sampler = make_sampler(Wandering, batch_mode="complete_episodes")
    sampler.next()
    state = through_json(sampler.state_dict())
    truth = [sampler.next() for _ in range(3)]
    assert sampler.load_state_dict(state) == []
    for fragment in truth:
        assert_same(fragment, sampler.next())


# ------------------------------------------------------------------- states of environments


@pytest.mark.parametrize("mode", MODES)
def test_environments_that_save_themselves_are_not_replayed(mode):
    hidden = Forgetful.hidden

    def make():
        hidden[0] = np.random.default_rng(0)
        return make_sampler(lambda: TimeLimit(SavesItself(), 11), batch_mode=mode)

    first = make()
    first.next()
    state = through_json(first.state_dict())
    assert [set(env) for env in state["envs"]["envs"]] == [{"own", "elapsed", "after"}] * 3
    assert not state["envs"]["done"]
    luck = hidden[0].bit_generator.state
    second = make()
    assert second.load_state_dict(state) == []
    hidden[0].bit_generator.state = luck
    truth = first.next()
    hidden[0].bit_generator.state = luck
    assert_same(truth, second.next())  # the limit of 11 steps is reached on time, too


def test_what_get_state_gives_must_be_plain():
    class Odd(SavesItself):
        def get_state(self):
            return {"x": object()}

    sampler = make_sampler(Odd, num_envs=1)
    lines = make_sampler(Odd, num_envs=1).load_state_dict(through_json(sampler.state_dict()))
    (line,) = lines
    assert line.startswith("worker 0, env 0, step 0: get_state() gave nothing that can be stored")
    assert "get_state()['x'] is a object, neither JSON nor an array" in line


def test_wrappers_with_a_state_of_their_own_have_episodes_replayed():
    sampler = make_sampler(lambda: NormalizeObservation(SavesItself()), num_envs=1)
    assert set(sampler.state_dict()["envs"]["envs"][0]) == {"origin", "after"}


# ------------------------------------------------------------------------- what cannot go on


def cut(make_env, **options):
    """(a sampler after two fragments, another that took up its state, the lines it gave)."""
    first, second = make_sampler(make_env, **options), make_sampler(make_env, **options)
    first.next(), first.next()
    return first, second, second.load_state_dict(through_json(first.state_dict()))


def test_an_episode_that_shows_something_else_is_closed():
    _, sampler, lines = cut(CountingEnv)  # it counts its episodes, from which replays differ
    assert len(lines) == 3
    assert lines[1].startswith("worker 0, env 1, step ")
    assert lines[1].endswith(": replayed, it showed another observation")
    batch = sampler.next().batch
    assert batch.count == 48
    assert (batch["t"][batch["env_id"] == 1][0], batch["env_id"].max()) == (0, 2)


@pytest.mark.parametrize("backend", ["local", *AutoresetMode])
def test_rows_of_closed_episodes_end_as_truncated(backend):
    def make():
        if backend == "local":
            return CountingEnv()
        return GymVectorEnvs(SyncVectorEnv([CountingEnv] * 3, autoreset_mode=backend))

    first, sampler, lines = cut(make, batch_mode="complete_episodes")
    held = {e.eps_id: first.stream.t[i] for i, e in enumerate(first._episodes)}
    seen = {e.eps_id: first.stream.obs["obs"][i].copy() for i, e in enumerate(first._episodes)}
    assert len(lines) == 3
    assert max(held.values()) > 0
    batch = sampler.next().batch
    for eps_id, rows in held.items():
        (where,) = np.nonzero(batch["eps_id"] == eps_id)
        assert len(where) == rows
        if rows:
            np.testing.assert_array_equal(batch["t"][where], range(rows))
            assert batch["truncateds"][where].tolist() == [False] * (rows - 1) + [True]
            assert not batch["terminateds"][where].any()
            np.testing.assert_array_equal(batch["new_obs"][where[-1]], seen[eps_id])


def test_closed_rows_survive_another_save_before_sampling_goes_on():
    first, sampler, _ = cut(Forgetful, batch_mode="complete_episodes")
    again = make_sampler(Forgetful, batch_mode="complete_episodes")
    again.load_state_dict(through_json(sampler.state_dict()))
    closed = [e.eps_id for i, e in enumerate(first._episodes) if first.stream.t[i]]
    assert closed
    batches = [s.next().batch for s in (sampler, again)]
    one, other = ([b[n][np.isin(b["eps_id"], closed)] for n in b] for b in batches)
    assert len(one[0]) > 0
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def test_two_restores_agree_even_where_episodes_are_closed():
    first, second, _ = cut(CountingEnv)
    third = make_sampler(CountingEnv)
    third.load_state_dict(through_json(first.state_dict()))
    for _ in range(3):
        assert_same(second.next(), third.next())


class Endless(Wandering):
    """Never over; and never the same, when it is played again."""

    def step(self, action):
        obs, reward, *_, info = super().step(action)
        return obs, reward + random.random(), False, False, info


def test_new_episodes_have_new_numbers_and_new_luck():
    first, sampler, _ = cut(Forgetful)
    begun = {episode.eps_id for episode in first._episodes}
    batch = sampler.next().batch
    assert min(batch["eps_id"]) > max(begun)
    drifts = make_sampler(Wandering).next().batch["obs"][:, 1]
    _, sampler, _ = cut(Endless)
    assert not set(drifts.tolist()) & set(sampler.next().batch["obs"][:, 1].tolist())


class Drawing(Wandering):
    """Draws a number that changes nothing, but only the first time that it is made."""

    made = 0

    def __init__(self):
        super().__init__()
        Drawing.made += 1
        self.first = Drawing.made == 1

    def step(self, action):
        step = super().step(action)
        if self.first:
            self.np_random.random(int(self.t == 3))
        return step


class Paying(Wandering):
    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, random.random(), *rest


class Ending(Wandering):
    """Its first episode in this process is as long as it can be, those after it are short."""

    lengths = [1000, 2, 2, 2, 2, 2]

    def reset(self, *, seed=None, options=None):
        self.limit = Ending.lengths.pop(0)
        return super().reset(seed=seed)

    def step(self, action):
        obs, reward, *_ = super().step(action)
        return obs, reward, False, self.t >= self.limit, {}


@pytest.mark.parametrize(
    ("env", "why"),
    [
        (Drawing, "replayed, it drew other random numbers"),
        (Paying, r"replayed, it paid [-\d.]+ in all and not [-\d.]+"),
        (Ending, "replayed, its episode ended at step 2"),
    ],
)
def test_every_difference_is_found(env, why):
    first = make_sampler(env, num_envs=1, rollout_fragment_length=5)
    for _ in range(5 if env is Drawing else 1):
        if first.stream.t[0] < 4:
            first.next()
    second = make_sampler(env, num_envs=1)
    (line,) = second.load_state_dict(through_json(first.state_dict()))
    assert re.search(why, line), line


def test_an_environment_that_fails_when_replayed_is_restarted():
    class Failing(Wandering):
        made = []

        def __init__(self):
            super().__init__()
            self.made.append(self)

        def step(self, action):
            if self is not self.made[0] and self.t == 2 and self.drift > 99:
                raise OSError("no more")
            return super().step(action)

    first, second = (make_sampler(Failing, num_envs=1, rollout_fragment_length=4) for _ in "12")
    first.next()
    state = through_json(first.state_dict())
    state["envs"]["envs"][0]["origin"] = -1  # no such seed
    (line,) = second.load_state_dict(state)
    assert "restoring it raised" in line
    assert second.next().batch.count == 4


def test_actions_are_kept_as_long_as_an_episode_needs_them(monkeypatch):
    sampler = make_sampler(Endless, num_envs=2)
    sampler.next(), sampler.next()
    assert len(sampler._envs._done) == 32
    for module in ("env_state", "vector_envs"):
        monkeypatch.setattr(f"rl_workers.{module}.REPLAY_LIMIT", 20)
    sampler.next()
    assert len(sampler._envs._done) == 20
    lines = make_sampler(Endless, num_envs=2).load_state_dict(through_json(sampler.state_dict()))
    assert lines[1] == (
        "worker 0, env 1, step 48: its episode is 48 steps long, and 20 are replayed at most"
    )
    short = make_sampler(lambda: TimeLimit(Endless(), 3))
    short.next()
    assert len(short._envs._done) <= 3


# --------------------------------------------------------------------------------- vectorised


def vectorised():
    return GymVectorEnvs(SyncVectorEnv([Wandering] * 3))


@pytest.mark.parametrize("mode", MODES)
def test_vectorised_episodes_are_closed(mode):
    first, second, third = (make_sampler(vectorised, batch_mode=mode) for _ in range(3))
    first.next()
    state = through_json(first.state_dict())
    lines = second.load_state_dict(state)
    assert [line.split(":")[0].rsplit(",", 1)[0] for line in lines] == [
        f"worker 0, env {i}" for i in range(3)
    ]
    assert all("vectorised" in line for line in lines)
    third.load_state_dict(state)
    for _ in range(3):
        assert_same(second.next(), third.next())


def test_episodes_do_not_go_on_where_vectorisation_has_changed():
    one, other = make_sampler(Wandering), make_sampler(vectorised)
    one.next(), other.next()
    states = [through_json(sampler.state_dict()) for sampler in (one, other)]
    lines = [make_sampler(vectorised).load_state_dict(states[0])]
    lines += [make_sampler(Wandering).load_state_dict(states[1])]
    assert lines[0][2].endswith(": it was not vectorised")
    assert lines[1][2].endswith(": it was vectorised")
    with pytest.raises(ValueError, match="the state is of a sampler of one agent"):
        make_many().load_state_dict(states[0])
    with pytest.raises(ValueError, match="the state is of a sampler of several agents"):
        one.load_state_dict(through_json(make_many().state_dict()))


class SavedVector(SyncVectorEnv):
    """A vectorised environment with a state of its own to save."""

    def get_state(self):
        return {
            "envs": [{"x": e.x, "drift": e.drift, "t": e.t} for e in self.envs],
            "luck": [e.np_random.bit_generator.state for e in self.envs],
            "over": self._autoreset_envs,
        }

    def set_state(self, state):
        self._autoreset_envs = np.array(state["over"])
        for env, saved, luck in zip(self.envs, state["envs"], state["luck"], strict=True):
            vars(env).update(saved)
            env.np_random.bit_generator.state = luck


@pytest.mark.parametrize("mode", MODES)
def test_vectorised_environments_that_save_themselves_go_on(mode):
    def make():
        return make_sampler(lambda: GymVectorEnvs(SavedVector([Wandering] * 3)), batch_mode=mode)

    assert_goes_on(make)


# --------------------------------------------------------------------------------- user's data


class Noting(Callbacks):
    """Hooks that count steps where `Episode` has room for it."""

    def on_episode_start(self, *, episode, **_):
        episode.user_data["xs"] = []

    def on_episode_step(self, *, episode, base_env, env_index, **_):
        episode.user_data["xs"].append(float(base_env[env_index].x))

    def on_episode_end(self, *, episode, **_):
        episode.custom_metrics["steps"] = len(episode.user_data["xs"])
        episode.custom_metrics["sum"] = sum(episode.user_data["xs"])


def test_what_hooks_keep_of_an_episode_goes_on():
    assert_goes_on(lambda: make_sampler(Wandering, callbacks=Noting()))


class HearingOfPieces(Callbacks):
    def __init__(self):
        self.heard = []

    def on_postprocess_trajectory(self, *, episode, postprocessed_batch, **_):
        self.heard.append((episode.eps_id, int(postprocessed_batch["eps_id"][0])))


def test_hooks_hear_of_the_pieces_of_closed_episodes():
    hooks = HearingOfPieces()
    options = {"callbacks": hooks, "batch_mode": "complete_episodes"}
    first, second, _ = cut(CountingEnv, **options)
    third = make_sampler(CountingEnv, **options)
    third.load_state_dict(through_json(second.state_dict()))
    hooks.heard.clear()
    for sampler in (second, third):
        sampler.next()
        assert {e.eps_id for e in first._episodes} & {eps_id for eps_id, _ in hooks.heard}
        assert all(of_episode == of_rows for of_episode, of_rows in hooks.heard)
        hooks.heard.clear()


class KeepingObjects(Callbacks):
    def on_episode_start(self, *, episode, env_index, **_):
        if env_index == 1:
            episode.user_data["model"] = object()


def test_an_episode_whose_data_cannot_be_stored_is_closed():
    _, sampler, lines = cut(Wandering, callbacks=KeepingObjects())
    (line,) = lines
    assert line.startswith("worker 0, env 1, step ")
    assert line.endswith("episode.user_data['model'] is a object, neither JSON nor an array")
    assert "model" in sampler._episodes[1].user_data  # its successor has begun properly


def test_infos_that_cannot_be_stored_close_their_episode():
    class Odd(Wandering):
        def step(self, action):
            return *super().step(action)[:-1], {"frame": {1: "not a string"}}

    actor = CoinActor(learn=frozenset({"infos"}))
    _, sampler, lines = cut(Odd, num_envs=2, actor=actor, batch_mode="complete_episodes")
    assert lines
    assert "has the key 1, which is not a string" in lines[0]
    infos = sampler.next().batch["infos"]
    assert {} in infos.tolist()


# -------------------------------------------------------------------------------- multi-agent


def make_many(make_env=TakingTurns, *, num_envs=2, seed=5, callbacks=None, **options):
    policies = {name: (CoinActor(counts=True), Unchanged()) for name in ("odd", "even")}
    options = RolloutOptions(**{"rollout_fragment_length": 9, **options})

    def mapping(agent, eps_id, worker):
        return "odd" if (hash(str(agent)[0] == "a") + eps_id) % 2 else "even"

    envs = [make_env() for _ in range(num_envs)]
    return MultiAgentSampler(
        envs, policies, options, mapping_fn=mapping, seed=seed, callbacks=callbacks
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fragments", [0, 1, 2, 5])
def test_several_agents_go_on_bit_for_bit(mode, fragments):
    assert_goes_on(lambda: make_many(batch_mode=mode), fragments=fragments)


class CountingTurns(TakingTurns):
    """Shows how often it was reset."""

    resets = 0

    def reset(self, *, seed=None, options=None):
        self.resets += 1
        return super().reset(seed=seed)

    def _obs(self):
        return np.array([self.resets, self.sum], np.float32)


@pytest.mark.parametrize("mode", MODES)
def test_episodes_of_several_agents_are_closed_where_they_cannot_go_on(mode):
    first, second, third = (make_many(CountingTurns, batch_mode=mode) for _ in range(3))
    for _ in range(3):
        first.next()
    state = through_json(first.state_dict())
    lines = second.load_state_dict(state)
    assert lines == third.load_state_dict(state)
    assert len(lines) == 2
    assert "replayed, it showed agent" in lines[0]
    rows = second.next()
    assert_same(rows, third.next())
    for batch in rows.batch.policy_batches.values():
        ended = batch.segments.ends - 1
        assert set(np.flatnonzero(batch["terminateds"] | batch["truncateds"])) <= set(ended)
    assert_same(second.next(), third.next())


def test_agents_that_are_gone_close_all_episodes():
    first, second = make_many(), make_many()
    first.next()
    state = through_json(first.state_dict())
    state["agents"] = ["'x'"]
    lines = second.load_state_dict(state)
    assert "one of 2 sub-environments with agents" in lines[0]
    assert second.next().batch.env_steps() == 18
    third = make_many()
    assert third.load_state_dict(through_json(second.state_dict())) == []
    assert_same(second.next(), third.next())


# --------------------------------------------------------------------------------- WorkerSet


def make_workers(env=Wandering, **options):
    options = {"seed": 1, "rollout_fragment_length": 10, "num_envs_per_worker": 2, **options}
    policy = LinearPolicy(*env_spaces(env), {"seed": 0})
    return WorkerSet(env, policy, **options)


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.ray)])
def test_all_workers_go_on(num_workers, request):
    if num_workers:
        request.getfixturevalue("ray_cluster")
    with make_workers(num_workers=num_workers) as workers:
        rollouts = ParallelRollouts(workers)
        next(rollouts)
        state = through_json(workers.state_dict())
        assert [part["worker"] for part in state["workers"]] == ([1, 2] if num_workers else [0])
        truth = rollouts.take(2)
    with make_workers(num_workers=num_workers, seed=2) as workers:
        workers.load_state_dict(state)
        found = ParallelRollouts(workers).take(2)
        assert CUT not in workers.counters
    for one, other in zip(truth, found, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_closed_episodes_are_counted_and_warned_of():
    with make_workers(CountingEnv, num_envs_per_worker=5) as workers:
        next(ParallelRollouts(workers))
        state = workers.state_dict()
    message = (
        r"5 open episodes could not go on(?s:.*)\n  worker 0, env 2, step \d: replayed, it showed "
        r"another observation\n  and 2 more\n.*get_state\(\).*set_state\(state\)"
    )
    with make_workers(CountingEnv, num_envs_per_worker=5) as workers:
        with pytest.warns(RuntimeWarning, match=message):
            workers.load_state_dict(state)
        assert workers.counters[CUT] == 5


def test_another_number_of_environments_begins_new_episodes():
    with make_workers() as workers:
        batch = next(ParallelRollouts(workers))
        state = workers.state_dict()
    with make_workers(num_envs_per_worker=3) as workers:
        with pytest.warns(RuntimeWarning, match="2 sub-environments were saved, there are 3"):
            workers.load_state_dict(state)
        after = next(ParallelRollouts(workers))
    assert min(after["eps_id"]) > max(batch["eps_id"])
    assert set(after["env_id"]) == {0, 1, 2}
    assert not set(after["obs"][:, 1].tolist()) & set(batch["obs"][:, 1].tolist())


def test_after_a_change_exact_restores_are_possible_again():
    few, many, again = (make_sampler(Wandering, num_envs=n, seed=n) for n in (2, 3, 3))
    few.next()
    assert len(many.load_state_dict(through_json(few.state_dict()))) == 2
    many.next()
    assert again.load_state_dict(through_json(many.state_dict())) == []
    assert_same(many.next(), again.next())


def test_workers_that_are_gone_are_counted(caplog):
    with make_workers() as workers:
        state = workers.state_dict()
        state["workers"] = [{**state["workers"][0], "worker": i} for i in (1, 2)]
        with caplog.at_level(logging.INFO, "rl_workers.worker_set"):
            workers.load_state_dict(state)
        assert workers.counters[CUT] == 4
        assert "the state is of workers [1, 2], there are [0]" in caplog.text
        assert next(ParallelRollouts(workers)).count == 20
