"""`rl evaluate`: figures of a saved policy's episodes, and videos of them."""

from __future__ import annotations

import re

import gymnasium as gym
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from rl_algos import train
from rl_algos.cli import app
from rl_algos.cli.evaluate import as_table
from rl_algos.keys import ConfigError
from rl_algos.rendering import in_window, on_video
from rl_workers import EnvContext, EnvError

QUICK = {"num_sgd_iter": 1, "train_batch_size": 64, "sgd_minibatch_size": 64, "seed": 0}


class Lamp(gym.Env):
    """Episodes of 5 steps; the picture shows which step it is."""

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 10}
    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)
    shown = 0

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        self.step_number += 1
        Lamp.shown += self.render_mode == "human"
        obs = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return obs, 1.0, False, self.step_number == 5, {}

    def render(self):
        return np.full((32, 32, 3), 40 * self.step_number, np.uint8)


class Blind(Lamp):
    """Has no pictures."""

    def __init__(self):
        super().__init__()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a short run."""
    place = tmp_path_factory.mktemp("runs")
    stop = {"training_iteration": 2}
    options = {"stop": stop, "local_dir": place, "display": False, "checkpoint_freq": 1}
    return train("PPO", QUICK, env=Lamp, **options).directory


def evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.mark.torch
def test_the_newest_checkpoint_of_a_run_is_evaluated(run):
    done = evaluate(run, "--episodes", 3)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == f"checkpoint: {run}/checkpoint_000002"
    assert lines[1].strip() == "3 episodes"
    figures = {line.split()[1]: line.split("│")[2:5] for line in lines if line.startswith("│")}
    for name in ("return", "length"):
        assert [cell.strip() for cell in figures[name]] == ["5.0 ± 0.0", "5.0", "5.0"]


@pytest.mark.torch
def test_one_checkpoint_may_be_named_and_another_environment(run):
    done = evaluate(
        run / "checkpoint_000001", "--env", "gymnasium.envs.classic_control:CartPoleEnv"
    )
    assert done.output.startswith(f"checkpoint: {run}/checkpoint_000001")
    assert done.exit_code == 2
    assert "same spaces" in done.stderr


@pytest.mark.torch
def test_the_same_seed_gives_the_same_episodes(tmp_path):
    options = {"stop": {"training_iteration": 1}, "local_dir": tmp_path, "display": False}
    directory = train("PPO", QUICK, env="CartPole-v1", **options).directory
    one, two, other = (
        evaluate(directory, "--episodes", 4, "--explore", "--seed", seed).output
        for seed in (3, 3, 4)
    )
    assert one == two
    assert one != other


@pytest.mark.extras
def test_each_episode_becomes_a_video_of_all_its_steps(run, tmp_path):
    from moviepy import VideoFileClip

    for _ in range(2):  # again into the same directory
        done = evaluate(run, "--episodes", 2, "--video-dir", tmp_path / "videos")
        assert done.exit_code == 0, done.output
        assert f"videos: {tmp_path}/videos" in done.output
    names = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert names == [f"checkpoint_000002-episode-{number}.mp4" for number in (0, 1)]
    for name in names:
        with VideoFileClip(str(tmp_path / "videos" / name)) as clip:
            assert round(clip.duration * clip.fps) == 6  # the first picture and one per step


@pytest.mark.torch
def test_a_window_shows_each_step(run):
    Lamp.shown = 0
    done = evaluate(run, "--episodes", 2, "--render")
    assert done.exit_code == 0, done.output
    assert Lamp.shown >= 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a directory"),
        (["RUN", "--render", "--video-dir", "x"], "give one of them"),
        (["RUN", "--config", '{"episodes_": 3}'], "evaluation_config cannot hold 'episodes_'"),
        (["RUN", "--config", "{"], "--config '{' is not JSON"),
        (["RUN", "--env", "CartPol-v1"], "Did you mean 'CartPole-v1'"),
    ],
)
@pytest.mark.torch
def test_bad_input_is_one_clear_message(run, arguments, message):
    done = evaluate(*(run if argument == "RUN" else argument for argument in arguments))
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    assert re.search(message, done.stderr), done.stderr


def test_environments_that_cannot_be_watched_say_so(monkeypatch, tmp_path):
    with pytest.raises(EnvError, match="unexpected keyword argument 'render_mode'"):
        in_window(Blind)(EnvContext())
    with pytest.raises(ConfigError, match="asked for render_mode='human', it has .*None"):
        in_window(lambda context: Lamp())(EnvContext())
    with pytest.raises(ConfigError, match="it is no gymnasium.Env"):
        in_window(lambda context: object())(EnvContext())
    monkeypatch.setattr("rl_algos.rendering.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'rl-algos\[video\]'"):
        on_video(Lamp, tmp_path, 1, "x")


def test_several_policies_have_a_line_each():
    played = {
        "episode_reward": [3.0, 5.0],
        "episode_lengths": [10, 20],
        "policy_left_reward": [1.0, 2.0],
        "policy_right_reward": [2.0, 3.0],
    }
    console = Console(record=True, width=80, quiet=False, file=None, force_terminal=False)
    with console.capture() as text:
        console.print(as_table({"hist_stats": played}))
    lines = [line.strip("│").split("│") for line in text.get().splitlines() if "│" in line]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["return", "4.0 ± 1.0", "3.0", "5.0"],
        ["policy left", "1.5 ± 0.5", "1.0", "2.0"],
        ["policy right", "2.5 ± 0.5", "2.0", "3.0"],
        ["length", "15.0 ± 5.0", "10.0", "20.0"],
    ]
