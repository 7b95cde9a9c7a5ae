"""Models in torch that a config names."""

from __future__ import annotations

import torch
from torch import nn

from rl_policy.torch import TorchModel


class Small(TorchModel):
    """One hidden layer of `units`, with a value."""

    def __init__(self, obs_space, action_space, num_outputs, model_config, name, units=4):
        super().__init__(obs_space, action_space, num_outputs, model_config, name)
        self.hidden = nn.Linear(obs_space.shape[0], units)
        self.logits, self.values = nn.Linear(units, num_outputs), nn.Linear(units, 1)

    def forward(self, input_dict, state, seq_lens):
        self.features = torch.tanh(self.hidden(input_dict["obs_flat"]))
        return self.logits(self.features), state

    def value_function(self):
        return self.values(self.features)[:, 0]


class WithoutValue(TorchModel):
    """Logits and nothing else."""

    def __init__(self, obs_space, action_space, num_outputs, model_config, name):
        super().__init__(obs_space, action_space, num_outputs, model_config, name)
        self.logits = nn.Linear(obs_space.shape[0], num_outputs)

    def forward(self, input_dict, state, seq_lens):
        return self.logits(input_dict["obs_flat"]), state


class TooWide(Small):
    """Gives one output too many."""

    def __init__(self, obs_space, action_space, num_outputs, model_config, name):
        super().__init__(obs_space, action_space, num_outputs, model_config, name)
        self.logits = nn.Linear(4, num_outputs + 1)
