"""TrainOneStep, and gradients computed, averaged and applied."""

from __future__ import annotations

import numpy as np
import pytest

from rl_sample import MultiAgentBatch, SampleBatch
from rl_workers.flow import (
    ApplyGradients,
    AverageGradients,
    ComputeGradients,
    Gradients,
    NoExperience,
    ParallelRollouts,
    TrainOneStep,
)


def rewards(*values):
    return SampleBatch(rewards=np.array(values, np.float32))


def test_train_one_step_learns_then_merges_then_publishes(workers):
    batch, learned = next(ParallelRollouts(workers).for_each(TrainOneStep(workers)))
    learner = workers.learners["default_policy"]
    # Rewards 0, 1, 2, 3: half a step from 0 towards their mean 1.5.
    assert learner.guess == 0.75
    assert learned["default_policy"].stats == {"loss": 1.75}
    assert learned["default_policy"].rows["td_error"].tolist() == [0, -1, -2, -3]
    assert batch.count == 4
    assert learner.deltas == [{"count": 1.0}]
    assert workers.snapshots["default_policy"].arrays["guess"] == 0.75
    assert workers.counters["num_env_steps_trained"] == 4
    assert workers.counters["num_agent_steps_trained"] == 4
    assert workers.timings["learn"] > 0
    assert workers.timings["update"] > 0


def test_train_one_step_tells_the_learner_how(workers):
    train = TrainOneStep(workers, num_sgd_iter=3, sgd_minibatch_size=2)
    ParallelRollouts(workers).for_each(train).take(2)
    assert [call["step"] for call in workers.learners["default_policy"].calls] == [4, 8]
    assert workers.learners["default_policy"].calls[0]["epochs"] == 3
    assert workers.learners["default_policy"].calls[0]["minibatch_size"] == 2
    assert repr(train) == "TrainOneStep(3 epochs, minibatch 2)"


def test_only_policies_to_train_learn_and_are_counted(make_workers, make_learner):
    workers = make_workers({"a": make_learner(), "b": make_learner()})
    both = MultiAgentBatch({"a": rewards(1, 1), "b": rewards(2), "stranger": rewards(3)}, 2)
    _, learned = TrainOneStep(workers, policies=["b"])(both)
    assert list(learned) == ["b"]
    assert (workers.learners["a"].guess, workers.learners["b"].guess) == (0, 1)
    assert workers.counters["num_env_steps_trained"] == 2
    assert workers.counters["num_agent_steps_trained"] == 1
    assert sorted(TrainOneStep(workers)(both)[1]) == ["a", "b"]


def test_nothing_to_learn_on_is_an_error_that_says_who_and_what(make_workers, make_learner):
    workers = make_workers({"a": make_learner(), "b": make_learner()})
    train = TrainOneStep(workers, policies=["b"])
    with pytest.raises(NoExperience, match=r"\['b'\] learn, the batch has experience of \['a'\]"):
        train(MultiAgentBatch({"a": rewards(1), "b": rewards()}, 1))
    assert workers.counters["num_env_steps_trained"] == 0


def test_policies_nobody_has_are_refused(workers):
    with pytest.raises(ValueError, match=r"no policies \['x'\]; there are \['default_policy'\]"):
        TrainOneStep(workers, policies=["x"])


def test_the_generator_of_minibatches_is_state(workers):
    first, second = TrainOneStep(workers), TrainOneStep(workers)
    first.rng.random(3)
    second.load_state_dict(first.state_dict())
    assert first.rng.random() == second.rng.random()


def test_computing_and_applying_gradients_is_training_one_step(make_workers):
    one, other = make_workers(), make_workers()
    ParallelRollouts(one).for_each(TrainOneStep(one)).take(2)
    plan = ParallelRollouts(other).for_each(ComputeGradients(other)).for_each(ApplyGradients(other))
    (_, learned), _ = plan.take(2)
    assert other.learners["default_policy"].guess == one.learners["default_policy"].guess
    assert learned["default_policy"].stats == {"loss": 1.75}
    assert other.counters == one.counters
    assert other.snapshots["default_policy"].version == 3


def test_averaged_gradients_of_microbatches_are_those_of_the_whole_batch(workers):
    compute = ComputeGradients(workers)
    parts = [compute(rewards(0, 1, 2)), compute(rewards(7))]
    whole = compute(rewards(0, 1, 2, 7))
    mean = AverageGradients()(parts)
    # Gradients -1 (3 rows) and -7 (1 row): not their plain mean -4 but -10 / 4.
    assert mean.grads["default_policy"]["guess"] == -2.5
    assert mean.grads == whole.grads
    stats, expected = (x.learned["default_policy"].stats for x in (mean, whole))
    assert stats == pytest.approx(expected)
    assert mean.learned["default_policy"].rows["td_error"].tolist() == [0, -1, -2, -7]
    assert mean.batch["rewards"].tolist() == [0, 1, 2, 7]


def test_microbatches_give_the_gradient_of_the_whole_batch(workers):
    batch = rewards(0, 1, 2, 7, 5)
    whole = ComputeGradients(workers)(batch)
    parts = ComputeGradients(workers, microbatch_size=2)(batch)
    assert parts.grads["default_policy"]["guess"] == pytest.approx(-3.0)
    assert parts.grads == whole.grads
    assert parts.batch is batch
    assert "microbatch 2" in repr(ComputeGradients(workers, microbatch_size=2))


def test_a_microbatch_may_have_nothing_to_learn_on(make_workers, make_learner):
    workers = make_workers({"a": make_learner(), "b": make_learner()})
    names = {"eps_id": [0], "agent_index": [0]}
    parts = {
        "a": SampleBatch(rewards=np.ones(1, np.float32), t=[0], **names),
        "b": SampleBatch(rewards=np.full(1, 5, np.float32), t=[1], **names),
    }
    found = ComputeGradients(workers, ["b"], microbatch_size=1)(MultiAgentBatch(parts, 2))
    assert {k: float(g["guess"]) for k, g in found.grads.items()} == {"b": -5}
    with pytest.raises(NoExperience, match="nothing to learn on"):
        ComputeGradients(workers, ["b"], microbatch_size=1)(MultiAgentBatch({"a": parts["a"]}, 1))


def test_averaging_takes_each_policy_where_it_has_gradients(make_workers, make_learner):
    workers = make_workers({"a": make_learner(), "b": make_learner()})
    compute = ComputeGradients(workers)
    mean = AverageGradients()(
        [
            compute(MultiAgentBatch({"a": rewards(1)}, 1)),
            compute(MultiAgentBatch({"a": rewards(3), "b": rewards(5)}, 1)),
        ]
    )
    assert isinstance(mean, Gradients)
    assert {k: float(g["guess"]) for k, g in mean.grads.items()} == {"a": -2, "b": -5}
    batch, learned = ApplyGradients(workers)(mean)
    assert (batch.env_steps(), sorted(learned)) == (2, ["a", "b"])
    assert workers.counters["num_agent_steps_trained"] == 3
