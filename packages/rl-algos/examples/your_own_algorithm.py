"""An algorithm of your own: a loss, a config and a plan. Arguments: most iterations, framework."""

import sys

from rl_algos import build_trainer
from rl_policy import build_policy, gae, masked_mean
from rl_workers.flow import (
    ConcatBatches,
    ParallelRollouts,
    StandardizeFields,
    StandardMetricsReporting,
    TrainOneStep,
)


def actor_critic_loss(policy, model, dist_class, train_batch):
    """Advantage actor-critic, of columns [B]; `value_weight` is a key of the config below.

    It names no framework: operators and `masked_mean` take the tensors of each. What more it may
    call is in `rl_policy.xp`; or write it with `torch` or `tf` and `build_torch_policy` or
    `build_tf_policy`.
    """
    logits, _ = model.from_batch(train_batch)
    logp = dist_class(logits, model).logp(train_batch["actions"])
    errors = (model.value_function() - train_batch["value_targets"]) ** 2
    policy_loss = -masked_mean(logp * train_batch["advantages"], train_batch)
    value_loss = masked_mean(errors, train_batch)
    total = policy_loss + policy.config["value_weight"] * value_loss
    return total, {"policy_loss": policy_loss, "value_loss": value_loss}


def execution_plan(workers, config):
    """Two passes over each batch."""
    return (
        ParallelRollouts(workers)
        .combine(ConcatBatches(config.train_batch_size))
        .for_each(StandardizeFields(["advantages"]))
        .for_each(TrainOneStep(workers, num_sgd_iter=2, sgd_minibatch_size=64))
        .for_each(StandardMetricsReporting(workers, config))
    )


A2C = build_trainer(
    name="A2C",
    default_config={"train_batch_size": 256, "lr": 2e-3, "lambda": 0.95, "value_weight": 0.25},
    default_policy=build_policy(name="A2CPolicy", loss_fn=actor_critic_loss, postprocess_fn=gae),
    execution_plan=execution_plan,
)


def main(iterations="100", framework="auto"):
    """Train it on CartPole-v1."""
    with A2C({"env": "CartPole-v1", "framework": framework}) as trainer:
        for _ in range(int(iterations)):
            result = trainer.train()
            print(result["timesteps_total"], result.get("episode_reward_mean"))


if __name__ == "__main__":
    main(*sys.argv[1:])
