"""Recurrent policies from the environment to the loss: every state is the one a loop would carry.

Rows are acted on in batches, cut into fragments and learned on in padded sequences; what must come
out is what one call after another gives, in one episode after another.
"""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from learning_envs import NestedRepeat

from rl_algos import PPO
from rl_policy import build_policy, gae, masked_mean
from rl_workers import WorkerSet
from rl_workers.testing import CountingEnv, LeavingAgentsEnv

FRAMEWORKS = [
    pytest.param("torch", marks=pytest.mark.torch),
    pytest.param("tf", marks=pytest.mark.tensorflow),
    pytest.param("tf2", marks=pytest.mark.tensorflow),
]
CELLS = ["use_lstm", "use_gru"]
BACKENDS = ["local", *AutoresetMode]


def model(cell, **keys):
    """Small, and with all that a step could have to remember."""
    history = {"lstm_use_prev_action": True, "lstm_use_prev_reward": True}
    return {cell: True, "lstm_cell_size": 4, "fcnet_hiddens": [4], **history, **keys}


class Following:
    """Replays rows of fragments one by one, with the state and the past that a loop carries."""

    def __init__(self, policy):
        self.policy = policy
        self.carried = {}
        """{(episode, agent): recurrent state, last action, last reward}"""

    def check(self, batch):
        start = 0
        for i, end in enumerate(batch.segments.ends):
            whose = int(batch["eps_id"][start]), int(batch["agent_index"][start])
            known = self.carried.pop(whose, None)
            assert (known is None) == (batch["t"][start] == 0)
            state, action, reward = known or (self.policy.get_initial_state(), 0, 0.0)
            for row in range(start, end):
                for j, part in enumerate(state):
                    close(batch[f"state_in_{j}"][row], part)
                assert batch["prev_actions"][row] == action
                assert batch["prev_rewards"][row] == np.float32(reward)
                inputs = self.inputs(batch["obs"][row], action, reward)
                close(batch["vf_preds"][row], self.value(inputs, state))
                _, after, columns = self.policy.compute_single_action(
                    batch["obs"][row], state, prev_action=action, prev_reward=reward
                )
                close(batch["action_dist_inputs"][row], columns["action_dist_inputs"])
                state, action, reward = after, batch["actions"][row], batch["rewards"][row]
            for part, last in zip(state, batch.segments.last_state, strict=True):
                close(last[i], part)
            last_obs = batch.segments.last_obs["obs"][i]
            value = self.value(self.inputs(last_obs, action, reward), state)
            ended = batch["terminateds"][end - 1]
            close(batch.segments.bootstrap[i], 0.0 if ended else value)
            if not ended and not batch["truncateds"][end - 1]:
                self.carried[whose] = state, action, reward
            start = end

    def inputs(self, obs, action, reward):
        history = {"prev_actions": action, "prev_rewards": np.float32(reward)}
        return {"obs": obs[None], **{k: np.asarray(v)[None] for k, v in history.items()}}

    def value(self, inputs, state):
        return self.policy.values(inputs, tuple(part[None] for part in state))[0]


def close(one, other):
    np.testing.assert_allclose(one, other, 1e-4, 1e-5)


def trainer(env, framework="auto", **keys):
    keys = {"train_batch_size": 24, "sgd_minibatch_size": 24, "seed": 3, **keys}
    return PPO({"env": env, "framework": framework, **keys})


