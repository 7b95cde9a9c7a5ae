"""Algorithms as definitions: a config, a policy and a plan that make Trainers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import create_model

from rl_algos import checkpoint
from rl_algos.config import TrainerConfig, validated
from rl_algos.keys import flatten, given_keys, key_index, nest
from rl_algos.presets import merge, resolve_config
from rl_algos.saving import check_algorithm, restore_trainer
from rl_algos.stored import decode_config
from rl_algos.trainer import Trainer
from rl_workers import WorkerSet
from rl_workers.flow import (
    ConcatBatches,
    LocalIterator,
    ParallelRollouts,
    SelectExperiences,
    StandardMetricsReporting,
    TrainOneStep,
)

ExecutionPlan = Callable[[WorkerSet, Any], "LocalIterator[dict[str, Any]]"]


@dataclass(frozen=True)
class TrainerDefinition:
    """An algorithm: call it with a config to get a Trainer, `with_updates` to get a variant."""

    name: str
    config_class: type[TrainerConfig]
    default_policy: Any
    execution_plan: ExecutionPlan
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Keys whose defaults differ from those of `config_class`."""

    def __call__(self, config: Mapping[str, Any] | None = None, *, env: Any = None) -> Trainer:
        """A Trainer that is ready to train.

        Args:
            config: keys as in `{"num_workers": 2, "lr": 1e-3}`; see `config_class`.
            env: short for `config["env"]`.

        Raises:
            ConfigError: a key is unknown, a value impossible, or two of them contradict each other.
        """
        resolved = resolve_config(self, given_keys(config, env))
        return Trainer(self, resolved.config, resolved.origin)

    def from_checkpoint(self, path: str | Path, **keys: Any) -> Trainer:
        """A Trainer with a checkpoint's config and state; `keys` replace or fill in config keys.

        Where keys change what is sampled (the environment, the workers, the seed), the
        environments begin new episodes.

        Args:
            path: a checkpoint, or a directory of some, whose newest is meant. In place of one that
                is damaged the next older one is taken, with a warning.
            **keys: as in `config`.

        Raises:
            CheckpointError: none is whole, it is of another algorithm, it does not fit `keys`, or
                a key that could not be stored is not given in `keys`.
        """
        source = checkpoint.locate(path)
        check_algorithm(source, self.name)
        stored = json.loads((source / "config.json").read_bytes())
        given = flatten(self.config_class, keys)
        kept = decode_config(stored, given)
        layers = [nest(self.config_class, kept), nest(self.config_class, keys)]
        config = validated(self.config_class, merge(layers))
        other_seed = given.get("seed", stored["seed"]) != stored["seed"]
        trainer = Trainer(self, config, f"{self.name} from {source}")
        try:
            restore_trainer(trainer, source, keep_seed=other_seed)
        except BaseException:
            trainer.stop()
            raise
        for learner in trainer.workers.learners.values():  # restored, but given anew
            learner.coeffs.update({k: float(v) for k, v in given.items() if k in learner.coeffs})
        return trainer

    def with_updates(self, **changes: Any) -> TrainerDefinition:
        """A copy with other keyword arguments of `build_trainer`; a dict of keys adds defaults."""
        defaults = changes.pop("default_config", {})
        if isinstance(defaults, type):
            return replace(self, config_class=defaults, overrides={}, **changes)
        config_class, overrides = _with_defaults(self.name, self.config_class, defaults)
        merged = {**self.overrides, **overrides}
        return replace(self, config_class=config_class, overrides=merged, **changes)


def simple_plan(workers: WorkerSet, config: TrainerConfig) -> LocalIterator[dict[str, Any]]:
    """Sample a batch, take one gradient step on it, report; over and over."""
    return (
        ParallelRollouts(workers, mode="bulk_sync")
        .for_each(SelectExperiences(workers.to_train))
        .combine(ConcatBatches(config.train_batch_size))
        .for_each(TrainOneStep(workers))
        .for_each(StandardMetricsReporting(workers, config))
    )


def build_trainer(
    name: str,
    default_config: type[TrainerConfig] | Mapping[str, Any] = TrainerConfig,
    default_policy: Any = None,
    execution_plan: ExecutionPlan = simple_plan,
) -> TrainerDefinition:
    """Make an algorithm of its pieces.

    Args:
        name: what it is called in results and checkpoints.
        default_config: a subclass of TrainerConfig, or a dict: known keys get other defaults,
            unknown ones are added.
        default_policy: what `build_policy` returns, or a Policy class; policies that a
            multi-agent config leaves open are made of it.
        execution_plan: `f(workers, config)` returns the iterator of results.
    """
    if isinstance(default_config, type):
        return TrainerDefinition(name, default_config, default_policy, execution_plan)
    config_class, overrides = _with_defaults(name, TrainerConfig, default_config)
    return TrainerDefinition(name, config_class, default_policy, execution_plan, overrides)


def _with_defaults(
    name: str, config_class: type[TrainerConfig], defaults: Mapping[str, Any]
) -> tuple[type[TrainerConfig], dict[str, Any]]:
    """A config class that has all keys of `defaults`, and those that it had already."""
    known = key_index(config_class)
    overrides = {key: value for key, value in defaults.items() if key in known}
    added: dict[str, Any] = {k: (Any, v) for k, v in defaults.items() if k not in known}
    if added:
        config_class = create_model(f"{name}Config", __base__=config_class, **added)
    return config_class, overrides
