"""Weights & Biases offline and MLflow in a folder: the real libraries, read back from disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rl_algos.loggers import make_loggers

pytestmark = pytest.mark.extras

PARAMS = {"algorithm": "PPO", "config": {"lr": 0.001, "env": "CartPole-v1"}, "seed": 3}


def row(iteration):
    stats = {"kl": 0.25}
    return {
        "training_iteration": iteration,
        "timesteps_total": 100 * iteration,
        "num_env_steps_sampled_this_iter": 100,
        "time_this_iter_s": 0.5,
        "episode_reward_mean": 10.0 * iteration,
        "info": {"learner": {"default_policy": {"learner_stats": stats}}},
    }


def log_all(name, directory, iterations, after_iteration=0):
    (logger,) = make_loggers([name], directory, PARAMS, after_iteration=after_iteration)
    for iteration in iterations:
        logger.log(row(iteration))
    logger.close()


@pytest.fixture
def wandb_offline(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))


def wandb_records(directory: Path):
    """The records of every offline run, as W&B would sync them."""
    from wandb.proto.wandb_internal_pb2 import Record

    paths = sorted(directory.glob("wandb/offline-run-*/run-*.wandb"))
    return [Record.FromString(data) for path in paths for data in leveldb_log(path.read_bytes())]


def leveldb_log(data: bytes):
    """Entries of a LevelDB log, W&B's format: parts with a header of 7 bytes, in 32 KiB blocks."""
    entry, at = b"", 7  # after W&B's own header
    while at + 7 <= len(data):
        room = 32768 - at % 32768
        if room < 7:
            at += room
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        entry += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole entry, or the last part of one
            yield entry
            entry = b""


@pytest.mark.usefixtures("wandb_offline")
def test_wandb_offline_holds_config_and_curves(tmp_path):
    run = tmp_path / "PPO_CartPole-v1_x"
    log_all("wandb", run, [1, 2])
    records = wandb_records(run)
    (about,) = [r.run for r in records if r.WhichOneof("record_type") == "run"][:1]
    assert (about.display_name, about.project) == ("PPO_CartPole-v1_x", "rl-algos")
    config = {item.key: item.value_json for item in about.config.update}
    assert config["lr"] == "0.001"
    assert config["algorithm"] == '"PPO"'
    history = [
        {"/".join(item.nested_key) or item.key: item.value_json for item in r.history.item}
        for r in records
        if r.WhichOneof("record_type") == "history"
    ]
    assert [h["timesteps_total"] for h in history] == ["100", "200"]
    assert [float(h["learner/kl"]) for h in history] == [0.25, 0.25]


@pytest.mark.usefixtures("wandb_offline")
def test_a_resumed_run_continues_its_wandb_run(tmp_path):
    run = tmp_path / "run"
    log_all("wandb", run, [1, 2])
    log_all("wandb", run, [2, 3], after_iteration=1)
    ids = {r.run.run_id for r in wandb_records(run) if r.WhichOneof("record_type") == "run"}
    assert len(ids) == 1


@pytest.fixture
def mlflow_client(monkeypatch, tmp_path):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)

    def client():
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())

    yield client
    os.environ.pop("MLFLOW_ALLOW_FILE_STORE")  # set by the logger


def test_mlflow_holds_params_and_curves(tmp_path, mlflow_client):
    log_all("mlflow", tmp_path / "PPO_CartPole-v1_x", [1, 2])
    client = mlflow_client()
    experiment = client.get_experiment_by_name("rl-algos")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("PPO_CartPole-v1_x", "FINISHED")
    assert run.data.params == {
        "algorithm": "PPO",
        "lr": "0.001",
        "env": "CartPole-v1",
        "seed": "3",
    }
    returns = client.get_metric_history(run.info.run_id, "episode/episode_reward_mean")
    assert [(metric.step, metric.value) for metric in returns] == [(100, 10.0), (200, 20.0)]


def test_a_resumed_run_continues_its_mlflow_run(tmp_path, mlflow_client):
    log_all("mlflow", tmp_path / "run", [1, 2])
    log_all("mlflow", tmp_path / "run", [3], after_iteration=2)
    client = mlflow_client()
    experiment = client.get_experiment_by_name("rl-algos")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "learner/kl")
    assert [metric.step for metric in history] == [100, 200, 300]
    assert run.info.status == "FINISHED"
