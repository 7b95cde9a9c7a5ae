"""Your own torch model, by registration; it acts with torch, in workers too."""

from __future__ import annotations

import torch
from gymnasium.spaces import Box, Dict, Discrete
from torch import nn

from rl_policy import build_torch_policy, gae, register_custom_model
from rl_policy.testing import check_policy, random_fragment
from rl_policy.torch import TorchModel


class TwoEyes(TorchModel):
    """Looks at the parts of a Dict observation with separate layers."""

    def __init__(self, obs_space, action_space, num_outputs, model_config, name, units=32):
        """`units` comes from `custom_model_config`."""
        super().__init__(obs_space, action_space, num_outputs, model_config, name)
        self.left = nn.Linear(obs_space["left"].shape[0], units)
        self.right = nn.Linear(obs_space["right"].shape[0], units)
        self.logits, self.values = nn.Linear(2 * units, num_outputs), nn.Linear(2 * units, 1)

    def forward(self, input_dict, state, seq_lens):
        """Logits [B, A]."""
        obs = input_dict["obs"]
        seen = torch.cat([self.left(obs["left"]), self.right(obs["right"])], 1)
        self._features = torch.tanh(seen)
        return self.logits(self._features), state

    def value_function(self):
        """Values [B] of the last forward."""
        return self.values(self._features)[:, 0]


def loss(policy, model, dist_class, train_batch):
    """Actor and critic, one step."""
    logits, _ = model.from_batch(train_batch)
    logp = dist_class(logits, model).logp(train_batch["actions"])
    errors = model.value_function() - train_batch["value_targets"]
    return (errors**2).mean() - (logp * train_batch["advantages"]).mean()


register_custom_model("two_eyes", TwoEyes)
ActorCritic = build_torch_policy(name="ActorCritic", loss_fn=loss, postprocess_fn=gae)


def main() -> None:
    """Check it, then learn on random experience."""
    space = Dict({"left": Box(-1.0, 1.0, (3,)), "right": Box(-1.0, 1.0, (5,))})
    config = {"seed": 0, "model": {"custom_model": "two_eyes", "custom_model_config": {"units": 8}}}
    policy = ActorCritic(space, Discrete(2), config)
    print("acts with", *policy.inference, sep=" - ")
    print(policy.learn_on_batch(random_fragment(policy), epochs=3).stats)
    # a saved policy finds its model by the name of its module, and this one is called __main__
    check_policy(lambda: ActorCritic(space, Discrete(2), config), saves=False)


if __name__ == "__main__":
    main()
