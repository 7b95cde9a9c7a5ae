"""Where results go: rows that survive, strict JSON, columns that come later, one history."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_algos.loggers import DEFAULT_LOGGERS, Loggers, describe_run, make_loggers, write_params
from rl_algos.loggers.scalars import curves, flatten, to_json


def row(iteration, **more):
    """A small result of 100 steps."""
    stats = {"kl": 0.25, "entropy": 0.5}
    return {
        "training_iteration": iteration,
        "timesteps_total": 100 * iteration,
        "num_env_steps_sampled_this_iter": 100,
        "num_env_steps_sampled": 100 * iteration,
        "time_this_iter_s": 0.5,
        "time_total_s": 0.5 * iteration,
        "episode_reward_mean": 10.0 * iteration,
        "hist_stats": {"episode_reward": [1.0, 2.0, 3.0]},
        "inference": {"default_policy": {"engine": "numpy"}},
        "timers": {"learn_time_ms": 400.0},
        "counters": {"num_env_steps_sampled": 100 * iteration},
        "info": {"learner": {"default_policy": {"learner_stats": stats}}},
        **more,
    }


def json_rows(directory: Path):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    lines = (directory / "result.json").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def csv_rows(directory: Path):
    with (directory / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def log_all(names, directory, rows, after_iteration=0):
    loggers = Loggers(make_loggers(names, directory, {}, after_iteration=after_iteration))
    for result in rows:
        loggers.log(result)
    loggers.close()


# ------------------------------------------------------------------------------------- numbers


def test_numbers_are_columns_by_their_path():
    assert flatten(row(2)) == {
        "training_iteration": 2,
        "timesteps_total": 200,
        "num_env_steps_sampled_this_iter": 100,
        "num_env_steps_sampled": 200,
        "time_this_iter_s": 0.5,
        "time_total_s": 1.0,
        "episode_reward_mean": 20.0,
        "timers/learn_time_ms": 400.0,
        "counters/num_env_steps_sampled": 200,
        "info/learner/default_policy/learner_stats/kl": 0.25,
        "info/learner/default_policy/learner_stats/entropy": 0.5,
    }


def test_curves_stand_in_groups_and_once_each():
    evaluation = {"episode_reward_mean": 5.0, "hist_stats": {"episode_reward": [5.0]}}
    assert curves(row(2, evaluation=evaluation, custom_metrics={"goals_mean": 1.5})) == {
        "training/training_iteration": 2,
        "steps/timesteps_total": 200,
        "time/time_this_iter_s": 0.5,
        "time/time_total_s": 1.0,
        "time/env_steps_per_s": 200.0,  # 100 steps in 0.5 s
        "episode/episode_reward_mean": 20.0,
        "timers/learn_time_ms": 400.0,
        "learner/kl": 0.25,
        "learner/entropy": 0.5,
        "evaluation/episode_reward_mean": 5.0,
        "custom_metrics/goals_mean": 1.5,
    }


def test_several_policies_have_groups_of_their_own():
    part = {"learner_stats": {"kl": 0.25}}
    found = curves(row(1, info={"learner": {"left": part, "right": part}}))
    assert found["learner/left/kl"] == found["learner/right/kl"] == 0.25


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3) | st.tuples(st.integers()), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(value=anything)
def test_whatever_is_in_a_result_its_json_is_strict(value):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    json.loads(to_json({"value": value}), parse_constant=refuse)


@given(tree=st.dictionaries(st.text(max_size=3), anything, max_size=4))
def test_columns_and_curves_are_finite_numbers(tree):
    figures = [*flatten(tree).values(), *curves({"part": tree}).values()]
    assert all(type(value) in (int, float, bool) and math.isfinite(value) for value in figures)


def test_json_of_arrays_classes_and_nan():
    value = {"a": np.float32(1.5), "b": np.arange(2), "c": Path, "d": np.nan, 3: {4}}
    expected = {"a": 1.5, "b": [0, 1], "c": "pathlib:Path", "d": None, "3": [4]}
    found = json.loads(to_json(value))
    assert found["c"].endswith(":Path")  # its module's name differs between Pythons
    assert {**found, "c": expected["c"]} == expected


# --------------------------------------------------------------------------------------- files


def test_every_result_is_on_disk_when_log_returns(tmp_path):
    loggers = make_loggers(["json", "csv"], tmp_path, {})
    for iteration in (1, 2):
        for logger in loggers:
            logger.log(row(iteration))
        assert json_rows(tmp_path)[-1] == row(iteration)
        assert csv_rows(tmp_path)[-1]["timesteps_total"] == str(100 * iteration)
    for logger in loggers:
        logger.close()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_process_loses_no_row(tmp_path):
    program = """
