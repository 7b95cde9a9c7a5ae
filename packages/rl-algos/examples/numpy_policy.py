"""REINFORCE with a linear policy in plain NumPy, run by a Trainer. Argument: most iterations."""

import sys

import numpy as np

from rl_algos import build_trainer
from rl_policy import Policy
from rl_policy.testing import check_policy
from rl_sample import add_advantages
from rl_sample.protocols import Acted, Learned, Needs
from rl_workers import env_spaces
from rl_workers.flow import (
    ConcatBatches,
    ParallelRollouts,
    StandardizeFields,
    StandardMetricsReporting,
    TrainOneStep,
)


class LinearSoftmax(Policy):
    """π(a | o) = softmax(W·o), improved along Σ (return − mean) ∇ log π(a | o)."""

    name = "LinearSoftmax"

    def __init__(self, observation_space, action_space, config=None):
        """All actions are equally likely at first."""
        super().__init__(observation_space, action_space, config)
        self.weights = np.zeros((action_space.n, *observation_space.shape), np.float32)
        self.needs = Needs(noise=self.dist_class.noise)  # the uniforms that sampling takes

    def act(self, inputs, state, noise, *, explore, step):
        """Decide for [B, O] observations at once."""
        logits = inputs["obs"] @ self.weights.T
        dist = self.dist_class(logits)
        actions = dist.sample(noise["action"]) if explore else dist.deterministic_sample()
        return Acted(actions, actions, (), {"action_dist_inputs": logits})

    def postprocess_trajectory(self, sample_batch, other_agent_batches=None, episode=None):
        """Discounted returns of one episode, in the worker."""
        gamma = self.config["gamma"]
        return add_advantages(sample_batch, gamma=gamma, use_gae=False, use_critic=False)

    def learn_on_batch(self, batch, *, step=None, epochs=1, minibatch_size=None, rng=None):
        """One step of length `lr`; ∇ log π(a | o) of a softmax is (one-hot(a) − π) oᵀ."""
        self.follow_schedules(step)
        logits = batch["obs"] @ self.weights.T
        probabilities = np.exp(logits - logits.max(1, keepdims=True))
        probabilities /= probabilities.sum(1, keepdims=True)
        chosen = np.eye(len(self.weights), dtype=np.float32)[batch["actions"]]
        scores = (chosen - probabilities) * batch["advantages"][:, None]
        gradient = scores.T @ batch["obs"] / batch.count
        norm = np.linalg.norm(gradient) + 1e-8
        self.set_weights({"weights": self.weights + self.coeffs["lr"] / norm * gradient})
        return Learned({"grad_gnorm": float(norm), "cur_lr": self.coeffs["lr"]})

    def get_weights(self):
        """What workers and checkpoints need."""
        return {"weights": self.weights.copy()}

    def set_weights(self, weights):
        """Take weights; the version tells workers that they are new."""
        self.weights = np.asarray(weights["weights"], np.float32)
        self.version += 1


def execution_plan(workers, config):
    """Whole episodes, one gradient step."""
    return (
        ParallelRollouts(workers)
        .combine(ConcatBatches(config.train_batch_size))
        .for_each(StandardizeFields(["advantages"]))
        .for_each(TrainOneStep(workers))
        .for_each(StandardMetricsReporting(workers, config))
    )


Reinforce = build_trainer(
    name="Reinforce",
    default_config={
        "train_batch_size": 800,
        "lr_schedule": [(0, 0.5), (150_000, 0.0)],
        "gamma": 0.98,
        "batch_mode": "complete_episodes",
    },
    default_policy=LinearSoftmax,
    execution_plan=execution_plan,
)


def main(iterations=200):
    """CartPole-v1 until the last 100 episodes return 400 on average."""
    spaces = env_spaces("CartPole-v1")
    check_policy(lambda: LinearSoftmax(*spaces, {"seed": 0}))
    with Reinforce(env="CartPole-v1", config={"seed": 1}) as trainer:
        for _ in range(iterations):
            result = trainer.train()
            mean = result.get("episode_reward_mean", 0.0)
            print(f"{result['timesteps_total']:6,} steps: mean return {mean:.1f}")
            if mean >= 400:
                break


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
