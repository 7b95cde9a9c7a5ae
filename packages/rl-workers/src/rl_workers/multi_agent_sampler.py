"""Several agents and policies: every policy's waiting agents are served by one batched call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from rl_policy import check_obs
from rl_sample import MultiAgentBatch, flatten_nested
from rl_sample.protocols import (
    Actor,
    AgentID,
    Arrays,
    EpisodeRecord,
    Fragment,
    PolicyID,
    Postprocess,
    Snapshot,
)
from rl_workers.callbacks import Callbacks, overridden
from rl_workers.env_state import NotRestored, same
from rl_workers.episode_state import episode_state, restored_episode
from rl_workers.errors import EnvError, at
from rl_workers.flow.results import Episode
from rl_workers.masks import mask_column, with_masks
from rl_workers.multi_agent_env import MultiAgentEnv
from rl_workers.multi_agent_envs import MultiAgentEnvs
from rl_workers.options import RolloutOptions
from rl_workers.pieces import postprocess_pieces, trajectory_hook
from rl_workers.stream import SlotStream
from rl_workers.vector_envs import obs_buffers, unbatch

ALL = "__all__"


class _Seat:
    """Where one agent of one sub-environment writes: a slot of its policy's stream."""

    __slots__ = ("agent", "env", "pid", "reward", "slot")

    def __init__(self, env: int, agent: AgentID, pid: PolicyID, slot: int) -> None:
        self.env, self.agent, self.pid, self.slot = env, agent, pid, slot
        self.reward = 0.0


