from __future__ import annotations

import numpy as np
import pytest
from bare_policies import bare_policy
from gymnasium.spaces import Box, Discrete
from numpy.testing import assert_allclose

from rl_policy import discounted, gae, whole_fragment
from rl_policy.hooks import ActingHooks
from rl_policy.testing import random_fragment
from rl_sample import SampleBatch
from rl_sample.protocols import Needs, Segments

VECTOR, TWO = Box(-1.0, 1.0, (2,)), Discrete(2)


class Critic:
    """A policy whose value of an observation is its first number."""

    needs = Needs()

    def __init__(self, **config):
        self.config = {"gamma": 0.5, "lambda": 1.0, "use_gae": True, "use_critic": True, **config}

    def values(self, inputs, state):
        return inputs["obs"][:, 0]


def two_pieces():
    """Rewards 1; one piece of two rows that goes on, one of one row that terminated."""
    segments = Segments(np.array([2, 3]), {"obs": np.float32([[8.0], [9.0]])})
    return SampleBatch(
        {
            "obs": np.float32([[2.0], [4.0], [6.0]]),
            "rewards": np.float32([1, 1, 1]),
            "terminateds": np.array([False, False, True]),
            "truncateds": np.array([False, False, False]),
        },
        segments=segments,
    )


def test_gae_on_paper():
    """Targets with λ = 1: row 1: 1 + 0.5 * 8 = 5, row 0: 1 + 0.5 * 5 = 3.5, row 2: 1."""
    batch = gae(Critic(), two_pieces())
    assert_allclose(batch["vf_preds"], [2, 4, 6])
    assert_allclose(batch.segments.bootstrap, [8, 0])
    assert_allclose(batch["value_targets"], [3.5, 5, 1])
    assert_allclose(batch["advantages"], [1.5, 1, -5])
    assert batch["advantages"].dtype == np.float32


def test_without_a_critic_nothing_is_valued():
    batch = gae(Critic(use_gae=False, use_critic=False), two_pieces())
    assert "vf_preds" not in batch
    assert_allclose(batch["advantages"], [1.5, 1, 1])


def test_discounted_returns_need_no_values():
    assert_allclose(discounted(Critic(), two_pieces())["advantages"], [1.5, 1, 1])


def test_a_missing_value_function_is_an_error():
    critic = Critic()
    critic.values = lambda inputs, state: None
    with pytest.raises(ValueError, match="this policy's model has none"):
        gae(critic, two_pieces())


def test_segments_are_needed():
    batch = two_pieces()
    batch.segments = None
    with pytest.raises(ValueError, match="no segments"):
        gae(Critic(), batch)


@pytest.mark.parametrize("lstm", [False, True])
def test_fragments_get_log_probabilities_and_values(lstm):
    model = {"use_lstm": lstm, "lstm_use_prev_action": True, "lstm_use_prev_reward": True}
    policy = bare_policy(VECTOR, TWO, model=model, hooks=ActingHooks(postprocess_fn=gae))
    batch = random_fragment(policy, slots=3, rows=7)
    dist = policy.dist_class(batch["action_dist_inputs"])
    assert_allclose(batch["action_logp"], dist.logp(batch["actions"]))
    inputs = {name: batch.arrays[name] for name in ("obs", *policy.needs.act)}
    state = tuple(batch[f"state_in_{i}"] for i in range(len(policy.needs.state)))
    assert_allclose(batch["vf_preds"], policy.values(inputs, state), rtol=1e-5)
    ended = batch["terminateds"][batch.segments.ends - 1]
    assert (batch.segments.bootstrap[ended] == 0).all()
    assert (batch.segments.bootstrap[~ended] != 0).all()


def test_the_bootstrap_of_a_cut_piece_is_the_value_of_its_next_row():
    """A piece cut in two by the fragment's end: both halves agree on the value in between."""
    model = {"use_lstm": True, "lstm_use_prev_action": True, "lstm_use_prev_reward": True}
    policy = bare_policy(VECTOR, TWO, model=model, hooks=ActingHooks(postprocess_fn=gae))
    options = {"slots": 2, "seed": 3, "end_every": 100}
    short, long = (random_fragment(policy, rows=rows, **options) for rows in (4, 5))
    assert_allclose(short.segments.bootstrap, long["vf_preds"][[4, 9]], rtol=1e-4)


def test_unmarked_functions_are_called_per_trajectory():
    def per_piece(policy, batch, others, episode):
        return batch

    marked = whole_fragment(lambda policy, batch, others, episode: batch)
    for function, expected in [(per_piece, True), (marked, False), (gae, False), (None, False)]:
        policy = bare_policy(VECTOR, TWO, hooks=ActingHooks(postprocess_fn=function))
        assert policy.actor_spec().build()[1].per_trajectory is expected
