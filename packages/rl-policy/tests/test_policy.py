from __future__ import annotations

import numpy as np
import pytest
from bare_policies import Bandit, bare_policy
from gymnasium.spaces import Box, Discrete
from numpy.testing import assert_allclose, assert_array_equal

from rl_policy import ArtifactError, Policy, PolicySpec
from rl_policy.testing import check_policy, random_fragment
from rl_sample import SampleBatch

VECTOR, THREE = Box(-1.0, 1.0, (2,)), Discrete(3)


def test_a_numpy_policy_keeps_the_protocol():
    check_policy(lambda: Bandit(VECTOR, THREE, {"seed": 0}))


def test_a_numpy_policy_learns_a_bandit():
    policy = Bandit(VECTOR, THREE, {"seed": 1})
    for _ in range(100):
        actions = policy.compute_actions(np.zeros((32, 2), np.float32))[0]
        rewards = (actions == 2).astype(np.float32)
        policy.learn_on_batch(SampleBatch({"actions": actions, "rewards": rewards}))
    assert policy.compute_single_action(np.zeros(2, np.float32), explore=False)[0] == 2
    assert policy.logits[2] > policy.logits[:2].max() + 2
    assert policy.version == 100


def test_check_policy_finds_what_is_broken():
    class Forgetful(Bandit):
        def set_weights(self, weights):
            pass

    class Loud(Bandit):
        def act(self, inputs, state, noise, **options):
            acted = super().act(inputs, state, noise, **options)
            return acted._replace(env_actions=acted.actions + 1)

    class Writer(Bandit):
        def learn_on_batch(self, batch, **options):
            learned = super().learn_on_batch(batch, **options)
            batch.arrays["rewards"][:] = 0
            return learned

    for broken, message in [
        (Forgetful, "left policy.version as it was"),
        (Loud, "outside Discrete"),
        (Writer, "wrote into the batch's column 'rewards'"),
    ]:
        with pytest.raises(AssertionError, match=message):
            check_policy(lambda c=broken: c(VECTOR, THREE, {"seed": 0}))


def test_trajectory_postprocessing_is_called_per_piece_if_overridden():
    class Counting(Bandit):
        def postprocess_trajectory(self, sample_batch, other_agent_batches=None, episode=None):
            sample_batch["piece_length"] = np.full(sample_batch.count, sample_batch.count)
            return sample_batch

    assert not Bandit(VECTOR, THREE).actor_spec().build()[1].per_trajectory
    policy = Counting(VECTOR, THREE, {"seed": 0})
    assert policy.actor_spec().build()[1].per_trajectory
    batch = random_fragment(policy, slots=1, rows=8, end_every=5)
    assert_array_equal(batch["piece_length"], [5] * 5 + [3] * 3)
    assert "action_logp" in batch


def test_noise_follows_from_the_seed():
    obs = np.zeros((16, 2), np.float32)

    def first_two(seed):
        policy = Bandit(VECTOR, THREE, {"seed": seed})
        return [policy.compute_actions(obs)[0].tolist() for _ in range(2)]

    assert first_two(5) == first_two(5)
    assert first_two(5) != first_two(6)
    assert first_two(5)[0] != first_two(5)[1]
    assert Bandit(VECTOR, THREE).seed != Bandit(VECTOR, THREE).seed


def test_single_actions_have_no_leading_axis():
    policy = bare_policy(VECTOR, THREE, model={"use_lstm": True})
    action, state, columns = policy.compute_single_action(np.zeros(2, np.float32))
    assert action in THREE
    assert [s.shape for s in state] == [(64,), (64,)]
    assert columns["action_dist_inputs"].shape == (3,)
    again = policy.compute_single_action(np.zeros(2, np.float32), state, explore=False)
    assert again[0] in THREE


def test_log_likelihoods_are_those_of_the_distribution():
    policy = bare_policy(VECTOR, THREE)
    obs = np.random.default_rng(0).uniform(-1, 1, (4, 2)).astype(np.float32)
    per_action = [policy.compute_log_likelihoods(np.full(4, a), obs) for a in range(3)]
    assert_allclose(np.exp(per_action).sum(0), 1.0, rtol=1e-5)
    actions, _, columns = policy.compute_actions(obs)
    assert_allclose(policy.compute_log_likelihoods(actions, obs), columns["action_logp"], rtol=1e-5)


def test_lists_of_observations_are_batched_and_wrong_ones_named():
    policy = bare_policy(VECTOR, THREE)
    assert policy.compute_actions([np.zeros(2, np.float32)] * 3)[0].shape == (3,)
    with pytest.raises(ValueError, match=r"'obs_batch' has shape \(3, 5\), expected \(3, 2\)"):
        policy.compute_actions(np.zeros((3, 5), np.float32))
    with pytest.raises(ValueError, match=r"'obs_batch\[1\]' has shape \(5,\)"):
        policy.compute_actions([np.zeros(2, np.float32), np.zeros(5, np.float32)])
    with pytest.raises(ValueError, match="compute_single_action takes one obs"):
        policy.compute_actions(np.float32(1.0))
    doubles = policy.compute_actions(np.zeros((3, 2)))[2]
    assert doubles["action_dist_inputs"].dtype == np.float32


def test_schedules_set_coefficients():
    class Scheduled(Bandit):
        default_config = {"step_size": 0.5, "beta": 1.0, "coeffs": ("beta",)}

    config = {"beta_schedule": [[0, 2.0], [100, 0.0]], "lr_schedule": [[0, 0.1], [10, 0.2]]}
    policy = Scheduled(VECTOR, THREE, config)
    assert policy.coeffs == {"lr": pytest.approx(0.1), "beta": 2.0}
    policy.follow_schedules(50)
    assert policy.coeffs == {"lr": pytest.approx(0.2), "beta": pytest.approx(1.0)}


def test_what_a_bare_subclass_lacks_is_said():
    policy = Policy(VECTOR, THREE)
    obs = {"obs": np.zeros((1, 2), np.float32)}
    with pytest.raises(NotImplementedError, match=r"Policy does not implement act\(\)"):
        policy.act(obs, (), {}, explore=False, step=0)
    with pytest.raises(NotImplementedError, match="learn_on_batch"):
        policy.learn_on_batch(SampleBatch({"rewards": [0.0]}))
    with pytest.raises(ArtifactError, match="no network made by build_policy"):
        policy.save("nowhere")
    with pytest.raises(ValueError, match="did you mean 'step_size'"):
        Bandit(VECTOR, THREE, {"stepsize": 0.1})


def test_saved_policies_do_not_learn():
    with pytest.raises(NotImplementedError, match="only acts"):
        bare_policy(VECTOR, THREE).learn_on_batch(SampleBatch({"rewards": [0.0]}))


def test_policy_specs_default_to_inferring():
    assert PolicySpec() == PolicySpec(None, None, None, {})
