"""PPO on CartPole-v1 without a Trainer: sample, learn, publish. Argument: most env steps."""

import sys

import torch

from rl_policy import build_torch_policy, gae
from rl_workers import WorkerSet, env_spaces
from rl_workers.flow import ParallelRollouts, StandardizeFields


def ppo_loss(policy, model, dist_class, train_batch):
    """Clipped surrogate and value loss."""
    logp = dist_class(model.from_batch(train_batch)[0]).logp(train_batch["actions"])
    ratio = torch.exp(logp - train_batch["action_logp"])
    advantages = train_batch["advantages"]
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    errors = model.value_function() - train_batch["value_targets"]
    return torch.mean(0.5 * errors**2 - surrogate)


def main(env_steps=100_000):
    """Train until the last 20 episodes return 475 on average."""
    PPO = build_torch_policy(name="PPO", loss_fn=ppo_loss, postprocess_fn=gae)
    policy = PPO(*env_spaces("CartPole-v1"), {"lr": 1e-3, "gamma": 0.98, "lambda": 0.9})
    size = {"num_envs_per_worker": 8, "rollout_fragment_length": 128}
    with WorkerSet("CartPole-v1", policy, **size) as workers:
        workers.metrics.resize(20)
        for batch in ParallelRollouts(workers).for_each(StandardizeFields(["advantages"])):
            policy.learn_on_batch(batch, epochs=10, minibatch_size=256)
            workers.publish()
            steps = workers.counters["num_env_steps_sampled"]
            mean_return = workers.metrics.summary().get("episode_reward_mean", 0.0)
            print(f"{steps:,} steps: mean return {mean_return:.0f}")
            if mean_return >= 475 or steps >= env_steps:
                break


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