import os, pathlib, signal, sys
from rl_algos.loggers import make_loggers
directory = pathlib.Path(sys.argv[1])
loggers = make_loggers(["json", "csv", "tensorboard"], directory, {})
for iteration in range(1, 6):
    for logger in loggers:
        logger.log({"training_iteration": iteration, "timesteps_total": 7 * iteration})
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [r["training_iteration"] for r in json_rows(tmp_path)] == [1, 2, 3, 4, 5]
    assert [r["timesteps_total"] for r in csv_rows(tmp_path)] == ["7", "14", "21", "28", "35"]
    assert [event.step for event in events(tmp_path)] == [0, 7, 14, 21, 28, 35]


def test_a_column_that_comes_later_is_empty_before(tmp_path):
    later = row(2, evaluation={"episode_reward_mean": 7.5}, custom_metrics={'odd, "name"': 1})
    log_all(["csv"], tmp_path, [row(1), later, row(3)])
    rows = csv_rows(tmp_path)
    assert [r["evaluation/episode_reward_mean"] for r in rows] == ["", "7.5", ""]
    assert [r['custom_metrics/odd, "name"'] for r in rows] == ["", "1", ""]
    assert [r["training_iteration"] for r in rows] == ["1", "2", "3"]
    assert all(None not in r and None not in r.values() for r in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["progress.csv"]


def test_a_return_is_empty_until_an_episode_has_finished(tmp_path):
    young = {k: v for k, v in row(1).items() if k != "episode_reward_mean"}
    log_all(["csv"], tmp_path, [young, row(2), row(3, episode_reward_mean=float("nan"))])
    assert [r["episode_reward_mean"] for r in csv_rows(tmp_path)] == ["", "20.0", ""]


@pytest.mark.parametrize("tail", ["", '{"training_iteration": 5, "times'])
def test_a_resumed_run_leaves_one_history(tmp_path, tail):
    names = ["json", "csv"]
    log_all(names, tmp_path, [row(i) for i in range(1, 5)])
    for name in ("result.json", "progress.csv"):  # and what a full disk may cut off
        with (tmp_path / name).open("a") as file:
            file.write(tail)
    log_all(names, tmp_path, [row(i, new=1.0) for i in (3, 4, 5)], after_iteration=2)
    assert [r["training_iteration"] for r in json_rows(tmp_path)] == [1, 2, 3, 4, 5]
    assert [r["training_iteration"] for r in csv_rows(tmp_path)] == ["1", "2", "3", "4", "5"]
    assert [r["new"] for r in csv_rows(tmp_path)] == ["", "", "1.0", "1.0", "1.0"]


def test_a_run_from_the_start_drops_what_was_there(tmp_path):
    log_all(["json", "csv"], tmp_path, [row(1), row(2)])
    log_all(["json", "csv"], tmp_path, [row(1)])
    assert len(json_rows(tmp_path)) == len(csv_rows(tmp_path)) == 1


# --------------------------------------------------------------------------------- TensorBoard


def events(directory: Path):
    """What another implementation of the format reads."""
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    found = []
    for path in sorted(directory.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            content, end = data[12 : 12 + length], 16 + length
            assert masked_crc32c(data[:8]) == int.from_bytes(data[8:12], "little")
            assert masked_crc32c(content) == int.from_bytes(data[end - 4 : end], "little")
            found.append(Event.FromString(content))
            data = data[end:]
    return found


def test_events_are_read_by_others(tmp_path):
    log_all(["tensorboard"], tmp_path, [row(1, custom_metrics={"huge": 1e300}), row(3)])
    first, one, three = events(tmp_path)
    assert first.file_version == "brain.Event:2"
    assert (one.step, three.step) == (100, 300)
    scalars = {v.tag: v.simple_value for v in one.summary.value if not v.HasField("histo")}
    expected = {**curves(row(1)), "custom_metrics/huge": 3.4028234663852886e38}
    assert scalars == pytest.approx(expected, rel=1e-6)
    (returns,) = [v for v in one.summary.value if v.HasField("histo")]
    assert returns.tag == "hist_stats/episode_reward"
    histogram = returns.histo
    assert (histogram.min, histogram.max, histogram.num) == (1.0, 3.0, 3.0)
    assert (histogram.sum, histogram.sum_squares) == (6.0, 14.0)
    assert sum(histogram.bucket) == 3.0
    assert histogram.bucket_limit[-1] == 3.0


def test_a_resumed_run_voids_the_events_after_its_checkpoint(tmp_path):
    log_all(["tensorboard"], tmp_path, [row(i) for i in (1, 2, 3)])
    log_all(["tensorboard"], tmp_path, [row(3), row(4)], after_iteration=2)
    found = events(tmp_path)
    restarts = [event for event in found if event.HasField("session_log")]
    assert [(event.step, event.session_log.status) for event in restarts] == [(201, 1)]
    assert [event.step for event in found] == [0, 100, 200, 300, 0, 201, 300, 400]


# ------------------------------------------------------------------------------------ failures


@contextmanager
def full_disk(left: int) -> Iterator[None]:
    """No file of this process may grow beyond `left` bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot limit the size of files")
@pytest.mark.parametrize("name", DEFAULT_LOGGERS)
def test_a_full_disk_costs_the_log_and_not_the_training(tmp_path, name):
    class Counting:
        count = closed = 0

        def log(self, result):
            self.count += 1

        def close(self):
            self.closed += 1

    other = Counting()
    loggers = Loggers([*make_loggers([name], tmp_path, {}), other])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with full_disk(left=1500):
            for iteration in range(1, 31):
                loggers.log(row(iteration))
            loggers.close()
    (warning,) = caught
    assert f"{tmp_path}" in str(warning.message)
    assert "is left out from now on, training goes on: OSError" in str(warning.message)
    assert (other.count, other.closed) == (30, 1)
    if name == "tensorboard":
        assert len(events(tmp_path)) > 2
    else:  # whole rows only
        rows = json_rows(tmp_path) if name == "json" else csv_rows(tmp_path)
        assert [int(r["training_iteration"]) for r in rows] == list(range(1, len(rows) + 1))


def test_a_logger_that_fails_to_close_is_named():
    class Offline:
        def log(self, result):
            pass

        def close(self):
            raise ConnectionError("no route to host")

        def __repr__(self):
            return "Offline()"

    loggers = Loggers([Offline()])
    with pytest.warns(RuntimeWarning, match=r"Offline\(\) failed .*no route to host"):
        loggers.close()
    loggers.close()  # a second time is nothing


# -------------------------------------------------------------------------------------- by name


def test_an_unknown_logger_is_told_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="no logger 'tensorbord'; did you mean 'tensorboard'"):
        make_loggers(["json", "tensorbord"], tmp_path, {})


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, name):
    for module in [name, *(m for m in sys.modules if m.startswith(f"{name}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'rl-algos\[{name}\]'"):
        make_loggers([name], tmp_path, {})


def test_a_function_makes_a_logger_of_ones_own(tmp_path):
    given = []

    class Mine:
        def __init__(self, directory, params):
            given.append((directory, params))

        def log(self, result):
            given.append(result["training_iteration"])

        def close(self):
            given.append("closed")

    loggers = Loggers(make_loggers([Mine], tmp_path / "new", {"seed": 1}))
    loggers.log(row(1))
    loggers.close()
    assert given == [(tmp_path / "new", {"seed": 1}), 1, "closed"]


def test_no_logger_imports_more_than_it_needs():
    program = "import sys, rl_algos.loggers; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "pydantic", "ray", "wandb", "mlflow", "tensorboardX"} & set(modules)


# --------------------------------------------------------------------------------------- params


class Square:
    """Stands for a class given in a config."""


@pytest.mark.torch
def test_params_say_what_the_run_is_made_of(tmp_path):
    from rl_algos import PPO

    with PPO({"env": "CartPole-v1", "seed": 5, "env_config": {"max_episode_steps": 9}}) as trainer:
        params = describe_run(trainer)
    stored = json.loads(write_params(tmp_path, params).read_text())
    assert stored == params
    assert (stored["algorithm"], stored["seed"]) == ("PPO", 5)
    assert stored["origin"] == "PPO on CartPole-v1: preset CartPole-v1"
    assert stored["config"]["train_batch_size"] == 1024
    assert stored["config"]["env_config"] == {"max_episode_steps": 9}
    assert stored["provenance"]["versions"]["numpy"] == np.__version__
    assert stored["provenance"]["argv"] == sys.argv
    assert [path.name for path in tmp_path.iterdir()] == ["params.json"]


def test_things_in_params_go_by_their_name(tmp_path):
    path = write_params(tmp_path, {"config": {"env": Square, "policies": {"a": None}}})
    assert json.loads(path.read_text())["config"]["env"].endswith(":Square")


@pytest.mark.parametrize("commits", [0, 1])
def test_provenance_holds_the_commit(tmp_path, monkeypatch, commits):
    from rl_algos.loggers.params import provenance

    monkeypatch.chdir(tmp_path)
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    if not commits:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        assert provenance()["git_commit"] is None
        return
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    try:
        subprocess.run(["git", "init", "-q"], check=True)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    Path("a").write_text("1")
    subprocess.run(["git", "add", "a"], check=True)
    subprocess.run(["git", *who, "commit", "-q", "-m", "x"], check=True)
    clean = provenance()["git_commit"]
    assert len(clean) == 40
    Path("a").write_text("2")
    assert provenance()["git_commit"] == f"{clean}-dirty"
