"""Damaged files, full disks, forbidden directories and kills cost at most the newest checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tiny_trainers import COUNTER, trained

from rl_algos import CheckpointError
from rl_algos.checkpoint import check, latest

FILES = [
    "manifest.json",
    "config.json",
    "trainer.json",
    "workers.json",
    "workers.safetensors",
    "learners/default_policy.json",
    "learners/default_policy.safetensors",
    "policies/default_policy/manifest.json",
    "policies/default_policy/policy.json",
    "policies/default_policy/weights.safetensors",
]
"""What a checkpoint of PPO consists of."""


def truncated(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def deleted(file):
    file.unlink()


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    """A directory with iterations 0 and 1 of PPO, and the weights of the former."""
    from rl_algos import PPO

    directory = tmp_path_factory.mktemp("runs")
    with trained(PPO, iterations=0) as trainer:
        trainer.save(directory)
        weights = trainer.get_policy().get_weights()
        trainer.train()
        trainer.save(directory)
    return directory, weights


@pytest.mark.torch
def test_these_are_all_files(two_checkpoints):
    newest = latest(two_checkpoints[0])
    files = {path.relative_to(newest).as_posix() for path in newest.rglob("*") if path.is_file()}
    assert files == set(FILES)


@pytest.mark.torch
@pytest.mark.parametrize("damage", [truncated, flipped, deleted])
@pytest.mark.parametrize("name", FILES)
def test_any_damage_is_noticed_and_the_next_older_checkpoint_is_taken(
    two_checkpoints, tmp_path, name, damage
):
    from rl_algos import PPO

    directory, weights = two_checkpoints
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "checkpoint_000001" / name)
    with pytest.raises(CheckpointError, match=Path(name).name):
        check(tmp_path / "checkpoint_000001")
    with pytest.warns(RuntimeWarning, match=r"(?s)checkpoint_000001.*checkpoint_000000 is taken"):
        again = PPO.from_checkpoint(tmp_path)
    with again:
        assert again.iteration == 0
        for key, array in again.get_policy().get_weights().items():
            np.testing.assert_array_equal(array, weights[key])


# ------------------------------------------------------------------------ disks that fail


@contextmanager
def full_disk(directory):
    """No file can be longer than 64 bytes: as on a full disk, a write fails half-way."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def read_only(directory):
    """Nobody may write there, root neither: it becomes somebody else for a while."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o500)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        directory.chmod(0o700)


@contextmanager
def a_file_in_the_way(directory):
    """The directory is a file."""
    aside = directory.with_name("aside")
    if directory.exists():
        directory.rename(aside)
    directory.write_text("")
    yield
    directory.unlink()
    if aside.exists():
        aside.rename(directory)


@contextmanager
def failing_sync(directory):
    """A disk that takes everything and keeps nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rl_sample.files.os.fsync", _fail)
        yield


def _fail(handle):
    raise OSError(5, "Input/output error")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits and rights")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (full_disk, "File too large"),
        (read_only, "Permission denied"),
        (a_file_in_the_way, "could not be saved: (File exists|Not a directory)"),
        (failing_sync, "Input/output error"),
    ],
)
@pytest.mark.parametrize("iteration", ["another", "the same"])
def test_a_save_that_fails_costs_nothing_but_itself(tmp_path, fault, message, iteration):
    runs = tmp_path / "runs"
    with trained() as trainer:
        good = trainer.save(runs)
        before = sorted(runs.rglob("*"))
        if iteration == "another":
            trainer.train()
        with fault(runs), pytest.raises(CheckpointError, match=message) as caught:
            trainer.save(runs, keep=1)
        assert "training can go on, older checkpoints are as they were" in str(caught.value)
        assert sorted(runs.rglob("*")) == before
        assert latest(runs) == good
        trainer.train()
        newest = trainer.save(runs, keep=1)
    with COUNTER.from_checkpoint(runs) as again:
        assert again.iteration == trainer.iteration
    assert list(runs.iterdir()) == [newest]


def test_somebody_elses_directory_is_left_alone(tmp_path):
    theirs = tmp_path / "checkpoint_000000"
    theirs.mkdir()
    (theirs / "algorithm_state.pkl").write_text("")
    with trained(iterations=0) as trainer:
        with pytest.raises(CheckpointError, match=r"000000 exists and has no manifest\.json"):
            trainer.save(tmp_path)
        with pytest.raises(CheckpointError, match=r"no checkpoint, or no longer a whole one"):
            trainer.restore(theirs)
    assert [path.name for path in theirs.iterdir()] == ["algorithm_state.pkl"]


@pytest.mark.torch
def test_a_saved_policy_is_no_checkpoint(two_checkpoints):
    policy = latest(two_checkpoints[0]) / "policies" / "default_policy"
    message = r"is read by rl_policy\.load_policy"
    with trained(iterations=0) as trainer, pytest.raises(CheckpointError, match=message):
        trainer.restore(policy)


# ------------------------------------------------------------------------ kills


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("moments", [pytest.param("random", marks=pytest.mark.torch), "each"])
def test_a_kill_at_any_moment_never_loses_what_was_announced(tmp_path, moments):
    script = Path(__file__).with_name("killed_saver.py")
    command = [sys.executable, str(script), str(tmp_path / "runs"), moments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] >= 50
    assert found["left"]["draft"] > 20  # most of them hit a save half-way
    assert found["left"]["old"] > 0 or moments == "random"
    assert len(found["names"]) <= 2  # no leftover of a hundred killed saves
    assert all(name.startswith("checkpoint_") for name in found["names"])
