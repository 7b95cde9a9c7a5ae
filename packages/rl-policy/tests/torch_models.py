"""Models that users might write."""

from __future__ import annotations

import torch
from torch import nn

from rl_policy.torch import TorchModel
from rl_sample.protocols import Needs


class Scaled(TorchModel):
    """One hidden layer, outputs times `scale`."""

    def __init__(self, obs_space, action_space, num_outputs, model_config, name, scale=1.0):
        super().__init__(obs_space, action_space, num_outputs, model_config, name)
        self.scale = scale
        inputs = 3 if not hasattr(obs_space, "spaces") else 6
        self.hidden = nn.Linear(inputs, 8)
        self.logits = nn.Linear(8, num_outputs)
        self.values = nn.Linear(8, 1)

    def forward(self, input_dict, state, seq_lens):
        self._features = torch.tanh(self.hidden(input_dict["obs_flat"]))
        return self.scale * self.logits(self._features), state

    def value_function(self):
        return self.values(self._features)[:, 0]


class ReadsDict(Scaled):
    """Reads raw nested observations."""

    def forward(self, input_dict, state, seq_lens):
        obs = input_dict["obs"]
        assert obs["n"].dtype == torch.int64
        one_hot = nn.functional.one_hot(obs["n"], 3).float()
        self._features = torch.tanh(self.hidden(torch.cat([obs["x"], one_hot], 1)))
        return self.logits(self._features), state


class Counter(Scaled):
    """Recurrent by hand: a decaying sum of features, and the previous reward."""

    needs = Needs(act={"prev_rewards": ("rewards", (-1,))})

    def get_initial_state(self):
        return [torch.zeros(8)]

    def forward(self, input_dict, state, seq_lens):
        features = self.hidden(input_dict["obs_flat"]) + input_dict["prev_rewards"][:, None]
        sums, (total,) = [], state
        for step in features.view(len(seq_lens), -1, 8).unbind(1):
            total = torch.tanh(0.5 * total + step)
            sums.append(total)
        self._features = torch.stack(sums, 1).flatten(0, 1)
        return self.logits(self._features), [total]


class StartsAtOne(Counter):
    def get_initial_state(self):
        return [torch.ones(8)]


class NoValue(TorchModel):
    def __init__(self, *args):
        super().__init__(*args)
        self.logits = nn.Linear(3, self.num_outputs)

    def forward(self, input_dict, state, seq_lens):
        return self.logits(input_dict["obs_flat"]), state


class Penalised(Scaled):
    def custom_loss(self, policy_loss, loss_inputs):
        return policy_loss + 1000.0

    def metrics(self):
        return {"answer": 42.0}


class WrongOutputs(Scaled):
    def forward(self, input_dict, state, seq_lens):
        return super().forward(input_dict, state, seq_lens)[0][:, :1], state


class WrongValues(Scaled):
    def value_function(self):
        return self.values(self._features)


class Pictures(TorchModel):
    """Reads a nested observation as the environment gave it."""

    def __init__(self, *args):
        super().__init__(*args)
        self.logits = nn.Linear(75, self.num_outputs)

    def forward(self, input_dict, state, seq_lens):
        obs = input_dict["obs"]
        assert obs["parts"][0].dtype == torch.uint8
        assert obs["parts"][0].shape[1:] == (5, 5, 3)
        assert obs["parts"][1].dtype == torch.int64
        assert input_dict["obs_flat"].shape[1:] == (3,)
        return self.logits(obs["parts"][0].flatten(1) / 255.0), state
