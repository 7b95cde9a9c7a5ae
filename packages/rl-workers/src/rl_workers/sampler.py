"""Single-agent environments stepped together: the fast path from `env.step` to a SampleBatch."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np

from rl_sample.protocols import Actor, EpisodeRecord, Fragment, PolicyID, Postprocess, Snapshot
from rl_workers.callbacks import Callbacks, overridden
from rl_workers.episode_state import episode_state, restored_episode
from rl_workers.errors import at
from rl_workers.flow.results import Episode
from rl_workers.options import RolloutOptions
from rl_workers.pieces import postprocess_pieces, trajectory_hook
from rl_workers.stream import SlotStream
from rl_workers.vector_envs import Step, VectorEnv, info_rows

AGENT = "agent"


class Sampler:
    """Steps its sub-environments in lock-step and hands over fragments (an InputReader).

    One tick is one batched `act`, one `envs.step` and two writes, however many environments
    there are. Episodes go on from one fragment to the next.
    """

    def __init__(
        self,
        envs: VectorEnv,
        policies: Mapping[PolicyID, tuple[Actor, Postprocess]],
        options: RolloutOptions,
        *,
        mapping_fn: Any = None,
        callbacks: Callbacks | None = None,
        worker: int = 0,
        seed: int = 0,
    ) -> None:
        """Reset the environments and get ready; `seed` is this worker's.

        Raises:
            ValueError: there is more than one policy; a single agent plays one.
            EnvError: the environment breaks the Gymnasium API.
        """
        if len(policies) != 1:
            raise ValueError(
                f"{len(policies)} policies ({', '.join(policies)}) were given for a single-agent "
                "environment, which plays one. Give one, or a MultiAgentEnv."
            )
        ((self.policy_id, (actor, postprocess)),) = policies.items()
        callbacks = callbacks or Callbacks()
        seeds = np.random.SeedSequence([seed, worker]).generate_state(envs.num_envs)
        obs = envs.reset([int(s) for s in seeds])
        rows = options.rollout_fragment_length
        self.stream = SlotStream(
            actor, obs, envs.action_space, rows, seed=seed, worker=worker, explore=options.explore
        )
        self._envs = envs
        self._actors = {self.policy_id: actor}
        self._postprocess = postprocess
        self._policies = {AGENT: self.policy_id}
        self._worker, self._seed = worker, seed
        self._target = rows * envs.num_envs
        self._whole = options.batch_mode == "complete_episodes"
        self._collect_infos = "infos" in actor.needs.learn
        self._on_start = overridden(callbacks, "on_episode_start")
        self._on_step = overridden(callbacks, "on_episode_step")
        self._on_end = overridden(callbacks, "on_episode_end")
        self._on_sample_end = overridden(callbacks, "on_sample_end")
        self._started = 0
        self._returns = np.zeros(envs.num_envs)
        self._records: list[EpisodeRecord] = []
        self._told = {"worker": worker, "base_env": envs.envs, "policies": self._actors}
        """What episode hooks are told, beside the episode and its sub-environment."""
        self._episodes: list[Any] = [None] * envs.num_envs
        self._on_piece = trajectory_hook(callbacks, worker, self._actors, self._episodes)
        self._slots = np.arange(envs.num_envs)
        self._begin(self._slots)

    def next(self, timeout_s: float | None = None) -> Fragment:
        """Sample until a fragment is full: `rollout_fragment_length` x sub-environments rows.

        With complete_episodes, until the finished episodes have that many rows.
        """
        envs, stream = self._envs, self.stream
        rows, t_env, t_inference, t_write = 0, 0.0, 0.0, 0.0
        now = perf_counter()
        while rows < self._target:
            live = envs.live
            acted = stream.act()
            decided = perf_counter()
            step = envs.step(acted.env_actions)
            stepped = perf_counter()
            infos = info_rows(step.infos, self._slots) if self._collect_infos else None
            stream.observe(step.rewards, step.terminateds, step.truncateds, live=live, infos=infos)
            stream.obs = step.obs
            self._returns += step.rewards
            if self._on_step is not None:
                self._tell_step(self._slots if live is None else np.flatnonzero(live))
            if not self._whole:
                rows += envs.num_envs if live is None else int(np.count_nonzero(live))
            elif step.ended.size:
                rows += int(stream.t[step.ended].sum())
            if step.ended.size:
                self._finish(step)
            t_inference += decided - now
            t_env += stepped - decided
            now = perf_counter()
            t_write += now - stepped
        return self._hand_over({"env": t_env, "inference": t_inference, "write": t_write})

    def publish(self, snapshots: Mapping[PolicyID, Snapshot]) -> None:
        """Act with these parameters from the next fragment on."""
        snapshot = snapshots[self.policy_id]
        self.stream.actor.load(snapshot)
        self.stream.step = snapshot.step

    def state_dict(self) -> dict[str, Any]:
        """Where everything is between two fragments, as JSON-able values and arrays."""
        return {
            "seed": self._seed,
            "started": self._started,
            "returns": self._returns.copy(),
            "episodes": [episode_state(episode) for episode in self._episodes],
            "stream": self.stream.state_dict(),
            "envs": self._envs.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Go on where `state` was taken, with episodes in the midst of which it was.

        Returns:
            A line for each of them that could not be restored: its rows end as truncated and its
            environment begins a new one.

        Raises:
            ValueError: `state` is of a sampler of another kind.
        """
        count, saved = self._envs.num_envs, state["episodes"]
        if "stream" not in state:
            raise ValueError(
                f"the state is of a sampler of several agents, this is one of {AGENT!r}"
            )
        if len(saved) != count:
            self._started = max(self._started, state["started"])
            rows = np.zeros(count, np.int64)
            rows[: len(saved)] = state["stream"]["rows"][:count]
            self.stream.skip(rows)
            self._start_over(self._slots)
            why = f"{len(saved)} sub-environments were saved, there are {count}"
            return [f"{at(self._worker, i, e['length'])}: {why}" for i, e in enumerate(saved)]
        self._seed, self._started = state["seed"], state["started"]
        self._returns[:] = state["returns"]
        odd = self.stream.load_state_dict(state["stream"], seed=self._seed)
        self._episodes[:] = [
            restored_episode(e, {repr(AGENT): AGENT}, self._policies) for e in saved
        ]
        odd |= {i: e["why"] for i, e in enumerate(saved) if "why" in e}
        lost = self._envs.load_state_dict(state["envs"], self.stream.obs, self._returns) | odd
        if lost and not self._envs.separate:
            lost = {i: lost.get(i, "it cannot go on without its neighbours") for i in range(count)}
        lines = [f"{at(self._worker, i, int(self.stream.t[i]))}: {lost[i]}" for i in sorted(lost)]
        if lost:
            self._start_over(np.array(sorted(lost)))
        return lines

    def committed(self, step: int) -> None:
        """Nothing to forget: a sampler's input is made, not received."""

    def close(self) -> None:
        """Close the environments."""
        self._envs.close()

    def _hand_over(self, timings: dict[str, float]) -> Fragment:
        began = perf_counter()
        batch = self.stream.take(only_finished=self._whole)
        self._envs.forget()
        delta = self.stream.actor.filter_delta(batch.arrays)
        records, self._records = self._records, []
        if self._postprocess.per_trajectory or self._on_piece is not None:
            batch = postprocess_pieces(
                {self.policy_id: batch}, {self.policy_id: self._postprocess}, {0: AGENT}, records,
                self._on_piece,
            )[self.policy_id]  # fmt: skip
            records = records if self._on_piece is None else self._on_piece.records(records)
        else:
            batch = self._postprocess(batch, {}, None)
        if self._on_sample_end is not None:
            self._on_sample_end(worker=self._worker, samples=batch)
        timings = {**timings, "postprocess": perf_counter() - began, "wait": 0.0}
        return Fragment(batch, records, {self.policy_id: delta}, timings, self._worker)

    def _begin(self, slots: np.ndarray) -> None:
        """Number the episodes that start in `slots` and tell the callback of them."""
        first = (self._worker << 40) + self._started
        self._started += len(slots)
        self.stream.begin(slots, np.arange(first, first + len(slots)))
        self._returns[slots] = 0.0
        for eps_id, slot in enumerate(slots.tolist(), start=first):
            episode = self._episodes[slot] = Episode(eps_id, slot, self._policies)
            if self._on_start is not None:
                self._on_start(episode=episode, env_index=slot, **self._told)

    def _start_over(self, slots: np.ndarray) -> None:
        """End the episodes of `slots` as truncated and begin others, from seeds not used before."""
        self.stream.truncate(slots)
        if self._on_piece is not None:
            self._on_piece.ended += [self._episodes[slot] for slot in slots]
        fresh = np.random.SeedSequence([self._seed, self._worker, self._started])
        seeds = fresh.generate_state(self._envs.num_envs)
        self.stream.obs = self._envs.restart({int(i): int(seeds[i]) for i in slots})
        self._begin(slots)

    def _finish(self, step: Step) -> None:
        """Close the books on the episodes that ended with this step, and begin new ones."""
        ended = step.ended
        self.stream.end(ended, step.last_obs)
        lengths, returns = self.stream.t[ended].tolist(), self._returns[ended].tolist()
        books = zip(ended.tolist(), lengths, returns, step.terminateds[ended].tolist(), strict=True)
        for slot, length, total, terminated in books:
            episode = self._episodes[slot]
            episode.length, episode.returns[AGENT] = length, total
            if self._on_end is not None:
                self._on_end(episode=episode, env_index=slot, **self._told)
            self._records.append(episode.record(self._worker, terminated))
            if self._on_piece is not None:
                self._on_piece.ended.append(episode)
        self._begin(ended)

    def _tell_step(self, slots: np.ndarray) -> None:
        """Bring the episodes of `slots` up to date and tell the step hook of them."""
        lengths, returns = self.stream.t[slots].tolist(), self._returns[slots].tolist()
        for slot, length, total in zip(slots.tolist(), lengths, returns, strict=True):
            episode = self._episodes[slot]
            episode.length, episode.returns[AGENT] = length, total
            self._on_step(  # type: ignore[misc]
                episode=episode, env_index=slot, **self._told
            )
