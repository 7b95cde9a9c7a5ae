"""Workers that play whole episodes to see how good policies are; nothing learns from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rl_sample import SampleBatch
from rl_sample.protocols import (
    Actor,
    ActorSpec,
    EpisodeRecord,
    PolicyID,
    PolicyTable,
    Postprocess,
    Snapshot,
)
from rl_workers.callbacks import CallbacksSpec
from rl_workers.envs import EnvSpec, resolve_env
from rl_workers.errors import EnvError, at
from rl_workers.options import RolloutOptions
from rl_workers.remote import start_remote_workers, stop_remote_workers
from rl_workers.rollout_worker import RolloutWorker
from rl_workers.worker_set import Always

Unit: TypeAlias = Literal["episodes", "timesteps"]

_TICKS = 16
"""Steps of a fragment: so many at most are played in vain after the last episode has ended."""


class EvaluationWorkers:
    """Workers with environments and actors of their own, in this process or on Ray.

    How long each environment plays is fixed beforehand, so that an environment whose episodes are
    short does not contribute more of them than the others do.
    """

    def __init__(
        self,
        env: EnvSpec,
        specs: Mapping[PolicyID, ActorSpec],
        *,
        num_workers: int = 0,
        policy_mapping_fn: Callable[..., PolicyID] | None = None,
        callbacks: CallbacksSpec = None,
        num_cpus_per_worker: float = 1,
        cpus_taken: float = 0,
        max_episode_steps: int = 200_000,
        **options: Any,
    ) -> None:
        """Start the workers.

        Args:
            env: Gymnasium id, `module:Class`, class, callable or registered name.
            specs: {policy id: how to build its actor}, as `learner.actor_spec()` gives it.
            num_workers: Ray actors; 0 plays in this process.
            policy_mapping_fn: `(agent_id, eps_id, worker_index) -> policy id`.
            callbacks: hooks of these workers.
            num_cpus_per_worker: what each Ray actor asks of the cluster.
            cpus_taken: what workers that train have asked of it already.
            max_episode_steps: an episode that is longer is taken for one without end.
            **options: of RolloutOptions; `explore` is False if left out.

        Raises:
            WorkerError: Ray is missing, unreachable or too small, or a worker failed to start.
        """
        options = {"explore": False, **options, "rollout_fragment_length": _TICKS}
        self.options = RolloutOptions(**options)
        self.max_episode_steps = max_episode_steps
        mapping_fn = policy_mapping_fn or Always(next(iter(specs)))
        table = PolicyTable(
            0, {pid: _ActingOnly(spec) for pid, spec in specs.items()}, mapping_fn, frozenset()
        )
        arguments = (resolve_env(env), table, self.options)
        keywords: dict[str, Any] = {"callbacks": callbacks, "num_workers": num_workers}
        self.local_worker: RolloutWorker | None = None
        self.remote_workers: list[Any] = []
        if num_workers == 0:
            self.local_worker = RolloutWorker(*arguments, **keywords)
        else:
            self.remote_workers, self._owns_ray = start_remote_workers(
                num_workers, num_cpus_per_worker, arguments, keywords, cpus_taken
            )

    def play(
        self,
        snapshots: Mapping[PolicyID, Snapshot],
        duration: int,
        *,
        unit: Unit = "episodes",
        seed: int = 0,
    ) -> list[EpisodeRecord]:
        """Play whole episodes, from environments that are reset with `seed`.

        Args:
            snapshots: what to act with.
            duration: how much to play, dealt out evenly to the environments.
            unit: `episodes`, or `timesteps`: then each environment begins no more episodes when it
                has played its share of steps, and ends the one under way.
            seed: of the environments and of action noise; the same one gives the same episodes.

        Returns:
            The episodes, in the order of workers and environments.

        Raises:
            EnvError: an environment is broken, or an episode does not end.
        """
        return self.start(snapshots, duration, unit=unit, seed=seed)()

    def start(
        self,
        snapshots: Mapping[PolicyID, Snapshot],
        duration: int,
        *,
        unit: Unit = "episodes",
        seed: int = 0,
    ) -> Callable[[], list[EpisodeRecord]]:
        """As `play`, but Ray workers play while this process goes on; call it for the episodes."""
        how = (unit, seed, self.max_episode_steps)
        if self.local_worker is not None:
            episodes = play_episodes(self.local_worker, snapshots, duration, *how)
            return lambda: episodes
        import ray

        shares, sent = dealt(duration, len(self.remote_workers)), ray.put(dict(snapshots))
        calls = [
            worker.apply.remote(play_episodes, sent, share, *how)
            for worker, share in zip(self.remote_workers, shares, strict=True)
            if share
        ]

        def collect() -> list[EpisodeRecord]:
            try:
                return [episode for call in calls for episode in ray.get(call)]
            except ray.exceptions.RayTaskError as error:
                raise getattr(error, "cause", None) or error from error

        return collect

    def stop(self) -> None:
        """Close the environments and end the workers; Ray too, if it was started here."""
        if self.local_worker is not None:
            self.local_worker.stop()
        if self.remote_workers:
            stop_remote_workers(self.remote_workers, self._owns_ray)
            self.remote_workers = []

    def __enter__(self) -> EvaluationWorkers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def play_episodes(
    worker: RolloutWorker,
    snapshots: Mapping[PolicyID, Snapshot],
    duration: int,
    unit: Unit,
    seed: int,
    max_episode_steps: int,
) -> list[EpisodeRecord]:
    """Restart a worker and take the first episodes of each environment, its share of `duration`.

    Raises:
        EnvError: an episode goes on for `max_episode_steps`.
    """
    worker.restart(seed)
    worker.input.publish(snapshots)
    shares = dealt(duration, worker.num_envs)
    played: list[list[EpisodeRecord]] = [[] for _ in shares]
    lengths = [0] * len(shares)
    lacking = [i for i, share in enumerate(shares) if share]
    while lacking:
        fragment = worker.input.next()
        assert fragment is not None
        lengths = [length + _TICKS for length in lengths]
        for episode in fragment.episodes:
            i = episode.env_id
            lengths[i] = 0
            if i in lacking:
                played[i].append(episode)
                if _amount(played[i], unit) >= shares[i]:
                    lacking.remove(i)
        for i in lacking:
            if lengths[i] >= max_episode_steps:
                raise EnvError(
                    f"{at(worker.worker_index, i, lengths[i])}: the episode does not end, so it "
                    "cannot be evaluated. Give the environment a time limit, such as "
                    "gymnasium.wrappers.TimeLimit, or explore (evaluation_config={'explore': "
                    "True}) if the most likely actions lead nowhere."
                )
    return [episode for of_env in played for episode in of_env]


def dealt(amount: int, parts: int) -> list[int]:
    """`amount` in whole shares that differ by one at most: `dealt(5, 2) == [3, 2]`."""
    share, more = divmod(amount, parts)
    return [share + (i < more) for i in range(parts)]


def _amount(episodes: Sequence[EpisodeRecord], unit: Unit) -> int:
    return len(episodes) if unit == "episodes" else sum(episode.length for episode in episodes)


@dataclass(frozen=True)
class _ActingOnly:
    """An ActorSpec whose rows nobody learns on: they are not postprocessed."""

    spec: ActorSpec

    def build(
        self, engine: str = "auto", *, worker_index: int = 0, num_workers: int = 0
    ) -> tuple[Actor, Postprocess]:
        actor, _ = self.spec.build(engine, worker_index=worker_index, num_workers=num_workers)
        return actor, _Unchanged()


class _Unchanged:
    """Postprocessing that leaves rows as they are."""

    per_trajectory = False

    def __call__(self, batch: SampleBatch, others: Any, episode: EpisodeRecord | None) -> Any:
        return batch
