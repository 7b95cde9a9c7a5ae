"""An autoregressive head: the second action is chosen knowing the first one.

Two friends shall meet at one of three places, and nobody shall be able to tell where. A policy
whose two actions are independent can have one or the other; p(first) p(second | first) has both.
"""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.spaces import Box, MultiDiscrete
from torch import nn

from rl_policy import build_torch_policy, register_action_dist
from rl_policy.action_dist import ActionDist
from rl_policy.distributions import ActionDistribution, Categorical
from rl_policy.torch import TorchModel
from rl_sample import SampleBatch

PLACES, FEATURES = 3, 16


class Friends(TorchModel):
    """Features, logits of the first action, and logits of the second given the first."""

    def __init__(self, obs_space, action_space, num_outputs, model_config, name):
        """`num_outputs` is the distribution's `input_size`: the features."""
        super().__init__(obs_space, action_space, num_outputs, model_config, name)
        self.body = nn.Linear(obs_space.shape[0], num_outputs)
        self.first = nn.Linear(num_outputs, PLACES)
        self.second = nn.Linear(num_outputs + PLACES, PLACES)

    def forward(self, input_dict, state, seq_lens):
        """What the distribution reads are features, not logits."""
        return torch.tanh(self.body(input_dict["obs_flat"])), state

    def second_logits(self, features, first):
        """[B, FEATURES] and [B] first actions to [B, PLACES]."""
        chosen = nn.functional.one_hot(first, PLACES).to(features.dtype)
        return self.second(torch.cat([features, chosen], dim=1))


class TwoSteps(ActionDistribution):
    """p(first) p(second | first); actions and their uniform noise are [B, 2]."""

    def __init__(self, inputs, model=None):
        """`inputs` [B, FEATURES] are the model's features."""
        super().__init__(inputs, model)
        self.first = Categorical(model.first(inputs))

    def second(self, first):
        """The second action's distribution, given the first [B]."""
        return Categorical(self.model.second_logits(self.inputs, first))

    def sample(self, noise):
        """One uniform number for each step."""
        first = self.first.sample(noise[:, 0])
        return torch.stack([first, self.second(first).sample(noise[:, 1])], dim=1)

    def deterministic_sample(self):
        """The likeliest first action, and the likeliest second one after it."""
        first = self.first.deterministic_sample()
        return torch.stack([first, self.second(first).deterministic_sample()], dim=1)

    def logp(self, actions):
        """The chain rule."""
        first, second = actions.unbind(dim=1)
        return self.first.logp(first) + self.second(first).logp(second)

    def entropy(self):
        """H(first) + E H(second | first), over all first actions."""
        return self.first.entropy() + self._expected(lambda first: self.second(first).entropy())

    def kl(self, other):
        """The chain rule again."""
        rest = self._expected(lambda first: self.second(first).kl(other.second(first)))
        return self.first.kl(other.first) + rest

    def _expected(self, value):
        """E value(first) over all first actions."""
        every = [torch.full_like(self.inputs[:, 0], i, dtype=torch.int64) for i in range(PLACES)]
        return sum(torch.exp(self.first.logp(first)) * value(first) for first in every)


def two_steps(action_space):
    """Describe `TwoSteps`; `reads_model` gives it the model in acting, too."""
    noise = {"action": ("uniform", (2,))}
    return ActionDist("TwoSteps", TwoSteps, FEATURES, noise, action_space, reads_model=True)


def loss(policy, model, dist_class, train_batch):
    """Williams 1992 with a bonus for entropy, so that the place stays a secret."""
    outputs, _ = model.from_batch(train_batch)
    dist = dist_class(outputs, model)
    rewards = train_batch["rewards"]
    gain = dist.logp(train_batch["actions"]) * (rewards - rewards.mean())
    return -torch.mean(gain + 0.3 * dist.entropy())


def main() -> tuple[float, float]:
    """Learn for a second; gives how often they meet, and the share of the likeliest place."""
    register_action_dist("two_steps", two_steps)
    model = {"custom_model": Friends, "custom_action_dist": "two_steps"}
    make_policy = build_torch_policy("Meeting", loss_fn=loss)
    space = Box(-1.0, 1.0, (1,))
    policy = make_policy(
        space, MultiDiscrete([PLACES, PLACES]), {"model": model, "lr": 0.02, "seed": 0}
    )
    print("acts with", *policy.inference, sep=" - ")
    obs = np.zeros((256, 1), np.float32)
    for update in range(201):
        actions = policy.compute_actions(obs)[0]
        rewards = (actions[:, 0] == actions[:, 1]).astype(np.float32)
        policy.learn_on_batch(SampleBatch(obs=obs, actions=actions, rewards=rewards))
        met, places = rewards.mean(), np.bincount(actions[:, 0], minlength=PLACES) / len(actions)
        if update % 50 == 0:
            print(f"update {update:3d}: they meet in {met:.0%}; places {np.round(places, 2)}")
    return float(met), float(places.max())


if __name__ == "__main__":
    main()
