"""`rl train` as a person sees it: first line, results, exit code, and one clear line of error."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from rl_algos import checkpoint
from rl_algos.cli import app

QUICK = '{"num_sgd_iter": 1}'
RL = [sys.executable, "-m", "rl_algos.cli"]


@pytest.fixture
def rl(tmp_path, monkeypatch):
    """Runs `rl train` in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(app, ["train", *map(str, arguments)])

    return run


@pytest.mark.torch
def test_training_says_what_it_does_and_where_it_saved(rl, tmp_path):
    done = rl(
        *("--run=PPO", "--env=CartPole-v1", "--config", QUICK, "--seed", "3"),
        *("--stop", '{"timesteps_total": 2000}', "--local-dir", "here"),
    )
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "PPO on CartPole-v1: preset CartPole-v1; until timesteps_total 2,000"
    (path,) = (tmp_path / "here").glob("*/checkpoint_000002")
    assert lines[1] == f"results: here/{path.parent.name} (seed 3, torch)"
    assert lines[2].startswith("iteration 1  steps 1,024  return ")
    assert lines[-1] == f"checkpoint: here/{path.parent.name}/checkpoint_000002"
    assert checkpoint.check(path)["algorithm"] == "PPO"
    files = {file.name for file in path.parent.iterdir()}
    assert {"params.json", "result.json", "progress.csv", "run.json"} < files


@pytest.mark.torch
def test_a_goal_that_is_not_reached_is_a_failure(rl):
    stop = '{"episode_reward_mean": 475, "timesteps_total": 1000}'
    done = rl("--run=PPO", "--env=CartPole-v1", "--config", QUICK, "--stop", stop)
    assert done.exit_code == 1
    assert "475 not reached in 1,024 steps" in done.output


@pytest.mark.torch
def test_a_goal_that_is_reached_is_a_success(rl):
    stop = '{"episode_reward_mean": 5, "timesteps_total": 100000}'
    done = rl("--run=PPO", "--env=CartPole-v1", "--config", QUICK, "--stop", stop)
    assert done.exit_code == 0
    assert "5 reached in 1,024 steps" in done.output


@pytest.mark.torch
def test_options_go_into_the_config_and_into_the_run(rl, tmp_path):
    done = rl(
        *("--run=PPO", "--env=CartPole-v1", "--config", QUICK, "--seed", "3", "--torch"),
        *("--num-workers", "0", "--checkpoint-freq", "1", "--keep", "2", "--loggers", "json"),
        *("--stop", '{"training_iteration": 3}', "--score-by", "timesteps_total"),
    )
    assert done.exit_code == 0, done.output
    (run,) = (tmp_path / "rl_results").iterdir()
    names = sorted(path.name for path in run.glob("checkpoint_*"))
    assert names == ["checkpoint_000002", "checkpoint_000003"]
    assert not (run / "progress.csv").exists()
    params = json.loads((run / "params.json").read_text())
    assert (params["config"]["framework"], params["seed"]) == ("torch", 3)
    settings = json.loads((run / "run.json").read_text())
    assert settings["stop"] == {"training_iteration": 3}
    assert (settings["keep"], settings["score_by"]) == (2, "timesteps_total")


@pytest.mark.tensorflow
def test_eager_and_trace_are_short_for_keys(rl, tmp_path):
    done = rl(
        *("--run=A2C", "--env=CartPole-v1", "--eager", "--trace", "--loggers", "json"),
        *("--stop", '{"training_iteration": 1}', "--seed", "3"),
    )
    assert done.exit_code == 0, done.output
    assert "(seed 3, tf2)" in done.output
    (run,) = (tmp_path / "rl_results").iterdir()
    config = json.loads((run / "params.json").read_text())["config"]
    assert (config["framework"], config["eager_tracing"]) == ("tf2", True)


@pytest.mark.torch
@pytest.mark.tensorflow
def test_a_run_goes_on_with_another_framework(rl, tmp_path):
    stop = ("--stop", '{"training_iteration": 2}')
    first = rl("--run=A2C", "--env=CartPole-v1", "--torch", "--loggers=json", *stop)
    assert first.exit_code == 0, first.output
    (run,) = (tmp_path / "rl_results").iterdir()
    more = rl("--resume", run, "--framework=tf", "--stop", '{"training_iteration": 4}')
    assert more.exit_code == 0, more.output
    assert "changed: framework was 'torch', is 'tf'" in more.output
    rows = [json.loads(line) for line in (run / "result.json").read_text().splitlines()]
    assert [row["training_iteration"] for row in rows] == [1, 2, 3, 4]
    assert [*json.loads((run / "params.json").read_text())["frameworks"]] == ["tf"]


@pytest.mark.torch
def test_resume_alone_goes_on_with_the_stored_criteria_in_the_same_directory(rl, tmp_path):
    first = rl(
        *("--run=PPO", "--env=CartPole-v1", "--config", QUICK, "--seed", "3"),
        *("--stop", '{"training_iteration": 2}'),
    )
    assert first.exit_code == 0, first.output
    (run,) = (tmp_path / "rl_results").iterdir()
    again = rl("--resume", run)
    assert again.exit_code == 0
    assert "that is reached already: give another stop (--stop)" in again.output
    more = rl(
        *("--resume", run, "--stop", '{"training_iteration": 4}'),
        *("--config", '{"lr": 0.0005}'),
    )
    assert more.exit_code == 0, more.output
    lines = more.output.splitlines()
    assert lines[0].startswith(f"PPO on CartPole-v1: resumed from {run}/checkpoint_000002; until")
    assert "changed: lr was 0.001, is 0.0005" in lines
    assert [path.name for path in (tmp_path / "rl_results").iterdir()] == [run.name]
    rows = [json.loads(line) for line in (run / "result.json").read_text().splitlines()]
    assert [row["training_iteration"] for row in rows] == [1, 2, 3, 4]
    assert json.loads((run / "run.json").read_text())["stop"] == {"training_iteration": 4}


