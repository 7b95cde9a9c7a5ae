"""`rl list`: every cell of the catalogue is what happens when the policy is really built."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from tiny_trainers import Counting
from typer.testing import CliRunner

from rl_algos import PPO, catalogue, frameworks
from rl_algos.cli import app
from rl_algos.definition import build_trainer
from rl_algos.keys import ConfigError
from rl_algos.registry import ALGORITHMS, get_algorithm
from rl_policy import build_policy
from rl_policy.testing import random_fragment


def builds(definition, framework, observation_space, action_space, **config):
    try:
        return definition.default_policy(
            observation_space, action_space, {"framework": framework, **config}
        )
    except (TypeError, ValueError):
        return None


EACH = [
    *(pytest.param(name, "torch", marks=pytest.mark.torch) for name in ALGORITHMS),
    pytest.param("PPO", "tf", marks=pytest.mark.tensorflow),
]


@pytest.mark.parametrize(("algorithm", "framework"), EACH)
def test_every_cell_is_true(algorithm, framework):
    definition = get_algorithm(algorithm)
    rows = [row for row in catalogue.table([algorithm]) if row["framework"] == framework]
    assert len(rows) == len(catalogue.OBSERVATIONS) * len(catalogue.ACTIONS)
    for row in rows:
        observed = catalogue.OBSERVATIONS[row["observation_space"]]
        acted = catalogue.ACTIONS[row["action_space"]]
        policy = builds(definition, row["framework"], observed, acted)
        assert (policy is not None) == row["supported"], row
        assert (row["why"] is None) == row["supported"]
        if policy is not None:
            assert (policy.dist_class.mask_size is not None) == row["action_mask"]


@pytest.mark.parametrize(("algorithm", "framework"), EACH)
def test_what_is_called_recurrent_learns_with_an_lstm(algorithm, framework):
    definition = get_algorithm(algorithm)
    assert catalogue.is_recurrent(definition)
    model = {"use_lstm": True, "lstm_cell_size": 4, "fcnet_hiddens": [4]}
    policy = builds(definition, framework, Box(-1, 1, (3,), np.float32), Discrete(2), model=model)
    learned = policy.learn_on_batch(random_fragment(policy))
    assert np.isfinite(learned.stats["total_loss"])


def test_a_policy_that_restricts_its_spaces_is_asked():
    def only_choices(policy, observation_space, action_space, config):
        if not isinstance(action_space, Discrete):
            raise ValueError(f"Q-values are of choices, not of {action_space}")

    picky = build_policy("Picky", framework="torch", validate_spaces=only_choices)
    definition = build_trainer("Picky", default_policy=picky)
    box, choice = catalogue.ACTIONS["Box"], catalogue.ACTIONS["Discrete"]
    assert catalogue.obstacle(definition, box, choice) is None
    assert "Q-values are of choices" in catalogue.obstacle(definition, box, box)
    assert catalogue.frameworks(definition) == ["torch"]


def test_a_policy_of_plain_numpy_needs_no_framework():
    definition = build_trainer("Counting", default_policy=Counting)
    assert catalogue.frameworks(definition) == ["numpy"]
    assert frameworks.is_installed("numpy")


def test_an_algorithm_without_a_policy_has_no_spaces():
    with pytest.raises(ConfigError, match="Empty has no policy of its own"):
        catalogue.frameworks(build_trainer("Empty"))


def test_a_framework_that_is_missing_is_shown_as_missing(monkeypatch):
    monkeypatch.setattr(frameworks, "find_spec", lambda name: None)
    rows = catalogue.table(["PPO"])
    assert not any(row["installed"] for row in rows) and any(row["supported"] for row in rows)
    shown = CliRunner().invoke(app, ["list", "PPO"]).output
    assert "(✓) once torch is installed:\n  pip install 'rl-algos[torch]'" in shown
    assert "(✓) once tensorflow is installed:\n  pip install 'rl-algos[tensorflow]'" in shown
    assert catalogue.learns_with(PPO) == "framework: torch, tf, tf2 (not installed: torch, tf, tf2)"


def test_what_an_algorithm_learns_with_and_what_auto_means(monkeypatch):
    monkeypatch.setattr(frameworks, "find_spec", lambda name: name == "tensorflow" or None)
    told = "framework: torch, tf, tf2 (not installed: torch); auto: tf"
    assert catalogue.learns_with(PPO) == told
    assert told in CliRunner().invoke(app, ["show", "PPO"]).output
    numpy = build_trainer("Counting", default_policy=Counting)
    assert catalogue.learns_with(numpy) == "framework: numpy"
    assert "policies that you give" in catalogue.learns_with(build_trainer("Empty"))


def row(observed, acted, supported, framework="torch"):
    facts = {"installed": framework == "torch", "recurrent": False, "several_policies": True}
    cell = {"observation_space": observed, "action_space": acted, "supported": supported}
    return {"algorithm": "X", "framework": framework, "action_mask": False, **facts, **cell}


def test_grids_sum_up_the_rows():
    rows = [
        row("Box", "Discrete", True),
        row("Box", "Dict", True),
        row("image", "Discrete", True),
        row("image", "Dict", False),
        row("Text", "Discrete", False),
    ]
    observations, actions, more = catalogue.grids(rows)
    marks = dict(zip(observations.head, observations.rows[0], strict=True))
    assert (marks["Box"], marks["image"], marks["Text"]) == ("✓", "some", "–")
    assert dict(zip(actions.head, actions.rows[0], strict=True))["Discrete"] == "✓"
    assert observations.rows[0][0] == "X"
    assert more.head == ("", "torch", "LSTM, GRU", "several policies")
    assert more.rows == [("X", "✓", "–", "✓")]


def test_frameworks_share_a_row_where_they_can_do_the_same():
    same = [row("Box", "Discrete", True, name) for name in ("torch", "tf", "tf2")]
    images = [row("image", "Discrete", name == "torch", name) for name in ("torch", "tf", "tf2")]
    observations, _, more = catalogue.grids([*same, *images])
    assert [r[0] for r in observations.rows] == ["X (torch)", "X (tf, tf2)"]
    assert [r[observations.head.index("image")] for r in observations.rows] == ["✓", "–"]
    assert more.head[1:4] == ("torch", "tf", "tf2") and more.rows[0][1:4] == ("✓", "(✓)", "(✓)")


def test_the_command_prints_tables_that_fit_a_terminal():
    done = CliRunner().invoke(app, ["list"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    assert all(len(line) <= 80 for line in done.output.splitlines()), done.output
    for name in (*ALGORITHMS, *catalogue.OBSERVATIONS, *catalogue.ACTIONS):
        assert name in done.output
    assert "…" not in done.output


def test_markdown_is_a_table_per_grid():
    text = CliRunner().invoke(app, ["list", "ppo", "--markdown"]).output
    assert text == catalogue.markdown(catalogue.table(["PPO"]))
    assert text.count("| PPO |") == 3 and text.count("\n| --- |") == 3


def test_an_unknown_algorithm_names_the_nearest():
    done = CliRunner().invoke(app, ["list", "PPOO"])
    assert done.exit_code == 2 and "did you mean 'PPO'" in done.stderr


def test_no_framework_is_imported():
    code = (
        "import sys; from rl_algos import catalogue; catalogue.table(); "
        "print([m for m in ('torch', 'tensorflow', 'keras', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
