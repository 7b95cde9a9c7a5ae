"""Train 3 iterations, save, restore in a new process, train 3 more: as if trained 6, bit for bit.

One process trains and saves, another restores every checkpoint and then goes back to it; both use
one Ray.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import local_cluster

from rl_algos import PPO

HERE = Path(__file__).parent
SMALL = {
    "train_batch_size": 120,
    "num_envs_per_worker": 2,
    "sgd_minibatch_size": 40,
    "num_sgd_iter": 2,
    "fcnet_hiddens": [16],
    "num_cpus_per_worker": 0.5,
    "entropy_coeff_schedule": [[0, 0.1], [1000, 0.0]],
    "kl_coeff": 0.2,
}
FILTERED = {"observation_filter": "MeanStdFilter"}
WHOLE = {"batch_mode": "complete_episodes"}
RECURRENT = {
    "use_lstm": True,
    "lstm_cell_size": 8,
    "max_seq_len": 10,
    "lstm_use_prev_action": True,
    "lstm_use_prev_reward": True,
}
CASES = {
    "cartpole": {"env": "CartPole-v1", **FILTERED},
    "pendulum": {"env": "Pendulum-v1", **FILTERED},
    "stochastic": {"env": "toy_envs:Slippery", **WHOLE},
    "recurrent": {"env": "toy_envs:Slippery", **RECURRENT, **FILTERED},
    "tensorflow": {"env": "Pendulum-v1", "framework": "tf", **FILTERED},
    "tensorflow, recurrent": {"env": "toy_envs:Slippery", "framework": "tf", **RECURRENT},
    "tensorflow, eager": {"env": "CartPole-v1", "framework": "tf2", **WHOLE},
    "cartpole, 2 workers": {"env": "CartPole-v1", "num_workers": 2, **WHOLE, **FILTERED},
    "pendulum, 2 workers": {"env": "Pendulum-v1", "num_workers": 2},
    "stochastic, 2 workers": {"env": "toy_envs:Slippery", "num_workers": 2, **RECURRENT, **WHOLE},
    "several agents": {
        "env": "toy_envs:LeavingAgents",
        "policies": {"short": None, "long": None},
        "policy_mapping_fn": "toy_envs:own_policy",
        "train_batch_size": 126,
    },
}


REMOTE = [case for case in CASES if "num_workers" in CASES[case]]
LOCAL = [case for case in CASES if case not in REMOTE]


def fingerprint(trainer, results):
    """What was learned and reported, less what a clock says."""
    weights = hashlib.sha256()
    for policy_id, learner in sorted(trainer.workers.learners.items()):
        for name, array in sorted(learner.get_weights().items()):
            weights.update(f"{policy_id}/{name}".encode() + array.tobytes())
    told = [
        {
            key: value
            for key, value in result.items()
            if "time" not in key or key.startswith("timesteps")
        }
        for result in results
    ]
    return {"weights": weights.hexdigest(), "results": json.loads(json.dumps(told))}


def train_and_save(keys, directory):
    """Train six iterations and save after the third; the checkpoint and the fingerprint."""
    with PPO({**SMALL, **keys}) as trainer:
        for _ in range(3):
            trainer.train()
        path = trainer.save(directory)
        return str(path), fingerprint(trainer, [trainer.train() for _ in range(3)])


def go_on_twice(path):
    """Restore and train three more; then go back and do it again."""
    with PPO.from_checkpoint(path) as trainer:
        once = fingerprint(trainer, [trainer.train() for _ in range(3)])
        trainer.restore(path)
        return once, fingerprint(trainer, [trainer.train() for _ in range(3)])


@pytest.fixture(scope="module")
def ray_address():
    """One cluster for both processes."""
    with local_cluster() as address:
        yield address


def runs(cases, tmp_path_factory, **environment):
    """{case: (fingerprint of six iterations, those of two restores in another process)}."""
    saved = {case: train_and_save(CASES[case], tmp_path_factory.mktemp("run")) for case in cases}
    out = tmp_path_factory.mktemp("out") / "found.json"
    paths = {case: path for case, (path, _) in saved.items()}
    subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", __file__, json.dumps(paths), str(out)],
        check=True,
        cwd=HERE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    found = json.loads(out.read_text())
    return {case: (truth, found[case]) for case, (_, truth) in saved.items()}


@pytest.fixture(scope="module")
def local_runs(tmp_path_factory):
    return runs(LOCAL, tmp_path_factory)


@pytest.fixture(scope="module")
def remote_runs(ray_address, tmp_path_factory):
    return runs(REMOTE, tmp_path_factory, RAY_ADDRESS=ray_address)


@pytest.mark.parametrize("case", LOCAL)
def test_three_and_three_is_six(case, local_runs):
    check(*local_runs[case])


@pytest.mark.ray
@pytest.mark.parametrize("case", REMOTE)
def test_three_and_three_is_six_with_two_workers(case, remote_runs):
    check(*remote_runs[case])


def check(truth, found):
    once, twice = found
    assert once["results"] == truth["results"]
    assert once["weights"] == truth["weights"]
    assert twice == once
    last = once["results"][-1]
    assert last["training_iteration"] == 6
    assert last["timesteps_total"] >= 6 * 120
    assert "num_episodes_cut_by_restore" not in last["counters"]


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    given, to = sys.argv[1:]
    found = {case: go_on_twice(path) for case, path in json.loads(given).items()}
    Path(to).write_text(json.dumps(found))
