"""Policies that tests can make without a framework."""

from __future__ import annotations

import numpy as np

from rl_policy.config import resolve_config
from rl_policy.layout import initial_weights
from rl_policy.policy import Policy
from rl_policy.saved import SavedPolicy
from rl_policy.spec import catalogue_spec
from rl_sample.protocols import Acted, Learned, Needs, Snapshot


def bare_policy(observation_space, action_space, seed=0, *, arrays=None, hooks=None, **config):
    """A catalogue policy with its first weights; it acts with NumPy and does not learn."""
    resolved = dict(resolve_config({}, config))
    spec = catalogue_spec(observation_space, action_space, resolved, hooks=hooks)
    weights = initial_weights(spec.layout, seed)
    net = {f"net/{name}": array for name, array in weights.items()}
    return SavedPolicy(spec, Snapshot(3, 120, net | (arrays or {})))


class Bandit(Policy):
    """Plain NumPy: one logit per action, moved by the policy gradient."""

    default_config = {"step_size": 0.5}

    def __init__(self, observation_space, action_space, config=None):
        super().__init__(observation_space, action_space, config)
        self.logits = np.zeros(action_space.n, np.float32)
        self.needs = Needs(noise=self.dist_class.noise)

    def act(self, inputs, state, noise, *, explore, step):
        rows = len(next(iter(inputs.values())))
        dist_inputs = np.tile(self.logits, (rows, 1))
        dist = self.dist_class(dist_inputs)
        actions = dist.sample(noise["action"]) if explore else dist.deterministic_sample()
        return Acted(actions, actions, (), {"action_dist_inputs": dist_inputs})

    def learn_on_batch(self, batch, *, step=None, epochs=1, minibatch_size=None, rng=None):
        self.follow_schedules(step)
        choice = np.eye(len(self.logits))[batch["actions"]]
        probs = np.exp(self.logits) / np.exp(self.logits).sum()
        gradient = ((choice - probs) * batch["rewards"][:, None]).mean(0)
        self.set_weights({"logits": self.logits + self.config["step_size"] * gradient})
        return Learned({"mean_reward": float(batch["rewards"].mean())})

    def get_weights(self):
        return {"logits": self.logits.copy()}

    def set_weights(self, weights):
        self.logits = np.asarray(weights["logits"], np.float32)
        self.version += 1
