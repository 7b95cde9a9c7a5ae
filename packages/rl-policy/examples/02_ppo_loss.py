"""PPO's loss on `rl_policy.xp`: one source for every framework, with advantages made by `gae`."""

from __future__ import annotations

from gymnasium.spaces import Box, Discrete

from rl_policy import build_policy, gae, masked_mean
from rl_policy.testing import random_fragment
from rl_policy.xp import array_namespace


def ppo_loss(policy, model, dist_class, train_batch):
    """Schulman et al. 2017, equation 9."""
    logits, _ = model.from_batch(train_batch)
    xp, dist = array_namespace(logits), dist_class(logits, model)
    ratio = xp.exp(dist.logp(train_batch["actions"]) - train_batch["action_logp"])
    clip, advantages = policy.config["clip_param"], train_batch["advantages"]
    surrogate = xp.minimum(advantages * ratio, advantages * xp.clip(ratio, 1 - clip, 1 + clip))
    errors = xp.square(model.value_function() - train_batch["value_targets"])
    policy_loss = -masked_mean(surrogate, train_batch)
    vf_loss, entropy = masked_mean(errors, train_batch), masked_mean(dist.entropy(), train_batch)
    total = policy_loss + 0.5 * vf_loss - policy.coeffs["entropy_coeff"] * entropy
    return total, {"policy_loss": policy_loss, "vf_loss": vf_loss, "entropy": entropy}


PPOPolicy = build_policy(
    name="PPOPolicy",
    loss_fn=ppo_loss,
    postprocess_fn=gae,
    get_default_config=lambda: {
        "clip_param": 0.2,
        "lambda": 0.95,
        "entropy_coeff": 0.01,
        "coeffs": ("entropy_coeff",),  # may change while training, by a schedule for example
    },
)


def main() -> None:
    """Learn on random experience, with an LSTM and a filter."""
    config = {
        "seed": 0,
        "model": {"use_lstm": True, "lstm_use_prev_action": True},
        "observation_filter": "MeanStdFilter",
        "entropy_coeff_schedule": [[0, 0.01], [1000, 0.0]],
    }
    policy = PPOPolicy(Box(-1.0, 1.0, (4,)), Discrete(3), config)
    print("acts with", *policy.inference, sep=" - ")
    for iteration in range(3):
        batch = random_fragment(policy, slots=8, rows=64, seed=iteration)
        learned = policy.learn_on_batch(batch, step=512 * iteration, epochs=4, minibatch_size=128)
        policy.merge_filters([policy.filter_delta({"obs": batch["obs"]})])
        print({name: round(value, 3) for name, value in learned.stats.items()})


if __name__ == "__main__":
    main()
