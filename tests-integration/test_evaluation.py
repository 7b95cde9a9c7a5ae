"""Evaluation on Ray workers of its own, before, beside and after training."""

from __future__ import annotations

import numpy as np
import pytest
from clusters import local_cluster

from rl_algos import PPO, evaluate
from rl_workers import Callbacks, WorkerError

pytestmark = pytest.mark.ray

KEYS = {
    "env": "CartPole-v1",
    "preset": None,
    "train_batch_size": 64,
    "sgd_minibatch_size": 32,
    "num_sgd_iter": 2,
    "num_envs_per_worker": 4,
    "seed": 5,
    "num_cpus_per_worker": 0.5,
    "evaluation_num_workers": 2,
    "evaluation_duration": 5,
}


@pytest.fixture(scope="module", autouse=True)
def ray_cluster():
    with local_cluster(num_cpus=4):
        yield


class Length(Callbacks):
    """A custom metric that is made where the episodes are."""

    def on_episode_end(self, *, worker, episode, **_):
        episode.custom_metrics["worker"] = worker


def trained(iterations=3, **keys):
    with PPO({**KEYS, **keys}) as trainer:
        results = [trainer.train() for _ in range(iterations)]
        return trainer.get_policy().get_weights(), [r.get("evaluation") for r in results]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_evaluating_on_ray_leaves_no_trace_and_says_what_it_is_of(num_workers):
    plain, none = trained(num_workers=num_workers)
    assert none == [None] * 3
    after, figures = trained(num_workers=num_workers, evaluation_interval=1)
    beside, early = trained(
        num_workers=num_workers, evaluation_interval=1, evaluation_parallel_to_training=True
    )
    for name, weights in plain.items():
        np.testing.assert_array_equal(after[name], weights)
        np.testing.assert_array_equal(beside[name], weights)
    assert [f["training_iteration"] for f in figures] == [1, 2, 3]
    assert [f["training_iteration"] for f in early] == [0, 1, 2]
    # One iteration later the same policies play the same episodes.
    assert [f["hist_stats"] for f in early[1:]] == [f["hist_stats"] for f in figures[:2]]


def test_a_checkpoint_is_evaluated_on_ray_workers(tmp_path):
    with PPO({**KEYS, "callbacks": Length}) as trainer:
        path = trainer.save(tmp_path)
        own = trainer.evaluate()["evaluation"]
    found = evaluate(path, 5, num_workers=2)
    assert found["hist_stats"] == own["hist_stats"]
    assert own["custom_metrics"]["worker_mean"] == (3 * 1 + 2 * 2) / 5  # three here, two there


def test_workers_that_do_not_fit_beside_those_that_train_are_refused_at_once():
    keys = {"num_workers": 1, "num_cpus_per_worker": 2.0, "evaluation_interval": 1}
    message = "ask for 4 CPUs in all beside the 2 of those.*has 4. Lower evaluation_num_workers"
    with pytest.raises(WorkerError, match=message):
        PPO({**KEYS, **keys})
