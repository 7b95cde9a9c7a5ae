"""A plan of five operators: REINFORCE on CartPole, the policy in plain NumPy.

Usage: 02_learn.py [iterations]
"""

import sys

import numpy as np

from rl_policy import Policy
from rl_sample.protocols import Acted, Learned, Needs
from rl_workers import WorkerSet, env_spaces
from rl_workers.flow import (
    ConcatBatches,
    ParallelRollouts,
    StandardizeFields,
    StandardMetricsReporting,
    TrainOneStep,
)


class Linear(Policy):
    """Softmax of a linear map."""

    needs = Needs(noise={"action": ("uniform", ())})

    def __init__(self, observation_space, action_space, config=None):
        super().__init__(observation_space, action_space, config)
        self.w = np.zeros((observation_space.shape[0], int(action_space.n)), np.float32)

    def probabilities(self, obs):
        weights = np.exp(obs @ self.w)
        return weights / weights.sum(axis=1, keepdims=True)

    def act(self, inputs, state, noise, *, explore, step):
        sums = self.probabilities(inputs["obs"]).cumsum(axis=1)
        actions = (sums[:, :-1] < noise["action"][:, None]).sum(axis=1)
        return Acted(actions, actions, (), {})

    def postprocess_trajectory(self, sample_batch, other_agent_batches=None, episode=None):
        returns = sample_batch["rewards"][::-1].cumsum()[::-1]  # an episode is one piece here
        sample_batch["advantages"] = returns
        return sample_batch

    def learn_on_batch(self, batch, *, step=None, epochs=1, minibatch_size=None, rng=None):
        p = self.probabilities(batch["obs"])
        push = np.eye(p.shape[1], dtype=np.float32)[batch["actions"]] - p
        self.w += 10 * batch["obs"].T @ (push * batch["advantages"][:, None]) / len(p)
        self.version += 1
        return Learned({"entropy": float(-(p * np.log(p)).sum(axis=1).mean())})

    def get_weights(self):
        return {"w": self.w.copy()}

    def set_weights(self, weights):
        self.w = np.array(weights["w"])


with WorkerSet(
    "CartPole-v1",
    Linear(*env_spaces("CartPole-v1")),
    num_envs_per_worker=8,
    rollout_fragment_length=125,
    batch_mode="complete_episodes",
    seed=0,
) as workers:
    plan = (
        ParallelRollouts(workers)
        .combine(ConcatBatches(1000))
        .for_each(StandardizeFields(["advantages"]))
        .for_each(TrainOneStep(workers))
        .for_each(StandardMetricsReporting(workers, {"metrics_num_episodes_for_smoothing": 20}))
    )
    print(plan)
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 40):
        result = next(plan)
        print(f"{result['timesteps_total']:6} steps, return {result['episode_reward_mean']:.0f}")