class MultiAgentSampler:
    """Steps multi-agent environments and hands over fragments (an InputReader).

    Agents write through the same slots as single ones do, each at its own pace: a row stays
    open until its agent sees something again or leaves.
    """

    def __init__(
        self,
        envs: Sequence[MultiAgentEnv],
        policies: Mapping[PolicyID, tuple[Actor, Postprocess]],
        options: RolloutOptions,
        *,
        mapping_fn: Any,
        callbacks: Callbacks | None = None,
        worker: int = 0,
        seed: int = 0,
    ) -> None:
        """Reset the environments; `mapping_fn(agent_id, eps_id, worker)` names agents' policies."""
        callbacks = callbacks or Callbacks()
        self.streams: dict[PolicyID, SlotStream] = {}
        self._envs = MultiAgentEnvs(envs, worker)
        self._options, self._worker, self._seed = options, worker, seed
        self._actors = {pid: actor for pid, (actor, _) in policies.items()}
        self._postprocess = {pid: postprocess for pid, (_, postprocess) in policies.items()}
        self._mapping_fn = mapping_fn
        self._whole = options.batch_mode == "complete_episodes"
        self._target = options.rollout_fragment_length * len(envs)
        self._hooks = {
            hook: overridden(callbacks, hook)
            for hook in ("on_episode_start", "on_episode_step", "on_episode_end", "on_sample_end")
        }
        self._started = 0
        self._snapshots: dict[PolicyID, Snapshot] = {}
        self._agent_indices: dict[AgentID, int] = {}
        self._seats: dict[tuple[int, AgentID, PolicyID], _Seat] = {}
        self._playing: list[dict[AgentID, _Seat]] = [{} for _ in envs]
        self._ready: dict[PolicyID, list[_Seat]] = {}
        self._records: list[EpisodeRecord] = []
        self._finished_steps = 0
        self._episodes: list[Episode] = [Episode(0, 0)] * len(envs)
        self._on_piece = trajectory_hook(callbacks, worker, self._actors, self._episodes)
        seeds = np.random.SeedSequence([seed, worker]).generate_state(len(envs))
        for i in range(len(envs)):
            self._start(i, int(seeds[i]))

    def next(self, timeout_s: float | None = None) -> Fragment:
        """Sample `rollout_fragment_length` x sub-environments environment steps.

        With complete_episodes, until the finished episodes have that many.
        """
        timings = dict.fromkeys(("env", "inference", "write", "wait"), 0.0)
        steps = 0
        while (self._finished_steps if self._whole else steps) < self._target:
            began = perf_counter()
            actions = self._act()
            decided = perf_counter()
            came = [self._envs.step(i, of_env) for i, of_env in enumerate(actions)]
            stepped = perf_counter()
            self._absorb(came)
            steps += len(came)
            timings["inference"] += decided - began
            timings["env"] += stepped - decided
            timings["write"] += perf_counter() - stepped
        return self._hand_over(self._finished_steps if self._whole else steps, timings)

    def publish(self, snapshots: Mapping[PolicyID, Snapshot]) -> None:
        """Act with these parameters from the next fragment on."""
        self._snapshots = dict(snapshots)
        for pid, actor in self._actors.items():
            actor.load(snapshots[pid])
        for pid, stream in self.streams.items():
            stream.step = snapshots[pid].step

    def state_dict(self) -> dict[str, Any]:
        """Where everything is between two fragments, as JSON-able values and arrays."""
        seats = list(self._seats.values())
        number = {id(seat): n for n, seat in enumerate(seats)}
        return {
            "seed": self._seed,
            "started": self._started,
            "agents": [repr(agent) for agent in self._agent_indices],
            "seats": [[s.env, repr(s.agent), s.pid, s.slot, s.reward] for s in seats],
            "playing": [[number[id(s)] for s in of_env.values()] for of_env in self._playing],
            "ready": {pid: [number[id(s)] for s in of_pid] for pid, of_pid in self._ready.items()},
            "episodes": [episode_state(episode) for episode in self._episodes],
            "streams": {k: v.state_dict(open_rows=True) for k, v in self.streams.items()},
            "envs": self._envs.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """As Sampler.load_state_dict."""
        saved, agents = state["episodes"], self._envs.agents
        if "streams" not in state:
            raise ValueError("the state is of a sampler of one agent, this is one of several")
        self._seed = state["seed"]
        names = {*state["agents"], *(name for e in saved for name in e["returns"])}
        if len(saved) != len(self._episodes) or not names <= agents.keys():
            self._started = max(self._started, state["started"])
            # Noise of its own, since there is no telling which of the old was used up.
            self._seed = int(
                np.random.SeedSequence([self._seed, self._started]).generate_state(1)[0]
            )
            self.streams.clear()
            self._seats.clear()
            self._ready.clear()
            self._playing = [{} for _ in self._episodes]
            self._start_over(range(len(self._episodes)))
            why = f"it was one of {len(saved)} sub-environments with agents {sorted(names)}"
            return [f"{at(self._worker, i, e['length'])}: {why}" for i, e in enumerate(saved)]
        self._started = state["started"]
        self._episodes[:] = [restored_episode(e, agents) for e in saved]
        self._agent_indices = {agents[name]: i for i, name in enumerate(state["agents"])}
        seats = [_Seat(i, agents[name], pid, slot) for i, name, pid, slot, _ in state["seats"]]
        for seat, (*_, reward) in zip(seats, state["seats"], strict=True):
            seat.reward = reward
        self._seats = {(seat.env, seat.agent, seat.pid): seat for seat in seats}
        self._playing = [{seats[n].agent: seats[n] for n in of_env} for of_env in state["playing"]]
        self._ready = {pid: [seats[n] for n in of_pid] for pid, of_pid in state["ready"].items()}
        self.streams.clear()
        for seat in seats:
            if seat.pid not in self.streams:
                stream = self._stream(seat.pid, seat.env, seat.agent)
                stream.load_state_dict(state["streams"][seat.pid], seed=self._seed)
        lost = self._envs.load_state_dict(state["envs"], self._check_again)
        lost |= {i: e["why"] for i, e in enumerate(saved) if "why" in e}
        lines = [f"{at(self._worker, i, saved[i]['length'])}: {lost[i]}" for i in sorted(lost)]
        self._start_over(sorted(lost))
        return lines

    def committed(self, step: int) -> None:
        """Nothing to forget: a sampler's input is made, not received."""

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()

    def _act(self) -> list[dict[AgentID, Any]]:
        """{agent: action} for each environment; one batched call per policy."""
        actions: list[dict[AgentID, Any]] = [{} for _ in self._playing]
        ready, self._ready = self._ready, {}
        for pid, seats in ready.items():
            stream = self.streams[pid]
            slots = np.array([seat.slot for seat in seats])
            stream.t[slots] = [self._episodes[seat.env].length for seat in seats]
            acted = stream.act(slots)
            for seat, action in zip(seats, unbatch(acted.env_actions, len(seats)), strict=True):
                actions[seat.env][seat.agent] = action
        return actions

    def _absorb(self, came: list[tuple[Any, ...]]) -> None:
        """Close the rows that this tick answered, end pieces, seat newcomers, restart episodes."""
        closed: dict[PolicyID, list[tuple[_Seat, bool, bool, Arrays]]] = {}
        over: list[int] = []
        for i, (obs, rewards, terminateds, truncateds, _) in enumerate(came):
            episode = self._episodes[i]
            episode.length += 1
            for agent, reward in rewards.items():
                episode.returns[agent] = episode.returns.get(agent, 0.0) + float(reward)
                if agent in self._playing[i]:
                    self._playing[i][agent].reward += float(reward)
            for agent, seat in list(self._playing[i].items()):
                terminated = bool(terminateds.get(agent) or terminateds.get(ALL))
                truncated = bool(truncateds.get(agent) or truncateds.get(ALL))
                if agent in obs or terminated or truncated:
                    seen = self._seen(seat, obs, terminated, truncated)
                    closed.setdefault(seat.pid, []).append((seat, terminated, truncated, seen))
                    if terminated or truncated:
                        del self._playing[i][agent]
            if terminateds.get(ALL) or truncateds.get(ALL):
                over.append(i)
        for pid, rows in closed.items():
            self._close(self.streams[pid], rows)
        for i, (obs, _, terminateds, _, _) in enumerate(came):
            self._tell("on_episode_step", i)
            if i in over:
                self._finish(i, bool(terminateds.get(ALL)))
            else:
                newcomers = {a: o for a, o in obs.items() if a not in self._playing[i]}
                left = {a for a in newcomers if came[i][2].get(a) or came[i][3].get(a)}
                self._seat(i, {a: o for a, o in newcomers.items() if a not in left})

    def _close(self, stream: SlotStream, rows: list[tuple[_Seat, bool, bool, Arrays]]) -> None:
        """Close one policy's open rows; go on, or end the piece, with what was seen."""
        slots = np.array([seat.slot for seat, *_ in rows])
        rewards = np.array([seat.reward for seat, *_ in rows])
        terminateds = np.array([terminated for _, terminated, _, _ in rows])
        truncateds = np.array([truncated for _, _, truncated, _ in rows])
        stream.observe(rewards, terminateds, truncateds, slots)
        for name, buffer in stream.obs.items():
            buffer[slots] = np.stack([seen[name] for *_, seen in rows])
        ended = terminateds | truncateds
        if ended.any():
            last = {name: buffer[slots[ended]] for name, buffer in stream.obs.items()}
            stream.end(slots[ended], last)
        for (seat, *_), gone in zip(rows, ended, strict=True):
            seat.reward = 0.0
            if not gone:
                self._ready.setdefault(seat.pid, []).append(seat)

    def _seen(
        self, seat: _Seat, obs: Mapping[AgentID, Any], terminated: bool, truncated: bool
    ) -> Arrays:
        """The agent's new observation; one that terminated without any keeps its last one."""
        if seat.agent in obs:
            return self._flat(seat, obs[seat.agent], over=terminated or truncated)
        if not terminated:
            raise EnvError(
                f"{at(self._worker, seat.env, self._episodes[seat.env].length)}: agent "
                f"{seat.agent!r} was truncated without an observation. Give its final one: the "
                "value of what comes after is estimated from it."
            )
        return {k: v[seat.slot] for k, v in self.streams[seat.pid].obs.items()}

    def _flat(self, seat: _Seat, obs: Any, *, over: bool = False) -> Arrays:
        """What an agent sees, checked, with the mask that its info may have."""
        where = (self._worker, seat.env, self._episodes[seat.env].length)
        try:
            check_obs(self._envs.envs[seat.env].observation_spaces[seat.agent], obs)
        except (KeyError, TypeError, ValueError) as e:
            raise EnvError(f"{at(*where)}, agent {seat.agent!r}: bad observation: {e}") from e
        info = self._envs.infos[seat.env].get(seat.agent, {})
        masks = mask_column(self.streams[seat.pid].obs, info, where, over=over)
        return flatten_nested("obs", obs) | masks

    def _seat(self, i: int, obs: Mapping[AgentID, Any]) -> None:
        """Give agents that have just appeared a slot of the policy they are mapped to."""
        episode = self._episodes[i]
        for agent, seen in obs.items():
            pid = self._mapping_fn(agent, episode.eps_id, self._worker)
            if pid not in self._actors:
                raise ValueError(
                    f"policy_mapping_fn gave {pid!r} for agent {agent!r}; the policies are "
                    f"{sorted(self._actors)}."
                )
            index = self._agent_indices.setdefault(agent, len(self._agent_indices))
            stream = self._stream(pid, i, agent)
            seat = self._seats.get((i, agent, pid))
            if seat is None:
                seat = _Seat(i, agent, pid, stream.writer.num_slots)
                self._seats[i, agent, pid] = seat
                stream.add_slots([i], [index])
            stream.begin(np.array([seat.slot]), np.array([episode.eps_id]))
            flat = self._flat(seat, seen)
            for name, buffer in stream.obs.items():
                buffer[seat.slot] = flat[name]
            episode.policies[agent] = pid
            episode.returns.setdefault(agent, 0.0)
            seat.reward = 0.0
            self._playing[i][agent] = seat
            self._ready.setdefault(pid, []).append(seat)

    def _stream(self, pid: PolicyID, i: int, agent: AgentID) -> SlotStream:
        """The stream of a policy, made when its first agent appears."""
        if pid not in self.streams:
            env, info = self._envs.envs[i], self._envs.infos[i].get(agent, {})
            obs = obs_buffers(env.observation_spaces[agent], 0)
            self.streams[pid] = SlotStream(
                self._actors[pid],
                with_masks(obs, info, (self._worker, i)),
                env.action_spaces[agent],
                self._options.rollout_fragment_length,
                seed=self._seed,
                worker=self._worker,
                explore=self._options.explore,
            )
            if pid in self._snapshots:
                self.streams[pid].step = self._snapshots[pid].step
        return self.streams[pid]

    def _start(self, i: int, seed: int | None = None) -> None:
        """Begin an episode in sub-environment `i`."""
        obs = self._envs.reset(i, seed)
        self._episodes[i] = Episode((self._worker << 40) + self._started, i)
        self._started += 1
        self._playing[i] = {}
        self._seat(i, obs)
        self._tell("on_episode_start", i)

    def _check_again(self, i: int, obs: dict[AgentID, Any], returns: dict[AgentID, float]) -> None:
        """See that a replayed episode is the one that was saved.

        Raises:
            NotRestored: what is not as it was.
        """
        waiting = [seat for seats in self._ready.values() for seat in seats if seat.env == i]
        for seat in waiting:
            if seat.agent not in obs:
                raise NotRestored(f"replayed, it showed agent {seat.agent!r} nothing")
            flat = self._flat(seat, obs[seat.agent])
            for name, buffer in self.streams[seat.pid].obs.items():
                if not same(flat[name].astype(buffer.dtype), buffer[seat.slot]):
                    raise NotRestored(f"replayed, it showed agent {seat.agent!r} something else")
        before = self._episodes[i].returns
        if any(before.get(a, 0.0) != returns.get(a, 0.0) for a in {**before, **returns}):
            raise NotRestored(f"replayed, it paid {returns} and not {before}")

    def _start_over(self, envs: Iterable[int]) -> None:
        """End open episodes as truncated and begin others, from seeds not used before."""
        fresh = np.random.SeedSequence([self._seed, self._worker, self._started])
        seeds = fresh.generate_state(len(self._episodes))
        for i in envs:
            for seat in self._playing[i].values():
                self.streams[seat.pid].truncate(np.array([seat.slot]))
            if self._on_piece is not None:
                self._on_piece.ended.append(self._episodes[i])
            for pid, seats in self._ready.items():
                self._ready[pid] = [seat for seat in seats if seat.env != i]
            self._start(i, int(seeds[i]))

    def _finish(self, i: int, terminated: bool) -> None:
        self._tell("on_episode_end", i)
        self._records.append(self._episodes[i].record(self._worker, terminated))
        if self._on_piece is not None:
            self._on_piece.ended.append(self._episodes[i])
        self._finished_steps += self._episodes[i].length
        self._start(i)

    def _tell(self, hook: str, i: int) -> None:
        call = self._hooks[hook]
        if call is not None:
            call(
                worker=self._worker,
                base_env=self._envs.envs,
                policies=self._actors,
                episode=self._episodes[i],
                env_index=i,
            )

    def _hand_over(self, env_steps: int, timings: dict[str, float]) -> Fragment:
        began = perf_counter()
        batches, deltas = {}, {}
        for pid, stream in self.streams.items():
            batch = stream.take(only_finished=self._whole, open_rows=True)
            if len(batch):
                deltas[pid] = stream.actor.filter_delta(batch.arrays)
                batches[pid] = batch
        records, self._records, self._finished_steps = self._records, [], 0
        agent_ids = {index: agent for agent, index in self._agent_indices.items()}
        batches = postprocess_pieces(batches, self._postprocess, agent_ids, records, self._on_piece)
        records = records if self._on_piece is None else self._on_piece.records(records)
        samples = MultiAgentBatch(batches, env_steps)
        if self._hooks["on_sample_end"] is not None:
            self._hooks["on_sample_end"](worker=self._worker, samples=samples)
        timings["postprocess"] = perf_counter() - began
        return Fragment(samples, records, deltas, timings, self._worker)
