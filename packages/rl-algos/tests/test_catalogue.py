"""`rl list`: every cell of the catalogue is what happens when the policy is really built."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from tiny_trainers import Counting
from typer.testing import CliRunner

from rl_algos import catalogue
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


@pytest.mark.torch
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_cell_is_true(algorithm):
    definition = get_algorithm(algorithm)
    rows = [row for row in catalogue.table([algorithm]) if row["installed"]]
    assert len(rows) >= len(catalogue.OBSERVATIONS) * len(catalogue.ACTIONS)
    for row in rows:
        observed = catalogue.OBSERVATIONS[row["observation_space"]]
        acted = catalogue.ACTIONS[row["action_space"]]
        policy = builds(definition, row["framework"], observed, acted)
        assert (policy is not None) == row["supported"], row
        assert (row["why"] is None) == row["supported"]
        if policy is not None:
            assert (policy.dist_class.mask_size is not None) == row["action_mask"]


@pytest.mark.torch
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_called_recurrent_learns_with_an_lstm(algorithm):
    definition = get_algorithm(algorithm)
    assert catalogue.is_recurrent(definition)
    model = {"use_lstm": True, "lstm_cell_size": 4, "fcnet_hiddens": [4]}
    policy = builds(definition, "torch", Box(-1, 1, (3,), np.float32), Discrete(2), model=model)
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
    assert catalogue.is_installed("numpy")


def test_an_algorithm_without_a_policy_has_no_spaces():
    with pytest.raises(ConfigError, match="Empty has no policy of its own"):
        catalogue.frameworks(build_trainer("Empty"))


def test_a_framework_that_is_missing_is_shown_as_missing(monkeypatch):
    monkeypatch.setattr(catalogue, "find_spec", lambda name: None)
    rows = catalogue.table(["PPO"])
    assert not any(row["installed"] for row in rows) and any(row["supported"] for row in rows)
    shown = CliRunner().invoke(app, ["list", "PPO"]).output
    assert "torch is not installed: pip install 'rl-algos[torch]'" in shown


def row(observed, acted, supported):
    facts = {"installed": True, "recurrent": False, "several_policies": True}
    cell = {"observation_space": observed, "action_space": acted, "supported": supported}
    return {"algorithm": "X", "framework": "torch", "action_mask": False, **facts, **cell}


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
    assert more.rows == [("X (torch)", "✓", "–", "✓")]


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
    assert text.count("| PPO (torch) |") == 3 and text.count("\n| --- |") == 3


def test_an_unknown_algorithm_names_the_nearest():
    done = CliRunner().invoke(app, ["list", "PPOO"])
    assert done.exit_code == 2 and "did you mean 'PPO'" in done.stderr


def test_no_framework_is_imported():
    code = (
        "import sys; from rl_algos import catalogue; catalogue.table(); "
        "print([m for m in ('torch', 'tensorflow', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
