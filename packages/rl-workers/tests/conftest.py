"""Fixtures of rl-workers' tests: one small Ray cluster per session, a tiny learning set-up."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl_sample import MultiAgentBatch, SampleBatch
from rl_sample.protocols import EpisodeRecord, Fragment, Learned, Snapshot
from rl_workers.flow.results import EpisodeMetrics


@pytest.fixture(scope="session")
def ray_cluster():
    """Ray on two CPUs, stopped when the session ends."""
    import ray

    # Sockets lie below this directory, and the length of their paths is limited.
    directory = tempfile.mkdtemp(prefix="rl", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        # Worker processes inherit the path, so that they find classes defined beside the tests.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            logging_level="ERROR",
            log_to_driver=False,
            _temp_dir=directory,
        )
        yield ray
        ray.shutdown()
    shutil.rmtree(directory, ignore_errors=True)


class MeanLearner:
    """Learns one number: the mean of the rewards it has seen, by gradient descent on squares."""

    def __init__(self, lr: float = 0.5) -> None:
        self.lr = lr
        self.guess = 0.0
        self.version = 0
        self.calls: list[dict[str, Any]] = []
        self.deltas: list[Any] = []

    def learn_on_batch(self, batch, *, step=None, epochs=1, minibatch_size=None, rng=None):
        self.calls.append(
            {"step": step, "epochs": epochs, "minibatch_size": minibatch_size, "rng": rng}
        )
        for _ in range(epochs):
            grads, learned = self.gradients(batch)
            self.apply(grads)
        return learned

    def gradients(self, batch, *, step=None):
        error = self.guess - batch["rewards"]
        stats = {"loss": float(np.mean(error**2) / 2)}
        return {"guess": np.array(error.mean())}, Learned(stats, {"td_error": error})

    def apply(self, grads):
        self.guess -= self.lr * float(grads["guess"])

    def merge_filters(self, deltas):
        self.deltas += deltas

    def snapshot(self):
        self.version += 1
        return Snapshot(self.version, 0, {"guess": np.array(self.guess)})


class CountingInput:
    """Fragments of `size` rows whose rewards count on; one episode each."""

    def __init__(self, size: int = 4, worker: int = 0) -> None:
        self.size, self.worker, self.steps = size, worker, 0
        self.given: list[Fragment | None] = []
        """Fragments to be given before any others."""

    def next(self, timeout_s: float | None = None) -> Fragment | None:
        if self.given:
            return self.given.pop(0)
        rewards = np.arange(self.steps, self.steps + self.size, dtype=np.float32)
        self.steps += self.size
        return fragment(SampleBatch(rewards=rewards), worker=self.worker)


class SmallWorkerSet:
    """What flow asks of a WorkerSet, without environments."""

    def __init__(self, learners=None, remote_workers=()) -> None:
        self.learners = learners or {"default_policy": MeanLearner()}
        self.to_train = frozenset(self.learners)
        self.local_input = CountingInput()
        self.remote_workers = list(remote_workers)
        self.seed = 0
        self.inference = {pid: {"engine": "own", "why": "a test"} for pid in self.learners}
        self.counters: Counter[str] = Counter()
        self.timings: defaultdict[str, float] = defaultdict(float)
        self.metrics = EpisodeMetrics()
        self.on_learn_on_batch = None
        self.learn_metrics: dict[str, Any] = {}
        self.filter_deltas: defaultdict[str, list[Any]] = defaultdict(list)
        self.publish()

    def merge_filters(self):
        for policy_id, deltas in self.filter_deltas.items():
            self.learners[policy_id].merge_filters(deltas)
        self.filter_deltas.clear()

    def publish(self):
        self.snapshots = {k: learner.snapshot() for k, learner in self.learners.items()}

    def snapshot_ref(self):
        return self.snapshots


def fragment(batch: SampleBatch | MultiAgentBatch, worker: int = 0, episodes=None) -> Fragment:
    """`batch` with one episode of return 10 x worker + 1, a quarter of a second for the env."""
    if episodes is None:
        episodes = [EpisodeRecord(worker, 0, worker, batch.count, {"agent": 10.0 * worker + 1.0})]
    return Fragment(
        batch, episodes, {"default_policy": {"count": np.array(1.0)}}, {"env": 0.25}, worker
    )


@pytest.fixture
def workers() -> SmallWorkerSet:
    """A worker set that samples in this process: 4 rows a fragment."""
    return SmallWorkerSet()


@pytest.fixture
def make_workers():
    """`SmallWorkerSet(learners, remote_workers)`."""
    return SmallWorkerSet


@pytest.fixture
def make_learner():
    """`MeanLearner(lr)`."""
    return MeanLearner


@pytest.fixture
def make_fragment():
    """`fragment(batch, worker, episodes)`."""
    return fragment
