"""Runs on disk: what is read, and what is said where there is nothing to read."""

from __future__ import annotations

import json
import math
import os

import pytest

from rl_algos.history import find_runs, number, read_run, series
from rl_algos.runs import RunError, locked


def write(directory, rows, params=None, tail=""):
    directory.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows) + tail
    (directory / "result.json").write_text(text)
    if params is not None:
        (directory / "params.json").write_text(json.dumps(params))
    return directory


def test_rows_and_settings_are_read(tmp_path):
    params = {"algorithm": "PPO", "config": {"env": "CartPole-v1", "lr": 0.1}}
    run = read_run(write(tmp_path / "a", [{"x": 1}, {"x": 2}], params))
    assert run.rows == [{"x": 1}, {"x": 2}] and not run.torn
    assert (run.algorithm, run.env, run.config["lr"]) == ("PPO", "CartPole-v1", 0.1)
    assert read_run(tmp_path / "a" / "result.json").rows == run.rows
    assert read_run(tmp_path).directory == tmp_path / "a"


def test_a_run_is_over_when_its_lock_is_free_or_its_rows_are_old(tmp_path):
    directory = write(tmp_path / "a", [{"x": 1}])
    assert read_run(directory).running  # there is no lock, and the row is new
    os.utime(directory / "result.json", (0, 0))
    assert not read_run(directory).running
    with locked(directory):
        assert read_run(directory).running
    assert not read_run(directory).running


def test_without_params_the_directory_says_what_it_is(tmp_path):
    run = read_run(write(tmp_path / "PPO_Ant_v5_2026-01-31_12-00-00_1a2b", [{"x": 1}]))
    assert (run.algorithm, run.env, run.config) == ("PPO", "Ant_v5", {})
    other = read_run(write(tmp_path / "b", [{"x": 1}]))
    assert (other.algorithm, other.env) == ("?", "?")


def test_tunes_params_are_the_config_itself(tmp_path):
    run = read_run(write(tmp_path / "t", [{"x": 1}], {"env": "CartPole-v1", "lr": 0.1}))
    assert (run.env, run.config["lr"]) == ("CartPole-v1", 0.1)


@pytest.mark.parametrize("tail", ['{"x": 3', '{"x": 3\n', "\x00\x00"])
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path, tail):
    run = read_run(write(tmp_path / "a", [{"x": 1}, {"x": 2}], tail=tail))
    assert len(run.rows) == 2 and run.torn


def test_rows_of_a_resumed_run_replace_what_came_after(tmp_path):
    iterations = [1, 2, 3, 4, 3, 4, 5]
    rows = [{"training_iteration": n, "at": i} for i, n in enumerate(iterations)]
    run = read_run(write(tmp_path / "a", rows))
    assert [row["at"] for row in run.rows] == [0, 1, 4, 5, 6]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rum_1", "there is no run .*rum_1; did you mean .*run_1"),
        ("nothing", "nothing holds no run: there is no result.json"),
        ("empty", "empty/result.json has no result yet"),
        ("torn", "torn/result.json has no result yet"),
        ("broken", "broken/result.json, line 1 is not JSON"),
        ("listed", "line 1 is not a JSON object"),
        ("odd", "params.json is not JSON"),
        ("run_1/checkpoint_000002", "the run that it belongs to is .*run_1"),
        ("run_1/params.json", "is a file; give the directory of a run"),
        (".", r"holds \d runs; give one of them, the newest is"),
    ],
)
def test_what_is_no_run_is_named(tmp_path, name, message):
    write(tmp_path / "run_1", [{"x": 1}], {})
    (tmp_path / "run_1" / "checkpoint_000002").mkdir()
    (tmp_path / "nothing").mkdir()
    write(tmp_path / "empty", [])
    write(tmp_path / "torn", [], tail='{"x"')
    write(tmp_path / "broken", [], tail='{"x"\n{"x": 1}\n')
    write(tmp_path / "listed", [[1], {"x": 1}])
    write(tmp_path / "odd", [{"x": 1}])
    (tmp_path / "odd" / "params.json").write_text("{")
    with pytest.raises(RunError, match=message):
        read_run(tmp_path / name)


def test_all_runs_below_a_directory_are_found(tmp_path):
    places = [write(tmp_path / name, [{"x": 1}]) for name in ("b/c", "a")]
    assert find_runs(tmp_path) == sorted(places)


ROWS = [
    {"kl": None, "info": {"learner": {"p": {"learner_stats": {"loss": 1.5}}}}},
    {"kl": 2, "info": {"learner": {"p": {"learner_stats": {}}}}, "evaluation": {"reward": 9}},
]


def test_series_are_found_by_name_path_and_end():
    assert series(ROWS, "kl")[1] == 2 and math.isnan(series(ROWS, "kl")[0])
    assert series(ROWS, "loss")[0] == series(ROWS, "info/learner/p/learner_stats/loss")[0] == 1.5
    assert series(ROWS, "evaluation/reward")[1] == 9


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("los", "no result has a number 'los'; did you mean loss"),
        ("zzz", "no result has a number 'zzz'; keys: "),
        ("reward", "no result has a number 'reward'"),
        ("episode_reward_mean", "no episode has finished in 2 results"),
    ],
)
def test_a_key_that_is_not_there_is_named(key, message):
    with pytest.raises(RunError, match=message):
        series(ROWS, key)


def test_a_figure_of_several_policies_is_ambiguous():
    rows = [{"info": {"learner": {p: {"learner_stats": {"kl": 1.0}} for p in ("a", "b")}}}]
    with pytest.raises(RunError, match="'kl' is ambiguous; write one of info/learner/a/.*b/"):
        series(rows, "kl")


def test_what_is_no_number_is_nan():
    assert number(2) == 2.0 and math.isnan(number(None)) and math.isnan(number("2"))
