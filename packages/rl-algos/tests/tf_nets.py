"""Models in Keras that a config names."""

from __future__ import annotations

from rl_policy.tf import TFModel  # isort: skip  first, it tells TensorFlow to be quiet

import keras


class Small(TFModel):
    """One hidden layer of `units`, with a value."""

    def __init__(self, obs_space, action_space, num_outputs, model_config, name, units=4):
        super().__init__(obs_space, action_space, num_outputs, model_config, name)
        inputs = keras.Input((obs_space.shape[0],))
        hidden = keras.layers.Dense(units, activation="tanh")(inputs)
        outputs = keras.layers.Dense(num_outputs)(hidden), keras.layers.Dense(1)(hidden)
        self.net = keras.Model(inputs, outputs)

    def forward(self, input_dict, state, seq_lens=None):
        logits, self.values = self.net(input_dict["obs_flat"])
        return logits, state

    def value_function(self):
        return self.values[:, 0]


class WithoutValue(TFModel):
    """Logits and nothing else."""

    def __init__(self, obs_space, action_space, num_outputs, model_config, name):
        super().__init__(obs_space, action_space, num_outputs, model_config, name)
        self.logits = keras.layers.Dense(num_outputs)
        self.logits.build((None, obs_space.shape[0]))

    def forward(self, input_dict, state, seq_lens=None):
        return self.logits(input_dict["obs_flat"]), state


class TooWide(Small):
    """Gives one output too many."""

    def __init__(self, obs_space, action_space, num_outputs, model_config, name):
        super().__init__(obs_space, action_space, num_outputs + 1, model_config, name)
        self.num_outputs = num_outputs