@pytest.mark.torch
@pytest.mark.parametrize("batch_mode", ["truncate_episodes", "complete_episodes"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_sampled_states_are_those_of_a_loop(backend, cell, batch_mode):
    def make(context):
        if backend == "local":
            return CountingEnv()
        return SyncVectorEnv([CountingEnv] * 3, autoreset_mode=backend)

    envs = {"num_envs_per_worker": 3, "rollout_fragment_length": 8, "batch_mode": batch_mode}
    with trainer(make, model=model(cell), **envs) as ours:
        following = Following(ours.get_policy())
        for _ in range(4):
            following.check(ours.workers.local_input.next().batch)


@pytest.mark.torch
@pytest.mark.parametrize("cell", CELLS)
def test_sampled_states_of_agents_are_those_of_a_loop(cell):
    agents = {"num_envs_per_worker": 2, "rollout_fragment_length": 7}
    agents |= {"model": model(cell, max_seq_len=5)}
    with trainer(LeavingAgentsEnv, train_batch_size=14, sgd_minibatch_size=14, **agents) as ours:
        following = Following(ours.get_policy())
        for _ in range(4):
            for batch in ours.workers.local_input.next().batch.policy_batches.values():
                following.check(batch)


def repeat_loss(policy, model, dist_class, train_batch):
    """Nothing to learn: tells what the loss sees of each row."""
    inputs, _ = model.from_batch(train_batch)
    logp = dist_class(inputs, model).logp(train_batch["actions"])
    values = model.value_function()
    rows = {"logp": logp, "values": values, "t": train_batch["t"], "eps_id": train_batch["eps_id"]}
    mean = masked_mean(train_batch["rewards"], train_batch)
    return masked_mean(logp, train_batch), {"mean_reward": mean}, rows


def fragment(framework, cell, **keys):
    """(policy, whole episodes that it played)."""
    config = {"seed": 1, "lr": 1e-12, "gamma": 0.9, "lambda": 0.9, "use_gae": True}
    definition = build_policy(name="Repeating", loss_fn=repeat_loss, postprocess_fn=gae)
    env = CountingEnv()
    config |= {"use_critic": True, "framework": framework, "model": model(cell, **keys)}
    policy = definition(env.observation_space, env.action_space, config)
    options = {"num_envs_per_worker": 3, "rollout_fragment_length": 12}
    options |= {"batch_mode": "complete_episodes", "seed": 0}
    with WorkerSet(CountingEnv, {"p": policy}, **options) as workers:
        return policy, workers.local_input.next().batch


@pytest.mark.parametrize("burn_in", [0, 2])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_loss_sees_every_row_once_as_it_was_acted_on(framework, cell, burn_in):
    policy, batch = fragment(framework, cell, max_seq_len=3, burn_in=burn_in)
    _, whole = policy.gradients(batch)
    assert whole.stats["mean_reward"] == pytest.approx(batch["rewards"].mean(), rel=1e-5)
    shuffled = policy.learn_on_batch(batch, epochs=2, minibatch_size=4 * (3 + burn_in))
    for rows in (whole.rows, shuffled.rows):
        np.testing.assert_array_equal(rows["t"], batch["t"])
        np.testing.assert_array_equal(rows["eps_id"], batch["eps_id"])
        np.testing.assert_allclose(rows["logp"], batch["action_logp"], 1e-4, 1e-5)
        np.testing.assert_allclose(rows["values"], batch["vf_preds"], 1e-4, 1e-5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_burn_in_makes_up_for_states_that_are_stale(framework):
    told = {}
    for burn_in in (0, 7):
        policy, batch = fragment(framework, "use_lstm", max_seq_len=2, burn_in=burn_in)
        for name in ("state_in_0", "state_in_1"):
            batch[name] = np.zeros_like(batch[name])
        _, learned = policy.gradients(batch)
        told[burn_in] = np.abs(learned.rows["values"] - batch["vf_preds"])
    # an episode has at most 7 rows, so all of it is there to warm up with
    assert told[7].max() < 1e-4 < 1e-2 < told[0].max()


@pytest.mark.torch
def test_previous_actions_may_be_nested():
    """The cell reads all leaves, as they were sampled in the step before."""
    with trainer(NestedRepeat, model=model("use_lstm")) as ours:
        batch = ours.workers.local_input.next().batch
        follows = batch["eps_id"][1:] == batch["eps_id"][:-1]
        leaves = [name for name in batch.arrays if name.startswith("prev_actions/")]
        assert len(leaves) == len([n for n in batch.arrays if n.startswith("actions/")]) > 1
        for name in leaves:
            before = batch.arrays[name.removeprefix("prev_")][:-1][follows]
            np.testing.assert_array_equal(batch.arrays[name][1:][follows], before)
            assert not batch.arrays[name][batch["t"] == 0].any()
        ours.train()


@pytest.mark.torch
def test_previous_actions_have_the_form_that_the_distribution_gives_them():
    """GumbelSoftmax acts with shares of [A] numbers where the environment takes one of A."""
    shares = {**model("use_lstm"), "custom_action_dist": "GumbelSoftmax"}
    with trainer("CartPole-v1", model=shares) as ours:
        batch = ours.workers.local_input.next().batch
        assert batch["prev_actions"].shape == batch["actions"].shape == (batch.count, 2)
        ours.train()
