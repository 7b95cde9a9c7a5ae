"""Every example runs, with a tiny budget."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
BUDGETS = {
    "numpy_policy": "2",
    "ppo_without_trainer": "2000",
    "train_and_restore": "1",
    "your_own_algorithm": "2",
}


def test_no_example_is_forgotten():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == BUDGETS.keys()


@pytest.mark.torch
@pytest.mark.parametrize("name", BUDGETS)
def test_an_example_runs(name):
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), BUDGETS[name]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.tensorflow
@pytest.mark.parametrize("framework", ["tf", "tf2"])
def test_an_algorithm_of_your_own_runs_in_tensorflow(framework):
    file = EXAMPLES / "your_own_algorithm.py"
    command = [sys.executable, "-W", "error", str(file), "2", framework]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_ppo_without_a_trainer_is_short_and_needs_no_rl_algos():
    text = (EXAMPLES / "ppo_without_trainer.py").read_text()
    assert len(text.splitlines()) <= 40
    assert "rl_algos" not in text
