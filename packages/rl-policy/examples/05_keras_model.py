"""Your own Keras 3 model; the same file learns in graphs ("tf") and eagerly ("tf2")."""

from __future__ import annotations

import keras
import tensorflow as tf
from gymnasium.spaces import Box, Dict, Discrete

from rl_policy import build_tf_policy, gae, register_custom_model
from rl_policy.testing import check_policy, random_fragment
from rl_policy.tf import TFModel


class TwoEyes(TFModel):
    """Looks at the parts of a Dict observation with separate layers, in a functional model."""

    def __init__(self, obs_space, action_space, num_outputs, model_config, name, units=32):
        """`units` comes from `custom_model_config`."""
        super().__init__(obs_space, action_space, num_outputs, model_config, name)
        eyes = {side: keras.Input(obs_space[side].shape, name=side) for side in ("left", "right")}
        seen = keras.layers.Concatenate()([keras.layers.Dense(units)(eyes[eye]) for eye in eyes])
        features = keras.layers.Activation("tanh")(keras.layers.LayerNormalization()(seen))
        outputs = keras.layers.Dense(num_outputs)(features), keras.layers.Dense(1)(features)
        self.base_model = keras.Model(eyes, outputs)

    def forward(self, input_dict, state, seq_lens):
        """Logits [B, A]."""
        obs = input_dict["obs"]
        logits, self._values = self.base_model({"left": obs["left"], "right": obs["right"]})
        return logits, state

    def value_function(self):
        """Values [B] of the last forward."""
        return tf.squeeze(self._values, 1)

    def custom_loss(self, policy_loss, loss_inputs):
        """A little weight decay."""
        kernels = [v for v in self.trainable_variables if len(v.shape) == 2]
        self._decay = 1e-4 * tf.add_n([tf.reduce_sum(kernel**2) for kernel in kernels])
        return policy_loss + self._decay

    def metrics(self):
        """Reported with the statistics of learning."""
        return {"weight_decay": self._decay}


def loss(policy, model, dist_class, train_batch):
    """Actor and critic, one step."""
    logits, _ = model.from_batch(train_batch)
    logp = dist_class(logits, model).logp(train_batch["actions"])
    errors = model.value_function() - train_batch["value_targets"]
    return tf.reduce_mean(errors**2 - logp * train_batch["advantages"])


register_custom_model("two_eyes", TwoEyes)
ActorCritic = build_tf_policy(name="ActorCritic", loss_fn=loss, postprocess_fn=gae)


def main() -> None:
    """Learn on random experience, in a graph; then check the promises of a policy, eagerly."""
    space = Dict({"left": Box(-1.0, 1.0, (3,)), "right": Box(-1.0, 1.0, (5,))})
    config = {"seed": 0, "model": {"custom_model": "two_eyes", "custom_model_config": {"units": 8}}}
    policy = ActorCritic(space, Discrete(2), config)
    print("acts with", *policy.inference, sep=" - ")
    print("weights:", ", ".join(policy.get_weights()))
    print(policy.learn_on_batch(random_fragment(policy), epochs=3).stats)
    # a saved policy finds its model by the name of its module, and this one is called __main__
    eager = {**config, "framework": "tf2"}
    check_policy(lambda: ActorCritic(space, Discrete(2), eager), saves=False)


if __name__ == "__main__":
    main()
