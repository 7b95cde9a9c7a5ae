"""What cannot be learned: what was given, what is expected, how to mend it, in every framework."""

from __future__ import annotations

import re

import bad_algorithms
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, Text
from tiny_trainers import TF, TF2, TINY, TINY_PPO, TORCH
from typer.testing import CliRunner

from rl_algos import PPO
from rl_algos.cli import app

SMALL = {"fcnet_hiddens": [4], "seed": 3}
FORMS = r"expected L, \(L, stats\) or \(L, stats, rows\)"


class Odd(gym.Env):
    """Spaces that there is no encoding or no distribution for."""

    def __init__(self, observes=Box(-1, 1, (2,)), acts=Discrete(2)):  # noqa: B008
        self.observation_space, self.action_space = observes, acts


@pytest.mark.parametrize("keys", [TORCH, TF, TF2])
@pytest.mark.parametrize(
    ("algorithm", "error", "message"),
    [
        ("NAN", FloatingPointError, r"'BadPolicy': the loss is nan at env step 32 \(all columns"),
        ("PER_ROW", ValueError, r"the loss has shape \((32|'B'),\); reduce it to one num"),
        ("NOTHING", TypeError, rf"loss_fn returned NoneType; {FORMS}"),
        ("A_STRING", TypeError, rf"loss_fn returned \(\w+, str\); {FORMS}"),
        ("FOR_WHOM", ValueError, r"the loss names optimizer 'adm'"),
    ],
)
def test_a_loss_that_cannot_be_learned_from(keys, algorithm, error, message):
    definition = getattr(bad_algorithms, algorithm)
    with definition({**TINY, **SMALL, **keys}) as trainer:
        before = trainer.get_policy().get_weights()
        with pytest.raises(error, match=message):
            trainer.train()
        for name, array in trainer.get_policy().get_weights().items():
            np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("keys", [TORCH, TF, TF2])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "WithoutValue",
            r"need value estimates, and this policy's model has none; give the",
        ),
        ("TooWide", r"forward\(\) gave outputs of shape \[\d+, 3\], expected \[B, 2\]"),
        ("Absent", r"_nets:Absent' cannot be imported as 'module:Class': module '\w+_nets' has no"),
    ],
)
def test_a_model_that_does_not_fit(keys, model, message):
    module = "torch_nets" if keys["framework"] == "torch" else "tf_nets"
    with (
        pytest.raises(ValueError, match=message),
        PPO({**TINY_PPO, **keys, "custom_model": f"{module}:{model}"}) as trainer,
    ):
        trainer.train()


@pytest.mark.parametrize("keys", [TORCH, TF])
@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        (
            {"observes": Text(3)},
            "'obs' is a Text, whose values have no fixed-size array form",
        ),
        ({"acts": Text(3)}, "the space at 'actions' is a Text, whose values have no fixed-size"),
        ({"acts": Box(-1, 1, (0,))}, "the space at 'actions' holds no numbers"),
    ],
)
def test_spaces_that_nothing_can_be_learned_in(keys, spaces, message):
    with pytest.raises((TypeError, ValueError), match=message):
        PPO({**TINY_PPO, **keys, "env": Odd, "env_config": spaces})


@pytest.mark.parametrize("keys", [TORCH, TF, TF2])
def test_the_command_line_says_it_in_one_line(tmp_path, monkeypatch, keys):
    monkeypatch.chdir(tmp_path)
    option = f"--framework={keys['framework']}"
    for name, message in (
        ("NAN", "error: policy 'BadPolicy': the loss is nan at env step"),
        ("PER_ROW", r"error: .*the loss has shape \((32|'B'),\); reduce it"),
        ("NOTHING", "error: policy 'BadPolicy': loss_fn returned NoneType; expected L, "),
    ):
        done = CliRunner().invoke(
            app, ["train", f"--run=bad_algorithms:{name}", "--env=CartPole-v1", option]
        )
        assert done.exit_code == 2
        assert re.search(message, done.stderr), done.stderr
        assert "Traceback" not in done.output


@pytest.mark.torch
def test_a_mistake_of_ours_keeps_its_traceback():
    done = CliRunner().invoke(app, ["train", "--run=bad_algorithms:BROKEN", "--env=CartPole-v1"])
    assert isinstance(done.exception, TypeError)
