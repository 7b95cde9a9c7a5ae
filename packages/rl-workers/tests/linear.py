"""A policy in plain NumPy: softmax of a linear map, learned by REINFORCE."""

from __future__ import annotations

import numpy as np

from rl_policy import Policy
from rl_sample.protocols import Acted, Learned, Needs


class LinearPolicy(Policy):
    """Logits are `obs @ w`; noise picks the action from the cumulative probabilities."""

    needs = Needs(noise={"action": ("uniform", ())})

    def __init__(self, observation_space, action_space, config=None):
        super().__init__(observation_space, action_space, config)
        self.w = np.zeros((observation_space.shape[0], int(action_space.n)), np.float32)

    def act(self, inputs, state, noise, *, explore, step):
        logits = inputs["obs"] @ self.w
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        actions = p.argmax(1) if not explore else (noise["action"][:, None] > p.cumsum(1)).sum(1)
        return Acted(actions, actions, (), {"action_dist_inputs": logits})

    def learn_on_batch(self, batch, *, step=None, epochs=1, minibatch_size=None, rng=None):
        obs, actions, rewards = batch["obs"], batch["actions"], batch["rewards"]
        p = np.exp(obs @ self.w)
        p /= p.sum(1, keepdims=True)
        push = np.eye(p.shape[1], dtype=np.float32)[actions] - p
        self.w += 0.01 * obs.T @ (push * rewards[:, None]) / len(obs)
        self.version += 1
        return Learned({"loss": float(-(push * rewards[:, None]).mean())})

    def get_weights(self):
        return {"w": self.w.copy()}

    def set_weights(self, weights):
        self.w = np.array(weights["w"])
