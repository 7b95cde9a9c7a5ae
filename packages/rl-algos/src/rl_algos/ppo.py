"""Proximal policy optimisation (Schulman et al., 2017): config, loss and plan, top to bottom."""

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
from rl_sample.protocols import Learned
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


class PPOConfig(TrainerConfig):
    """PPO's own keys, beside those that all trainers share."""

    sgd_minibatch_size: PositiveInt = 256
    """Rows per gradient step; smaller gives more, noisier steps per batch."""
    num_sgd_iter: PositiveInt = 10
    """Passes over each batch; more learn faster from it until the policy has moved too far."""
    lambda_: Annotated[float, Field(ge=0, le=1, alias="lambda")] = 0.95
    """GAE's λ: 0 trusts the value net (bias), 1 the sampled return (variance)."""
    clip_param: PositiveFloat = 0.2
    """How far the probability ratio new/old may go from 1 before its gradient stops."""
    clip_param_schedule: Schedule | None = None
    """`clip_param` over environment steps, instead of the constant."""
    vf_loss_coeff: NonNegativeFloat = 0.5
    """Weight of the value loss; matters where policy and value share layers."""
    vf_loss_coeff_schedule: Schedule | None = None
    """`vf_loss_coeff` over environment steps, instead of the constant."""
    vf_clip_range: PositiveFloat | None = None
    """How far a value may go from the old one, in units of returns; None does not clip."""
    entropy_coeff: NonNegativeFloat = 0.0
    """Weight of the entropy bonus in nats; larger keeps exploring; 0 leaves it out of the loss."""
    entropy_coeff_schedule: Schedule | None = None
    """`entropy_coeff` over environment steps, instead of the constant."""
    kl_coeff: NonNegativeFloat = 0.0
    """First weight of KL(old, new) in the loss, adapted towards `kl_target`; 0 leaves it out."""
    kl_target: PositiveFloat = 0.01
    """KL per update, in nats, that the adaptive weight aims at."""


def ppo_loss(
    policy: Any, model: Any, dist_class: Any, train_batch: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Clipped surrogate + value loss − entropy bonus (+ KL penalty), and what to watch of them.

    Args:
        policy: its `coeffs` and `config` hold the weights of the terms.
        model: gives distribution inputs [B, …] and values [B].
        dist_class: makes an action distribution of such inputs.
        train_batch: columns [B, …] with `advantages`, `value_targets`, `action_logp`, `vf_preds`.
    """
    inputs, _ = model.from_batch(train_batch)
    xp, coeffs, config = array_namespace(inputs), policy.coeffs, policy.config
    mean = partial(masked_mean, train_batch=train_batch)
    dist, values = dist_class(inputs, model), model.value_function()

    log_ratio = dist.logp(train_batch["actions"]) - train_batch["action_logp"]
    ratio, clip = xp.exp(log_ratio), coeffs["clip_param"]
    advantages = train_batch["advantages"]
    clipped = xp.clip(ratio, 1 - clip, 1 + clip)
    policy_loss = -mean(xp.minimum(ratio * advantages, clipped * advantages))

    targets = train_batch["value_targets"]
    errors = xp.square(values - targets)
    if config["vf_clip_range"] is not None:
        old, reach = train_batch["vf_preds"], config["vf_clip_range"]
        near = old + xp.clip(values - old, -reach, reach)
        errors = xp.maximum(errors, xp.square(near - targets))
    vf_loss, entropy = mean(errors), mean(dist.entropy())
    total = policy_loss + coeffs["vf_loss_coeff"] * vf_loss
    if config["entropy_coeff"] or config["entropy_coeff_schedule"]:
        total = total - coeffs["entropy_coeff"] * entropy

    moved = xp.stop_gradient(ratio) - 1
    if config["kl_coeff"]:
        kl = mean(dist_class(train_batch["action_dist_inputs"], model).kl(dist))
        total = total + coeffs["kl_coeff"] * kl
    else:  # an estimate is enough to watch: http://joschu.net/blog/kl-approx.html
        kl = mean(moved - xp.stop_gradient(log_ratio))
    return total, {
        "total_loss": total,
        "policy_loss": policy_loss,
        "vf_loss": vf_loss,
        "entropy": entropy,
        "kl": kl,
        "clip_fraction": mean(xp.astype(xp.abs(moved) > clip, "float32")),
    }


class UpdateKL:
    """Adapts each policy's `kl_coeff`: up where the last update moved too far, down where little.

    Beyond twice the target ×1.5, below half of it ×0.5 (Schulman et al., 2017, section 4).
    Policies that report no `kl` are left alone.
    """

    def __init__(self, workers: WorkerSet, target: float) -> None:
        self.workers = workers
        self.target = target

    def __call__(self, item: tuple[Any, Mapping[str, Learned]]) -> Any:
        for policy_id, learned in item[1].items():
            kl, coeffs = learned.stats.get("kl"), self.workers.learners[policy_id].coeffs
            if kl is not None and kl > 2.0 * self.target:
                coeffs["kl_coeff"] *= 1.5
            elif kl is not None and kl < 0.5 * self.target:
                coeffs["kl_coeff"] *= 0.5
        return item


def execution_plan(workers: WorkerSet, config: PPOConfig) -> LocalIterator[dict[str, Any]]:
    """Sample a batch, learn on it for several passes, report; over and over."""
    return (
        ParallelRollouts(workers, mode="bulk_sync")
        .for_each(SelectExperiences(workers.to_train))
        .combine(ConcatBatches(config.train_batch_size))
        .for_each(StandardizeFields(["advantages"]))
        .for_each(TrainOneStep(workers, config.num_sgd_iter, config.sgd_minibatch_size))
        .for_each(UpdateKL(workers, config.kl_target))
        .for_each(explain_values)
        .for_each(StandardMetricsReporting(workers, config))
    )


PPOPolicy = build_policy(
    name="PPOPolicy",
    loss_fn=ppo_loss,
    postprocess_fn=gae,
    get_default_config=lambda: {
        **PPOConfig().policy_keys(),
        "coeffs": ("lr", "clip_param", "vf_loss_coeff", "entropy_coeff", "kl_coeff"),
    },
    extra_learn_fetches_fn=lambda policy: {
        "cur_kl_coeff": policy.coeffs["kl_coeff"],
        "entropy_coeff": policy.coeffs["entropy_coeff"],
    },
)

PPO = build_trainer("PPO", PPOConfig, PPOPolicy, execution_plan)
