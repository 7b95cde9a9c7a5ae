"""`rl train` as a person sees it: first line, results, exit code, and one clear line of error."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from rl_algos.checkpoint import check
from rl_algos.cli import app, check_stop, met

QUICK = '{"num_sgd_iter": 1}'


@pytest.fixture
def rl(tmp_path, monkeypatch):
    """Runs `rl train` in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(app, ["train", *arguments])

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
    assert lines[1].startswith("iteration 1  steps 1,024  return ")
    (path,) = (tmp_path / "here").glob("*/checkpoint_000002")
    assert f"checkpoint: here/{path.parent.name}/checkpoint_000002 (seed 3)" in lines
    assert check(path)["algorithm"] == "PPO"


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
def test_an_error_keeps_what_was_learned(rl, tmp_path):
    done = rl("--run=PPO", "--env=CartPole-v1", "--config", QUICK, "--stop", '{"timestep": 1}')
    assert done.exit_code == 2
    assert "stop key 'timestep' is not in a result" in done.stderr
    assert len(list(tmp_path.glob("rl_results/*/checkpoint_000001"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run=PPOO", "--env=CartPole-v1"], "no algorithm 'PPOO'; did you mean 'PPO'"),
        (["--run=PPO"], "no environment is given"),
        (["--run=PPO", "--env=CartPol-v1"], "Did you mean 'CartPole-v1'"),
        (["--run=PPO", "--env=x", "--config", "{num_workers: 2}"], "--config .* is not JSON"),
        (["--run=PPO", "--env=x", "--config", "[1]"], "--config is a JSON object"),
        (["--run=PPO", "--env=x", "--config", '{"lrr": 1}'], "no key 'lrr'; did you mean 'lr'"),
        (["--run=PPO", "--env=x", "--seed", "-1"], "seed = -1"),
        (
            ["--run=PPO", "--env=x", "--stop", '{"timesteps_total": "1"}'],
            "number to reach, not '1'",
        ),
        (
            ["--run=PPO", "--env=x", "--config", '{"sgd_minibatch_size": 4096}'],
            "sgd_minibatch_size=4096 is larger than train_batch_size=2048",
        ),
    ],
)
def test_bad_input_is_one_clear_message(rl, arguments, message):
    done = rl(*arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    assert re.search(message, done.stderr), done.stderr


def test_names_are_printed_as_they_are(rl):
    done = rl("--run=PPO", "--env=no_envs:Four:[x]")
    assert done.output.startswith("PPO on no_envs:Four:[x]: defaults, no preset")


def test_the_traceback_is_there_when_asked_for(rl):
    assert isinstance(rl("--run=PPOO", "-v").exception, ValueError)


def test_help_imports_no_framework():
    code = (
        "import sys; from typer.testing import CliRunner; from rl_algos.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "print([m for m in ('torch', 'tensorflow', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_stop_keys_are_those_of_a_result():
    result = {"timesteps_total": 10, "episodes_total": 0, "timers": {}}
    check_stop({"episode_reward_mean": 1.0, "timesteps_total": 5}, result)
    assert met(result, {"episode_reward_mean": 1.0, "timesteps_total": 5}) == ["timesteps_total"]
    with pytest.raises(ValueError, match="'timesteps_totl' is not in a result; did you mean 'time"):
        check_stop({"timesteps_totl": 1}, result)