@pytest.mark.torch
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_prints_the_command_that_goes_on(tmp_path, number):
    budget = '{"timesteps_total": 1000000000}'
    command = [*RL, "train", "--run=PPO", "--env=CartPole-v1", "--config", QUICK, "--stop", budget]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("iteration"):
                break
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "ending after this iteration" in errors
    assert "Traceback" not in errors
    lines = output.splitlines()
    saved = next(line.removeprefix("checkpoint: ") for line in lines if "checkpoint: " in line)
    resume = next(line.removeprefix("go on with: ") for line in lines if "go on with: " in line)
    assert resume == f"rl train --resume {saved.rpartition('/')[0]}"
    more = [*RL, *resume.split()[1:], "--stop", '{"training_iteration": 1}']
    done = subprocess.run(more, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"resumed from {saved}" in done.stdout


@pytest.mark.torch
def test_an_error_keeps_what_was_learned(rl, tmp_path):
    done = rl("--run=PPO", "--env=CartPole-v1", "--config", QUICK, "--stop", '{"timestep": 1}')
    assert done.exit_code == 2
    assert "stop key 'timestep' is not in a result; did you mean 'timesteps_total'" in done.stderr
    assert len(list(tmp_path.glob("rl_results/*/checkpoint_000001"))) == 1
    assert "go on with: rl train --resume rl_results/PPO_CartPole-v1_" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to train: --run PPO --env CartPole-v1"),
        (["--run=PPOO", "--env=CartPole-v1"], "no algorithm 'PPOO'; did you mean 'PPO'"),
        (["--run=json:dumps", "--env=x"], "no algorithm: make one with rl_algos.build_trainer"),
        (["--run=PPO"], "no environment is given"),
        (["--run=PPO", "--env=CartPol-v1"], "Did you mean 'CartPole-v1'"),
        (["--run=PPO", "--env=x", "--config", "{num_workers: 2}"], "--config .* is not JSON"),
        (["--run=PPO", "--env=x", "--config", "[1]"], "--config is a JSON object"),
        (["--run=PPO", "--env=x", "--config", '{"lrr": 1}'], "no key 'lrr'; did you mean 'lr'"),
        (["--run=PPO", "--env=x", "--config", '{"lr": "fast"}'], "lr = 'fast'"),
        (["--run=PPO", "--env=x", "--seed", "-1"], "seed = -1"),
        (["--run=PPO", "--env=x", "--framework", "tensorflow"], "framework = 'tensorflow'"),
        (["--run=PPO", "--env=x", "--stop", "[475]"], "--stop is a JSON object"),
        (
            ["--run=PPO", "--env=x", "--stop", '{"timesteps_total": "1"}'],
            "number to reach, not '1'",
        ),
        (
            ["--run=PPO", "--env=x", "--config", '{"sgd_minibatch_size": 4096}'],
            "sgd_minibatch_size=4096 is larger than train_batch_size=2048",
        ),
        (
            ["--run=PPO", "--env=CartPole-v1", "--loggers", "cvs"],
            "no logger 'cvs'; did you mean 'csv'",
        ),
        (["--run=PPO", "--env=CartPole-v1", "--local-dir", "a_file/x"], "a_file is a file"),
        (["--resume", "nowhere"], "nowhere is not a directory"),
        (["--resume", "empty"], "empty holds no checkpoint"),
        (["--resume", "a_file"], "a_file is not a directory"),
        (["--resume", "empty", "-f", "x.yaml"], "--resume goes on with one run, -f starts"),
        (["-f", "x.yaml"], "there is no file x.yaml"),
    ],
)
@pytest.mark.torch
def test_bad_input_is_one_clear_message(rl, tmp_path, arguments, message):
    (tmp_path / "a_file").touch()
    (tmp_path / "empty").mkdir()
    done = rl(*arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    assert re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "rl_results").exists(), "nothing is left behind"


@pytest.mark.parametrize("option", ["--keep=0", "--num-workers=-1", "--checkpoint-freq=x"])
def test_numbers_that_cannot_be_meant(rl, option):
    done = rl("--run=PPO", "--env=CartPole-v1", option)
    assert done.exit_code == 2
    assert f"Invalid value for '{option.partition('=')[0]}'" in done.stderr


def test_names_are_printed_as_they_are(rl):
    done = rl("--run=PPO", "--env=no_envs:Four:[x]")
    assert done.output.startswith("PPO on no_envs:Four:[x]: defaults, no preset")


def test_the_traceback_is_there_when_asked_for(rl):
    assert isinstance(rl("--run=PPOO", "-v").exception, ValueError)


@pytest.mark.torch
def test_more_is_logged_when_asked_for(rl):
    stop = '{"training_iteration": 1}'
    quiet = rl("--run=PPO", "--env=CartPole-v1", "--config", QUICK, "--stop", stop)
    assert quiet.stderr == ""
    config = '{"num_sgd_iter": 1, "log_level": "INFO"}'
    told = rl("--run=PPO", "--env=CartPole-v1", "--config", config, "--stop", stop)
    loud = rl("--run=PPO", "--env=CartPole-v1", "--config", QUICK, "--stop", stop, "-vv")
    for done in (told, loud):
        assert re.search(r"INFO rl_algos\.\w+: saved .*checkpoint_000001 in \d+ ms", done.stderr)
    assert "DEBUG rl_algos." in loud.stderr
    assert "DEBUG rl_algos." not in told.stderr
