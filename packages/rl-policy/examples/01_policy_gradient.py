"""A policy is a loss: learn to tell positive from negative, then act without PyTorch."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from rl_policy import build_torch_policy, load_policy
from rl_sample import SampleBatch


def policy_gradient_loss(policy, model, dist_class, train_batch):
    """Williams 1992, with rewards as they are."""
    logits, _ = model.from_batch(train_batch)
    action_dist = dist_class(logits, model)
    return -torch.mean(action_dist.logp(train_batch["actions"]) * train_batch["rewards"])


MyTorchPolicy = build_torch_policy(name="MyTorchPolicy", loss_fn=policy_gradient_loss)


def main() -> None:
    """Train for a second, save, load."""
    policy = MyTorchPolicy(Box(-1.0, 1.0, (4,)), Discrete(2), {"lr": 0.01, "seed": 0})
    rng = np.random.default_rng(0)
    for update in range(60):
        obs = rng.uniform(-1, 1, (64, 4)).astype(np.float32)
        actions = policy.compute_actions(obs)[0]
        rewards = np.where(actions == (obs[:, 0] > 0), 1.0, -1.0)
        policy.learn_on_batch(SampleBatch(obs=obs, actions=actions, rewards=rewards))
        if update % 20 == 0:
            print(f"update {update:2d}: mean reward {rewards.mean():+.2f}")
    with tempfile.TemporaryDirectory() as folder:
        saved = load_policy(policy.save(Path(folder) / "policy"))
        chosen = saved.compute_actions(obs, explore=False)[0]
        print(f"the saved policy is right in {np.mean(chosen == (obs[:, 0] > 0)):.0%} of all rows")


if __name__ == "__main__":
    main()
