"""Advantage actor-critic, synchronous (Mnih et al., 2016): config, loss and plan, top to bottom."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from rl_algos.config import TrainerConfig
from rl_algos.definition import build_trainer
from rl_algos.sections import Schedule
from rl_algos.values import explain_values
from rl_policy import build_policy, gae, masked_mean
from rl_policy.xp import array_namespace
from rl_workers import WorkerSet
from rl_workers.flow import (
    ApplyGradients,
    ComputeGradients,
    ConcatBatches,
    LocalIterator,
    ParallelRollouts,
    SelectExperiences,
    StandardizeFields,
    StandardMetricsReporting,
)


class A2CConfig(TrainerConfig):
    """A2C's own keys, beside those that all trainers share."""

    train_batch_size: PositiveInt = 48
    """Environment steps of one gradient step; A2C wants many small updates."""
    lr: PositiveFloat = 1e-3
    """Step size of the optimiser; higher learns faster until it diverges."""
    microbatch_size: PositiveInt | None = None
    """Env steps whose gradients are computed at once, to save memory; None: the whole batch."""
    lambda_: Annotated[float, Field(ge=0, le=1, alias="lambda")] = 0.95
    """GAE's λ: 0 trusts the value net (bias), 1 the sampled return (variance)."""
    vf_loss_coeff: NonNegativeFloat = 0.5
    """Weight of the value loss; matters where policy and value share layers."""
    vf_loss_coeff_schedule: Schedule | None = None
    """`vf_loss_coeff` over environment steps, instead of the constant."""
    entropy_coeff: NonNegativeFloat = 0.01
    """Weight of the entropy bonus in nats; larger keeps exploring longer."""
    entropy_coeff_schedule: Schedule | None = None
    """`entropy_coeff` over environment steps, instead of the constant."""


def a2c_loss(
    policy: Any, model: Any, dist_class: Any, train_batch: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """−log π(a | o) × advantage + value loss − entropy bonus, each the mean over rows.

    Args:
        policy: its `coeffs` hold the weights of the terms.
        model: gives distribution inputs [B, …] and values [B].
        dist_class: makes an action distribution of such inputs.
        train_batch: columns [B, …] with `advantages` and `value_targets`.
    """
    inputs, _ = model.from_batch(train_batch)
    xp, coeffs = array_namespace(inputs), policy.coeffs
    mean = partial(masked_mean, train_batch=train_batch)
    dist, values = dist_class(inputs, model), model.value_function()

    policy_loss = -mean(dist.logp(train_batch["actions"]) * train_batch["advantages"])
    vf_loss = mean(xp.square(values - train_batch["value_targets"]))
    entropy = mean(dist.entropy())
    total = policy_loss + coeffs["vf_loss_coeff"] * vf_loss - coeffs["entropy_coeff"] * entropy
    return total, {
        "total_loss": total,
        "policy_loss": policy_loss,
        "vf_loss": vf_loss,
        "entropy": entropy,
    }


def execution_plan(workers: WorkerSet, config: A2CConfig) -> LocalIterator[dict[str, Any]]:
    """Sample a batch, take one gradient step on it, report; over and over."""
    return (
        ParallelRollouts(workers, mode="bulk_sync")
        .for_each(SelectExperiences(workers.to_train))
        .combine(ConcatBatches(config.train_batch_size))
        .for_each(StandardizeFields(["advantages"]))
        .for_each(ComputeGradients(workers, microbatch_size=config.microbatch_size))
        .for_each(ApplyGradients(workers))
        .for_each(explain_values)
        .for_each(StandardMetricsReporting(workers, config))
    )


A2CPolicy = build_policy(
    name="A2CPolicy",
    loss_fn=a2c_loss,
    postprocess_fn=gae,
    get_default_config=lambda: {
        **A2CConfig().policy_keys(),
        "coeffs": ("lr", "vf_loss_coeff", "entropy_coeff"),
    },
)

A2C = build_trainer("A2C", A2CConfig, A2CPolicy, execution_plan)
