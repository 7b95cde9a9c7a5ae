"""WorkerSet: the same experience from this process and from Ray actors, and its books."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from linear import LinearPolicy

from rl_sample import MultiAgentBatch
from rl_workers import EnvError, WorkerError, WorkerSet, env_spaces
from rl_workers.flow import ConcatBatches, ParallelRollouts, StandardMetricsReporting, TrainOneStep
from rl_workers.testing import CountingEnv, LeavingAgentsEnv

HERE = Path(__file__).parent


def make_policy(env="CartPole-v1", **config):
    return LinearPolicy(*env_spaces(env), {"seed": 0, **config})


def make_workers(env="CartPole-v1", **options):
    options = {"seed": 1, "rollout_fragment_length": 10, "num_envs_per_worker": 2, **options}
    return WorkerSet(env, make_policy(env), **options)


def test_local_sampling_and_bookkeeping():
    with make_workers() as workers:
        for batch in ParallelRollouts(workers).take(3):
            assert batch.count == 20
        assert workers.counters["num_env_steps_sampled"] == 60
        assert workers.timings["env"] > 0
        assert workers.remote_workers == []


def test_local_sampling_never_imports_ray_or_a_framework():
    program = (
        "import sys; sys.path.insert(0, '.')\n"
        "from test_worker_set import make_workers, ParallelRollouts\n"
        "with make_workers() as workers: ParallelRollouts(workers).take(2)\n"
        "found = {'ray', 'torch', 'tensorflow'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=HERE)


def test_learning_changes_how_workers_act():
    with make_workers() as workers:
        plan = (
            ParallelRollouts(workers)
            .combine(ConcatBatches(40))
            .for_each(TrainOneStep(workers))
            .for_each(StandardMetricsReporting(workers))
        )
        before = workers.learners["default_policy"].w.copy()
        result = next(plan)
        learner = workers.learners["default_policy"]
        assert not np.array_equal(before, learner.w)
        actor = workers.local_worker.input.stream.actor
        np.testing.assert_array_equal(actor.w, learner.w)
        assert actor.version == learner.version == 1
        assert workers.local_worker.input.stream.step == 40
        assert result["timesteps_total"] == 40
        assert result["inference"]["default_policy"]["engine"] == "own"
        assert set(result["timers"]) >= {"env_time_ms", "inference_time_ms", "learn_time_ms"}


def test_remote_workers_sample_what_a_local_one_of_that_index_would(ray_cluster):
    with make_workers(num_workers=2) as workers:
        batch = next(ParallelRollouts(workers))
        again = next(ParallelRollouts(workers))
    assert batch.count == again.count == 40
    assert len(set(batch["eps_id"].tolist()) & set(again["eps_id"].tolist())) > 0
    with make_workers(num_workers=2) as workers:
        repeated = next(ParallelRollouts(workers))
    for name in batch:
        np.testing.assert_array_equal(batch[name], repeated[name])
    first, second = batch[:20], batch[20:]
    assert not np.array_equal(first["obs"], second["obs"])


def test_remote_workers_import_no_framework(ray_cluster):
    def modules(worker):
        import sys

        return {"torch", "tensorflow"} & set(sys.modules)

    with make_workers(num_workers=1) as workers:
        assert ray_cluster.get(workers.remote_workers[0].apply.remote(modules)) == set()


def test_updates_reach_remote_workers(ray_cluster):
    def version(worker):
        return worker.input.stream.actor.version

    with make_workers(num_workers=2) as workers:
        plan = ParallelRollouts(workers).for_each(TrainOneStep(workers))
        next(plan)
        next(plan)
        versions = ray_cluster.get([w.apply.remote(version) for w in workers.remote_workers])
        assert versions == [1, 1]  # the second round was sampled with the first update


class Raising(CountingEnv):
    def __init__(self, when):
        super().__init__()
        if when == "init":
            raise OSError("no such simulator")
        self.when = when

    def step(self, action):
        raise OSError("simulator gone")


def test_errors_of_remote_workers_keep_their_cause(ray_cluster):
    policy = LinearPolicy(*env_spaces(CountingEnv), {"seed": 0})
    options = {"num_workers": 1, "env_config": {"when": "init"}}
    with pytest.raises(WorkerError, match="worker 1 could not start: .*no such simulator"):
        WorkerSet(Raising, policy, **options)
    options["env_config"] = {"when": "step"}
    message = r"worker 1, env 0, step 0.*simulator gone"
    with (
        WorkerSet(Raising, policy, **options) as workers,
        pytest.raises(EnvError, match=message),
    ):
        next(ParallelRollouts(workers))


def test_more_workers_than_the_cluster_has_room_for(ray_cluster):
    with pytest.raises(WorkerError, match="ask for 9 CPUs in all; the Ray cluster has 2"):
        make_workers(num_workers=9)


def test_an_unreachable_cluster_is_told_with_what_to_do():
    program = (
        "import os, sys; sys.path.insert(0, '.')\n"
        "os.environ['RAY_ADDRESS'] = '127.0.0.1:1'\n"
        "from test_worker_set import make_workers, WorkerError\n"
        "try: make_workers(num_workers=1)\n"
        "except WorkerError as e: print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=HERE)
    assert "Ray could not be reached or started (RAY_ADDRESS: 127.0.0.1:1)" in done.stdout
    assert "num_workers=0" in done.stdout


def test_ray_missing_is_told_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkerError, match=r"needs Ray.*pip install ray.*num_workers=0"):
        make_workers(num_workers=1)


def test_two_policies_learn_beside_each_other():
    observation_spaces, action_spaces = env_spaces(LeavingAgentsEnv)
    policies = {
        name: LinearPolicy(observation_spaces[name], action_spaces[name], {"seed": 0})
        for name in ("early", "late")
    }
    with WorkerSet(
        LeavingAgentsEnv,
        policies,
        policy_mapping_fn=lambda agent_id, eps_id, worker: agent_id,
        policies_to_train=["late"],
        rollout_fragment_length=12,
        seed=0,
    ) as workers:
        batch, learned = next(ParallelRollouts(workers).for_each(TrainOneStep(workers)))
    assert isinstance(batch, MultiAgentBatch)
    assert set(batch.policy_batches) == {"early", "late"}
    assert set(learned) == {"late"}
    assert np.isfinite(learned["late"].stats["loss"])
    assert not policies["early"].w.any()
    assert policies["late"].w.any()


def test_contradictions_are_told():
    policies = {name: make_policy() for name in "ab"}
    with pytest.raises(ValueError, match="policy_mapping_fn"):
        WorkerSet("CartPole-v1", policies)
    with pytest.raises(ValueError, match=r"policies_to_train names \['c'\]"):
        WorkerSet("CartPole-v1", policies, policies_to_train=["c"])
    with make_workers() as workers:
        workers.local_worker = None
        with pytest.raises(RuntimeError, match="There is no local sampler"):
            _ = workers.local_input


def test_a_users_sampler_class_replaces_ours():
    from rl_workers import Sampler

    class Half(Sampler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._target //= 2

    with make_workers(sampler_class=Half) as workers:
        assert next(ParallelRollouts(workers)).count == 10
