"""Evaluation: whole episodes with a trainer's policies, or with those of a checkpoint."""

from __future__ import annotations

import json
import logging
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np

from rl_algos import checkpoint
from rl_algos.checkpoint import CheckpointError
from rl_algos.config import EVALUATION_KEYS, TrainerConfig, evaluation_keys
from rl_algos.keys import ConfigError
from rl_algos.saved_policies import iteration_of, saved_policies
from rl_algos.setup import callbacks_of, imported
from rl_algos.stored import decode_config, is_hole
from rl_policy import Policy, space_columns
from rl_sample.protocols import EpisodeRecord, Learner
from rl_workers import EnvError, EpisodeMetrics, EvaluationWorkers, env_spaces

if TYPE_CHECKING:
    from rl_algos.definition import TrainerDefinition
    from rl_algos.trainer import Trainer

Figures = dict[str, Any]
"""`episode_reward_mean`, `_min`, `_max`, `episode_len_mean`, `hist_stats`, …"""

log = logging.getLogger(__name__)


class Evaluation:
    """Workers that evaluate, with environments, actors, seeds and generators of their own."""

    def __init__(
        self,
        keys: Mapping[str, Any],
        policies: Mapping[str, Learner],
        *,
        duration: int = 10,
        unit: Any = "episodes",
        num_workers: int = 0,
        cpus_taken: float = 0,
    ) -> None:
        """Start the workers.

        Args:
            keys: what holds while evaluating, see `evaluation_keys`.
            policies: whose actors play.
            duration: how much each evaluation plays.
            unit: `episodes` or `timesteps`.
            num_workers: Ray actors; 0 plays in this process.
            cpus_taken: what other Ray actors of this training have asked for.
        """
        self.keys, self.duration, self.unit = keys, duration, unit
        at_once = -(-duration // max(1, num_workers))
        with untouched_generators():
            self.workers = EvaluationWorkers(
                keys["env"],
                {policy_id: policy.actor_spec() for policy_id, policy in policies.items()},
                num_workers=num_workers,
                policy_mapping_fn=imported(keys["policy_mapping_fn"]),
                callbacks=callbacks_of(keys["callbacks"]),
                num_cpus_per_worker=keys["num_cpus_per_worker"],
                cpus_taken=cpus_taken,
                num_envs_per_worker=min(keys["num_envs_per_worker"], at_once),
                env_config=keys["env_config"],
                vectorize=keys["vectorize"],
                explore=keys["explore"],
                inference=keys["inference"],
                sampler_class=imported(keys["sampler_class"]),
            )

    @classmethod
    def of_config(cls, config: TrainerConfig, policies: Mapping[str, Learner]) -> Evaluation:
        """As a config's evaluation section says."""
        section, training = config.evaluation, config.flat()
        keys = evaluation_keys(training, section.evaluation_config)
        check_spaces(keys, training, policies)
        return cls(
            keys,
            policies,
            duration=section.evaluation_duration,
            unit=section.evaluation_duration_unit,
            num_workers=section.evaluation_num_workers,
            cpus_taken=training["num_workers"] * training["num_cpus_per_worker"],
        )

    def start(
        self,
        policies: Mapping[str, Learner],
        *,
        seed: int,
        iteration: int,
        step: int | None = None,
    ) -> Callable[[], Figures]:
        """Evaluate the policies as they are now; call what is returned for the figures.

        Ray workers play until then, the local worker has played when this returns.

        Args:
            policies: snapshots of them are taken.
            seed: of the training; with `iteration` it seeds environments and action noise.
            iteration: after which the policies are evaluated.
            step: lifetime environment steps, for exploration schedules; None: as they know it.
        """
        began = perf_counter()
        snapshots = {policy_id: policy.snapshot() for policy_id, policy in policies.items()}
        if step is not None:
            snapshots = {pid: snapshot._replace(step=step) for pid, snapshot in snapshots.items()}
        given = self.keys["seed"]
        mixed = evaluation_seed(seed if given is None else given, iteration)
        with untouched_generators(), _named():
            collect = self.workers.start(snapshots, self.duration, unit=self.unit, seed=mixed)

        def figures() -> Figures:
            with _named():
                episodes = collect()
            found = {
                "training_iteration": iteration,
                **summary(episodes),
                "explore": self.keys["explore"],
                "time_this_iter_s": perf_counter() - began,
            }
            log.info(
                "evaluation of iteration %d: episode_reward_mean %g over %d episodes",
                iteration, found["episode_reward_mean"], len(episodes),
            )  # fmt: skip
            return found

        return figures

    def stop(self) -> None:
        """Close the environments and end the workers."""
        self.workers.stop()


class _Subject(NamedTuple):
    """What `evaluate` evaluates."""

    keys: Mapping[str, Any]
    policies: Mapping[str, Learner]
    seed: int
    iteration: int


def evaluate(
    of: str | Path | Trainer,
    episodes: int = 10,
    *,
    explore: bool | None = None,
    seed: int | None = None,
    env: Any = None,
    num_workers: int = 0,
    algorithm: str | TrainerDefinition | None = None,
    **keys: Any,
) -> Figures:
    """Play whole episodes with the policies of a checkpoint; nothing is trained or changed.

    Args:
        of: a checkpoint, a directory of some (the newest is meant), or a Trainer.
        episodes: how many, dealt out evenly to the environments.
        explore: sample actions; None: as `evaluation_config` says, else the most likely ones.
        seed: of environments and action noise; None: that of the training.
        env: another environment than that of the training, with the same spaces.
        num_workers: Ray actors that play; 0 plays in this process.
        algorithm: needed only for a policy without a network, of an algorithm that is not ours.
        **keys: what else `evaluation_config` may hold, such as `env_config`.

    Returns:
        `episode_reward_mean`, `_min`, `_max`, `episode_len_mean`, `episodes_this_iter`,
        `custom_metrics`, `hist_stats` with every episode, ….

    Raises:
        CheckpointError: it is none, or it is damaged.
        ConfigError: a key or value that cannot be meant.
    """
    if isinstance(episodes, bool) or not isinstance(episodes, int) or episodes < 1:
        raise ConfigError(f"episodes={episodes!r} is a number of episodes to play, at least 1")
    given = {"explore": explore, "seed": seed, "env": env}
    overrides = {**keys, **{key: value for key, value in given.items() if value is not None}}
    if isinstance(of, str | Path):
        subject = _of_checkpoint(checkpoint.locate(of), overrides, algorithm)
    else:
        training = of.config.flat()
        subject = _Subject(training, of.workers.learners, of.seed, of.iteration)
    wanted = {**subject.keys["evaluation_config"], **overrides}
    found = evaluation_keys(subject.keys, wanted)
    check_spaces(found, subject.keys, subject.policies)
    evaluation = Evaluation(found, subject.policies, duration=episodes, num_workers=num_workers)
    try:
        start = evaluation.start
        return start(subject.policies, seed=subject.seed, iteration=subject.iteration)()
    finally:
        evaluation.stop()


def summary(episodes: Sequence[EpisodeRecord]) -> Figures:
    """The figures over some episodes, under the names that results have for them."""
    metrics = EpisodeMetrics(window=max(1, len(episodes)))
    metrics.add(episodes)
    figures = metrics.summary()
    figures["episodes_this_iter"] = figures.pop("episodes_total")
    figures["timesteps_this_iter"] = sum(episode.length for episode in episodes)
    return figures


def evaluation_seed(seed: int, iteration: int) -> int:
    """A seed that no training uses, of its own for each iteration."""
    mixed = np.random.SeedSequence([seed, crc32(b"evaluation"), iteration]).generate_state(1)
    return int(mixed[0])


def check_spaces(
    keys: Mapping[str, Any], training: Mapping[str, Any], policies: Mapping[str, Learner]
) -> None:
    """Raise ConfigError where the policies cannot play in another environment than they know."""
    if all(keys[name] == training[name] for name in ("env", "env_config")):
        return
    spaces = env_spaces(keys["env"], keys["env_config"])
    mapping_fn = imported(keys["policy_mapping_fn"])
    agents = list(spaces[0]) if isinstance(spaces[0], dict) else [None]
    for agent in agents:
        policy_id = next(iter(policies)) if mapping_fn is None else mapping_fn(agent, 0, 0)
        policy = policies.get(policy_id)
        if not isinstance(policy, Policy):
            continue
        known = (policy.observation_space, policy.action_space)
        for what, space, own in zip(("observation", "action"), spaces, known, strict=True):
            seen = space if agent is None else space[agent]
            if space_columns(what, seen) != space_columns(what, own):
                raise ConfigError(
                    f"policy {policy_id!r} was trained on {what}s {own}; env={keys['env']!r} has "
                    f"{seen}: evaluate it in an environment with the same spaces"
                )


@contextmanager
def untouched_generators() -> Iterator[None]:
    """Give the process's global random generators back as they were: others draw from them, too.

    TensorFlow needs none of it: Keras takes the seeds of first weights from Python's generator.
    """
    torch = sys.modules.get("torch")
    kept = random.getstate(), np.random.get_state()
    of_torch = None if torch is None else torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        if torch is not None:
            torch.set_rng_state(of_torch)


@contextmanager
def _named() -> Iterator[None]:
    """Say that it was in an evaluation that an environment failed."""
    try:
        yield
    except EnvError as error:
        raise EnvError(f"evaluation, {error}") from error


def _of_checkpoint(
    path: Path, overrides: Mapping[str, Any], algorithm: str | TrainerDefinition | None
) -> _Subject:
    """The keys and policies of a checkpoint, less the keys that `overrides` replaces."""
    stored = json.loads((path / "config.json").read_bytes())
    wanted = [key for key in (*EVALUATION_KEYS, "evaluation_config") if key not in overrides]
    holes = [key for key in wanted if is_hole(stored[key])]
    if holes:
        raise CheckpointError(
            f"{path} could not store {holes}: give them again, as in evaluate(path, {holes[0]}=…)"
        )
    keys = decode_config({key: stored[key] for key in wanted}, {})
    absent: dict[str, Any] = {
        key: {} if key == "env_config" else None for key in EVALUATION_KEYS if key in overrides
    }
    policies = saved_policies(path, algorithm)
    return _Subject({**absent, **keys}, policies, stored["seed"], iteration_of(path))
