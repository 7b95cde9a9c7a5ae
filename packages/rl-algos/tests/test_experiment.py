"""`train` and `resume` in Python: a directory for each run, checkpoints, and an end in any case."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import gymnasium as gym
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from rich.console import Console

from rl_algos import (
    PPO,
    CheckpointError,
    ConfigError,
    Outcome,
    build_trainer,
    checkpoint,
    evaluate,
    resume,
    train,
)
from rl_algos.interrupts import Interrupts
from rl_algos.runs import RunError, Settings, check_place, locked
from rl_algos.stopping import check_keys, checked_stop, in_words, met, reached, value_of
from rl_workers import EnvError

QUICK = {"num_sgd_iter": 1, "train_batch_size": 64, "sgd_minibatch_size": 64, "seed": 0}
TWO = {"training_iteration": 2}

pytestmark = pytest.mark.torch


def quick(place, *, algorithm=PPO, config=QUICK, env=CartPoleEnv, stop=TWO, **others):
    """A short and silent run."""
    others = {"display": False, "loggers": ("json", "csv"), **others}
    return train(algorithm, config, env=env, stop=stop, local_dir=place, **others)


def rows(directory):
    return [json.loads(line) for line in (directory / "result.json").read_text().splitlines()]


def names(directory):
    return sorted(path.name for path in directory.glob("checkpoint_*"))


def test_three_lines_train_and_a_line_each_resumes_and_evaluates(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rl_algos.experiment.DEFAULT_STOP", {"training_iteration": 1})
    outcome = train("PPO", {"preset": None}, env="CartPole-v1")
    print(outcome.result["episode_reward_mean"], outcome.directory)
    assert outcome.directory.parent.name == "rl_results"
    more = resume(outcome.directory, stop={"training_iteration": 2})
    assert more.result["training_iteration"] == 2
    assert evaluate(outcome.directory, episodes=1)["episodes_this_iter"] == 1


def test_an_outcome_says_how_it_ended(tmp_path):
    outcome = quick(tmp_path, checkpoint_freq=1)
    assert isinstance(outcome, Outcome)
    assert outcome.reached
    assert not outcome.interrupted
    assert outcome.result["training_iteration"] == 2
    assert outcome.directory.parent == tmp_path
    assert outcome.directory.name.startswith("PPO_CartPoleEnv_20")
    assert outcome.checkpoint == outcome.directory / "checkpoint_000002"
    assert names(outcome.directory) == ["checkpoint_000001", "checkpoint_000002"]
    missed = quick(tmp_path, stop={"episode_reward_mean": 501, **TWO})
    assert not missed.reached
    assert missed.directory != outcome.directory


def test_without_a_display_nothing_is_printed_and_with_one_progress_is(tmp_path, capsys):
    quick(tmp_path)
    assert capsys.readouterr() == ("", "")
    text = io.StringIO()
    quick(tmp_path, display=Console(file=text, width=200))
    lines = text.getvalue().splitlines()
    assert lines[0].startswith("PPO on ")
    assert lines[0].endswith("defaults, no preset; until training_iteration 2")
    assert lines[1].startswith("results: ")
    assert lines[-1].startswith("checkpoint: ")
    assert quick(tmp_path, display=True).reached
    assert "results: " in capsys.readouterr().out


def test_checkpoints_at_the_end_may_be_left_out(tmp_path):
    outcome = quick(tmp_path, checkpoint_at_end=False)
    assert outcome.checkpoint is None
    assert names(outcome.directory) == []


def test_keep_and_score_by(tmp_path):
    stop = {"training_iteration": 4}
    newest = quick(tmp_path, stop=stop, checkpoint_freq=1, keep=1)
    assert names(newest.directory) == ["checkpoint_000004"]
    first = quick(tmp_path, stop=stop, checkpoint_freq=1, keep=1, score_by="min-timesteps_total")
    assert names(first.directory) == ["checkpoint_000001", "checkpoint_000004"]


def test_resuming_a_run_continues_its_history_with_its_settings(tmp_path):
    first = quick(tmp_path, checkpoint_freq=1, keep=2)
    again = resume(first.directory, stop={"training_iteration": 4}, display=False)
    assert again.directory == first.directory
    assert [row["training_iteration"] for row in rows(again.directory)] == [1, 2, 3, 4]
    assert names(again.directory) == ["checkpoint_000003", "checkpoint_000004"]
    settings = Settings.read(again.directory)
    assert settings.stop == {"training_iteration": 4}
    assert (settings.keep, settings.loggers) == (2, ("json", "csv"))
    assert not (again.directory / "events.out.tfevents").exists()


def test_a_resumed_run_learns_what_it_would_have_learned_in_one_go(tmp_path):
    whole = quick(tmp_path / "whole", stop={"training_iteration": 4})
    part = quick(tmp_path / "part")
    rest = resume(part.directory, stop={"training_iteration": 4}, display=False)
    for key in ("timesteps_total", "episodes_total", "episode_reward_mean", "info"):
        assert rest.result.get(key) == whole.result.get(key)


def test_what_happened_after_the_checkpoint_is_done_again(tmp_path):
    first = quick(tmp_path, checkpoint_freq=2, stop={"training_iteration": 3})
    shutil.rmtree(first.directory / "checkpoint_000003")  # as if it had been killed before
    again = resume(first.directory, display=False)
    assert [row["training_iteration"] for row in rows(again.directory)] == [1, 2, 3]
    assert names(again.directory) == ["checkpoint_000002", "checkpoint_000003"]


def test_an_older_checkpoint_begins_a_run_of_its_own_with_the_history_so_far(tmp_path):
    first = quick(tmp_path, checkpoint_freq=1, stop={"training_iteration": 3})
    other = resume(first.directory / "checkpoint_000001", stop=TWO, display=False)
    assert other.directory != first.directory
    assert other.directory.parent == tmp_path
    assert [row["training_iteration"] for row in rows(other.directory)] == [1, 2]
    assert names(other.directory) == ["checkpoint_000002"]
    assert len(rows(first.directory)) == 3
    newest = resume(first.directory / "checkpoint_000003", stop={"training_iteration": 4})
    assert newest.directory == first.directory


def test_a_checkpoint_of_no_run_gets_a_directory(tmp_path):
    with PPO(QUICK, env=CartPoleEnv) as trainer:
        trainer.train()
        path = trainer.save(tmp_path / "mine")
    outcome = resume(path, stop=TWO, local_dir=tmp_path / "runs", display=False)
    assert outcome.directory.parent == tmp_path / "runs"
    assert outcome.result["training_iteration"] == 2


def test_resuming_says_what_differs_and_takes_it(tmp_path):
    first = quick(tmp_path)
    text = io.StringIO()
    config = {"lr": 5e-4, "gamma": 0.9}
    console = Console(file=text, width=300)
    resume(first.directory, config, stop={"training_iteration": 3}, display=console)
    assert "changed: lr was 0.001, is 0.0005" in text.getvalue()
    assert "changed: gamma was 0.99, is 0.9" in text.getvalue()
    assert json.loads((first.directory / "params.json").read_text())["config"]["lr"] == 5e-4


def test_what_is_reached_already_is_not_trained_on(tmp_path):
    first = quick(tmp_path)
    again = resume(first.directory, display=False)
    assert again.result["training_iteration"] == 2
    assert again.checkpoint == first.checkpoint
    assert again.reached
    assert len(rows(first.directory)) == 2


def test_another_algorithm_is_an_error(tmp_path):
    first = quick(tmp_path)
    with pytest.raises(CheckpointError, match="is of algorithm PPO, not of PG; leave"):
        resume(first.directory, algorithm="PG")


def test_an_algorithm_that_only_the_program_knows_must_be_given_again(tmp_path):
    mine = build_trainer("Mine", PPO.config_class, PPO.default_policy, PPO.execution_plan)
    first = quick(tmp_path, algorithm=mine)
    with pytest.raises(ConfigError, match=r"only the program that made it knows.*algorithm=…"):
        resume(first.directory)
    more = resume(first.directory, algorithm=mine, stop={"training_iteration": 3}, display=False)
    assert more.result["training_iteration"] == 3


def test_two_runs_cannot_write_into_one_directory(tmp_path):
    first = quick(tmp_path)
    with locked(first.directory), pytest.raises(RunError, match=f"process {os.getpid()}.*wait"):
        resume(first.directory, stop={"training_iteration": 3})
    assert resume(first.directory, stop={"training_iteration": 3}, display=False).reached


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_process_leaves_no_lock(tmp_path):
    code = (
        "import os, signal; from pathlib import Path; from rl_algos.runs import locked\n"
        "with locked(Path('.')): os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    with locked(tmp_path):
        pass


def test_a_place_that_cannot_be_written_is_told_before_training_starts(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="results cannot go to .*: .*file is a file"):
        quick(tmp_path / "file" / "runs")
    run = quick(tmp_path).directory
    with pytest.raises(RunError, match="is a run itself: go on with it"):
        quick(run)
    (tmp_path / "closed").mkdir(mode=0o500)
    if not os.access(tmp_path / "closed", os.W_OK):  # root may write everywhere
        with pytest.raises(RunError, match="may not be written to; choose another place"):
            quick(tmp_path / "closed")


def test_places_are_checked_without_making_anything(tmp_path, monkeypatch):
    check_place(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunError, match="may not be written to; choose another place"):
        check_place(tmp_path / "a")


def test_a_failing_save_costs_the_checkpoint_and_not_the_training(tmp_path):
    blocked = tmp_path / "runs"

    class Blocking(gym.Env):
        """Puts a file where the first checkpoint is to go."""

        observation_space, action_space = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            for run in blocked.glob("PPO_*"):
                (run / "checkpoint_000001").touch()
            return self.observation_space.sample(), {}

        def step(self, action):
            return self.observation_space.sample(), 1.0, True, False, {}

    with pytest.warns(RuntimeWarning, match="iteration 1 is not saved: .*checkpoint_000001"):
        outcome = quick(blocked, env=Blocking, checkpoint_freq=1)
    assert outcome.result["training_iteration"] == 2
    assert outcome.checkpoint == outcome.directory / "checkpoint_000002"


def test_an_error_while_training_keeps_what_was_learned(tmp_path, capsys):
    class Breaking(CartPoleEnv):
        """Breaks in the third iteration of 64 steps."""

        steps = 0

        def step(self, action):
            Breaking.steps += 1
            if Breaking.steps > 150:
                raise RuntimeError("cable cut")
            return super().step(action)

    with pytest.raises(EnvError, match="cable cut"):
        quick(tmp_path, env=Breaking, stop={"training_iteration": 9}, display=True)
    (run,) = tmp_path.iterdir()
    assert names(run) == ["checkpoint_000002"]
    assert f"go on with: rl train --resume {run}" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_after_the_iteration_and_is_no_exception(tmp_path, capsys):
    def interrupting(directory, params):
        class Sends:
            def log(self, result):
                if result["training_iteration"] == 3:
                    os.kill(os.getpid(), signal.SIGINT)

            def close(self):
                pass

        return Sends()

    stop = {"training_iteration": 9}
    outcome = quick(tmp_path, stop=stop, loggers=[interrupting], display=True)
    assert outcome.interrupted
    assert outcome.checkpoint is not None
    assert outcome.checkpoint.name == "checkpoint_000003"
    assert f"go on with: rl train --resume {outcome.directory}" in capsys.readouterr().out
    assert resume(outcome.directory, display=False).result["training_iteration"] == 9


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_second_signal_ends_at_once_and_handlers_are_put_back(capfd):
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
    assert "ending after this iteration; once more ends at once" in capfd.readouterr().err


def test_a_run_may_be_in_another_thread(tmp_path):
    done = []
    thread = threading.Thread(target=lambda: done.append(quick(tmp_path)))
    thread.start()
    thread.join()
    assert done[0].reached


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"keep": 0}, "keep is a whole number of at least 1, not 0"),
        ({"checkpoint_freq": -1}, "checkpoint_freq is a whole number of at least 0, not -1"),
        ({"stop": {"training_iteration": True}}, "'training_iteration' is a number to reach"),
        ({"stop": {"episode_reward_maen": 1}}, "did you mean 'episode_reward_mean'"),
        ({"stop": {"evaluation/episode_reward_mean": 1}}, "set evaluation_interval"),
        ({"loggers": "jsn"}, "no logger 'jsn'; did you mean 'json'"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        quick(tmp_path, **wrong)


def test_a_damaged_settings_file_is_named(tmp_path):
    outcome = quick(tmp_path)
    (outcome.directory / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json is damaged .*copy one of the checkpoints"):
        resume(outcome.directory)
    shutil.copytree(outcome.checkpoint, tmp_path / "copy")
    assert checkpoint.locate(tmp_path / "copy")
    more = resume(tmp_path / "copy", stop={"training_iteration": 3}, local_dir=tmp_path)
    assert more.reached


def test_stop_keys_are_those_of_a_result():
    result = {"timesteps_total": 10, "episodes_total": 0, "info": {"kl": 0.5}, "timers": {}}
    stop = {"episode_reward_mean": 1.0, "timesteps_total": 5, "info/kl": 0.6}
    check_keys(stop, result, evaluates=False)
    assert met(result, stop) == ["timesteps_total"]
    assert not reached(result, stop)
    assert reached(result, {"timesteps_total": 50})
    assert value_of(result, "info/kl") == 0.5
    assert value_of(result, "info/kl/x") == float("-inf")
    assert in_words(stop) == "episode_reward_mean 1.0 or timesteps_total 5 or info/kl 0.6"
    check_keys({"evaluation/episode_reward_mean": 1}, result, evaluates=True)
    with pytest.raises(ValueError, match="'timesteps_totl' is not in a result; did you mean 'time"):
        check_keys({"timesteps_totl": 1}, result, evaluates=False)
    with pytest.raises(ValueError, match="stop: 'a' is a number to reach, not None"):
        checked_stop({"a": None})
