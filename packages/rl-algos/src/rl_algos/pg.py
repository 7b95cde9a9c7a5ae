"""Policy gradient (REINFORCE; Williams, 1992): config, loss and plan, top to bottom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import PositiveFloat, PositiveInt

from rl_algos.config import TrainerConfig
from rl_algos.definition import build_trainer
from rl_algos.sections import RolloutSection
from rl_policy import build_policy, discounted, masked_mean
from rl_workers import WorkerSet
from rl_workers.flow import (
    ConcatBatches,
    LocalIterator,
    ParallelRollouts,
    SelectExperiences,
    StandardizeFields,
    StandardMetricsReporting,
    TrainOneStep,
)


class PGConfig(TrainerConfig):
    """The keys that all trainers share; whole episodes, for there is no value net to bootstrap."""

    train_batch_size: PositiveInt = 1000
    """At least so many environment steps, in whole episodes, go into one update."""
    lr: PositiveFloat = 4e-3
    """Step size of the optimiser, of which a batch gives one step only."""
    workers: RolloutSection = RolloutSection(batch_mode="complete_episodes")


def pg_loss(policy: Any, model: Any, dist_class: Any, train_batch: Mapping[str, Any]) -> Any:
    """−log π(a | o) × return, the mean over rows: `advantages` [B] holds standardised returns."""
    inputs, _ = model.from_batch(train_batch)
    logp = dist_class(inputs, model).logp(train_batch["actions"])
    return -masked_mean(logp * train_batch["advantages"], train_batch)


def execution_plan(workers: WorkerSet, config: PGConfig) -> LocalIterator[dict[str, Any]]:
    """Sample whole episodes, take one gradient step, report; over and over."""
    return (
        ParallelRollouts(workers, mode="bulk_sync")
        .for_each(SelectExperiences(workers.to_train))
        .combine(ConcatBatches(config.train_batch_size))
        .for_each(StandardizeFields(["advantages"]))
        .for_each(TrainOneStep(workers))
        .for_each(StandardMetricsReporting(workers, config))
    )


PGPolicy = build_policy(
    name="PGPolicy",
    loss_fn=pg_loss,
    postprocess_fn=discounted,
    get_default_config=lambda: PGConfig().policy_keys(),
)

PG = build_trainer("PG", PGConfig, PGPolicy, execution_plan)
