"""A policy in plain NumPy: a bandit that learns without any framework, checked by the kit."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box, Discrete

from rl_policy import Policy
from rl_policy.testing import check_policy
from rl_sample import SampleBatch
from rl_sample.protocols import Acted, Learned, Needs


class Bandit(Policy):
    """One preference per action, whatever is observed (Sutton & Barto 2018, section 2.8)."""

    name = "Bandit"
    default_config = {"step_size": 0.5}

    def __init__(self, observation_space, action_space, config=None):
        """All preferences start at zero."""
        super().__init__(observation_space, action_space, config)
        self.preferences = np.zeros(action_space.n, np.float32)
        self.needs = Needs(noise=self.dist_class.noise)

    def act(self, inputs, state, noise, *, explore, step):
        """Softmax of the preferences."""
        logits = np.tile(self.preferences, (len(inputs["obs"]), 1))
        dist = self.dist_class(logits)
        actions = dist.sample(noise["action"]) if explore else dist.deterministic_sample()
        return Acted(actions, actions, (), {"action_dist_inputs": logits})

    def learn_on_batch(self, batch, *, step=None, epochs=1, minibatch_size=None, rng=None):
        """One step along the policy gradient."""
        self.follow_schedules(step)
        chosen = np.eye(len(self.preferences))[batch["actions"]]
        odds = np.exp(self.preferences)
        gradient = (chosen - odds / odds.sum()) * batch["rewards"][:, None]
        step_size = self.config["step_size"]
        self.set_weights({"preferences": self.preferences + step_size * gradient.mean(0)})
        return Learned({"mean_reward": float(batch["rewards"].mean())})

    def get_weights(self):
        """What workers and checkpoints need."""
        return {"preferences": self.preferences.copy()}

    def set_weights(self, weights):
        """Take preferences."""
        self.preferences = np.asarray(weights["preferences"], np.float32)
        self.version += 1


def main() -> None:
    """Find the best of three arms."""
    check_policy(lambda: Bandit(Box(-1.0, 1.0, (1,)), Discrete(3), {"seed": 0}))
    policy = Bandit(Box(-1.0, 1.0, (1,)), Discrete(3), {"seed": 0})
    for update in range(100):
        actions = policy.compute_actions(np.zeros((32, 1), np.float32))[0]
        rewards = np.float32([0.1, 0.5, 0.9])[actions]
        stats = policy.learn_on_batch(SampleBatch(actions=actions, rewards=rewards)).stats
        if update % 25 == 0:
            print(f"update {update:3d}: {stats}")
    print("preferences", policy.preferences.round(2))


if __name__ == "__main__":
    main()
