"""Every example runs and the README's code does, without a deep-learning framework."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent
BUDGETS = {"01_sample": [], "02_learn": ["3"], "03_multi_agent": []}


def test_no_example_is_forgotten():
    assert {path.stem for path in (PACKAGE / "examples").glob("*.py")} == BUDGETS.keys()


@pytest.mark.parametrize("name", BUDGETS)
def test_an_example_runs(name):
    script = str(PACKAGE / "examples" / f"{name}.py")
    command = [sys.executable, "-W", "error", script, *BUDGETS[name]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_readmes_code_runs(capsys):
    blocks = re.findall(
        r"^```python\n(.*?)^```", (PACKAGE / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert blocks
    for code in blocks:
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert "rewards" in capsys.readouterr().out
