"""A policy without any deep-learning framework."""

from __future__ import annotations

import numpy as np

from rl_policy import Policy
from rl_sample.protocols import Acted, Learned, Needs


class Bandit(Policy):
    """Plain NumPy: counts the rewards of each action."""

    default_config = {"bonus": 1.0}
    needs = Needs(noise={"action": ("uniform", ())})

    def __init__(self, observation_space, action_space, config=None):
        super().__init__(observation_space, action_space, config)
        self.totals = np.zeros(action_space.n)

    def act(self, inputs, state, noise, *, explore, step):
        rows = len(inputs["obs"])
        best = np.full(rows, int(np.argmax(self.totals)))
        drawn = (noise["action"] < 0.5).astype(np.int64) if explore else best
        return Acted(drawn, drawn, (), {})

    def learn_on_batch(self, batch, *, step=None, epochs=1, minibatch_size=None, rng=None):
        for action in range(len(self.totals)):
            self.totals[action] += batch["rewards"][batch["actions"] == action].sum()
        self.version += 1
        return Learned({"best": float(np.argmax(self.totals))})

    def get_weights(self):
        return {"totals": self.totals.copy()}

    def set_weights(self, weights):
        self.totals = np.array(weights["totals"])
