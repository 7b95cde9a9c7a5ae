"""What README and examples show runs as written."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
NEED_TORCH = ["01_policy_gradient", "02_ppo_loss", "04_custom_model"]


@pytest.mark.torch
def test_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)
    exec("\n".join(blocks), {"__name__": "readme"})
    assert "total_loss" in capsys.readouterr().out


@pytest.mark.tensorflow
def test_the_readmes_policy_for_tensorflow():
    text = (PACKAGE / "README.md").read_text()
    (block,) = re.findall(r"```python tensorflow\n(.*?)```", text, re.DOTALL)
    names = {"__name__": "readme"}
    exec(block, names)
    assert names["MyTFPolicy"].framework == "tf"


@pytest.mark.torch
@pytest.mark.parametrize("name", NEED_TORCH)
def test_examples(name):
    runpy.run_path(str(PACKAGE / "examples" / f"{name}.py"), run_name="__main__")


def test_the_numpy_example():
    runpy.run_path(str(PACKAGE / "examples" / "03_numpy_policy.py"), run_name="__main__")


@pytest.mark.torch
def test_the_autoregressive_example_learns_both():
    """Independent actions meet in a third of all cases if the place is secret, else always there.

    With entropy weighed 0.3 the best policy meets in e^(1/0.3) / (e^(1/0.3) + 2) = 93 %.
    """
    example = runpy.run_path(str(PACKAGE / "examples" / "06_autoregressive_head.py"))
    met, likeliest_place = example["main"]()
    assert met > 0.85
    assert likeliest_place < 0.45
