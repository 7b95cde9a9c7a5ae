"""Keras models that users might write."""

from __future__ import annotations

import keras
import tensorflow as tf

from rl_policy.tf import Dense, TFModel
from rl_sample.protocols import Needs


class Scaled(TFModel):
    """One hidden layer, outputs times `scale`."""

    def __init__(self, obs_space, action_space, num_outputs, model_config, name, scale=1.0):
        super().__init__(obs_space, action_space, num_outputs, model_config, name)
        self.scale = scale
        self.hidden = keras.layers.Dense(8, activation="tanh")
        self.logits = keras.layers.Dense(num_outputs)
        self.values = keras.layers.Dense(1)

    def forward(self, input_dict, state, seq_lens):
        self._features = self.hidden(input_dict["obs_flat"])
        return self.scale * self.logits(self._features), state

    def value_function(self):
        return self.values(self._features)[:, 0]


class Functional(TFModel):
    """RLlib's way: a functional `keras.Model` of two outputs, called `base_model`."""

    def __init__(self, obs_space, action_space, num_outputs, model_config, name):
        super().__init__(obs_space, action_space, num_outputs, model_config, name)
        inputs = keras.Input(obs_space.shape)
        hidden = keras.layers.Dense(8, activation="tanh")(inputs)
        outputs = keras.layers.Dense(num_outputs)(hidden), keras.layers.Dense(1)(hidden)
        self.base_model = keras.Model(inputs, outputs)

    def forward(self, input_dict, state, seq_lens):
        outputs, self._values = self.base_model(input_dict["obs_flat"])
        return outputs, state

    def value_function(self):
        return tf.squeeze(self._values, 1)


class Normed(Scaled):
    """Batch statistics while learning, running ones while acting."""

    def __init__(self, *args):
        super().__init__(*args)
        self.norm = keras.layers.BatchNormalization()

    def forward(self, input_dict, state, seq_lens):
        x = self.norm(input_dict["obs_flat"], training=self.training)
        self._features = self.hidden(x)
        return self.logits(self._features), state


class ReadsDict(Scaled):
    """Reads raw nested observations."""

    def forward(self, input_dict, state, seq_lens):
        obs = input_dict["obs"]
        assert obs["n"].dtype == tf.int64
        self._features = self.hidden(tf.concat([obs["x"], tf.one_hot(obs["n"], 3)], 1))
        return self.logits(self._features), state


class Counter(Scaled):
    """Recurrent by hand: a decaying sum of features, and the previous reward."""

    needs = Needs(act={"prev_rewards": ("rewards", (-1,))})

    def get_initial_state(self):
        return [tf.zeros(8)]

    def forward(self, input_dict, state, seq_lens):
        features = self.hidden(input_dict["obs_flat"]) + input_dict["prev_rewards"][:, None]
        by_time = tf.transpose(tf.reshape(features, [tf.shape(state[0])[0], -1, 8]), [1, 0, 2])
        sums = tf.scan(lambda total, step: tf.tanh(0.5 * total + step), by_time, state[0])
        self._features = tf.reshape(tf.transpose(sums, [1, 0, 2]), [-1, 8])
        return self.logits(self._features), [sums[-1]]


class StartsAtOne(Counter):
    def get_initial_state(self):
        return [tf.ones(8)]


class ForgetsItsState(Counter):
    def forward(self, input_dict, state, seq_lens):
        return super().forward(input_dict, state, seq_lens)[0], []


class NoValue(TFModel):
    def __init__(self, *args):
        super().__init__(*args)
        self.logits = Dense(3, self.num_outputs)

    def forward(self, input_dict, state, seq_lens):
        return self.logits(input_dict["obs_flat"]), state


class NoForward(TFModel):
    pass


class Penalised(Scaled):
    """An auxiliary loss on its own features, which it reports."""

    def custom_loss(self, policy_loss, loss_inputs):
        self._penalty = tf.reduce_mean(self._features**2)
        return policy_loss + 1000.0 + self._penalty

    def metrics(self):
        return {"answer": 42.0, "penalty": self._penalty}


class LateLayer(Scaled):
    """Uses a layer in its loss that nobody used before."""

    def __init__(self, *args):
        super().__init__(*args)
        self.guess = keras.layers.Dense(1)

    def custom_loss(self, policy_loss, loss_inputs):
        return policy_loss + tf.reduce_mean(self.guess(self._features))


class WrongOutputs(Scaled):
    def forward(self, input_dict, state, seq_lens):
        return super().forward(input_dict, state, seq_lens)[0][:, :1], state


class WrongValues(Scaled):
    def value_function(self):
        return self.values(self._features)


class WrongInput(Scaled):
    def forward(self, input_dict, state, seq_lens):
        return self.logits(input_dict["observation"]), state


class Everywhere(TFModel):
    """Variables in all the places where they are looked for."""

    def __init__(self, *args):
        super().__init__(*args)
        self.nets = [keras.layers.Dense(2), {"deep": Dense(3, 2)}]
        self.again = self.nets[0]
        self.scale = tf.Variable(1.0)
        self.offset = keras.Variable(0.5)
        self.drop = keras.layers.Dropout(0.5)
        self.both = keras.layers.Bidirectional(keras.layers.GRU(1))
        self.inner = Functional(*args)

    def forward(self, input_dict, state, seq_lens):
        x = input_dict["obs_flat"]
        out = self.scale * self.nets[0](x) + self.nets[1]["deep"](x) + self.offset
        out += self.both(self.drop(x, training=self.training)[:, :, None])
        return out + self.inner(input_dict, state, seq_lens)[0], state
