"""Distributions and filters are written once: no such file names a framework or branches on one."""

from __future__ import annotations

import io
import re
import tokenize
from importlib import import_module
from inspect import getsource
from pathlib import Path

import pytest

MODULES = (
    "action_dist",
    "action_map",
    "bounded_dists",
    "dist_class",
    "distributions",
    "filters",
    "gamma_draws",
    "simplex_dists",
    "xp.special",
)
FRAMEWORK = re.compile(r"\b(torch|pytorch|tensorflow|tf|tf2|keras|framework)\b", re.IGNORECASE)


def names_of_frameworks(source):
    """Lines of code that name a framework; comments and docstrings do not count."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [
        (token.start[0], token.string)
        for token in tokens
        if token.type in (tokenize.NAME, tokenize.STRING)
        and not token.string.startswith(('"""', 'r"""'))
        and FRAMEWORK.search(token.string)
    ]


@pytest.mark.parametrize("module", MODULES)
def test_no_framework_is_named(module):
    assert names_of_frameworks(getsource(import_module(f"rl_policy.{module}"))) == []


def test_every_file_of_distributions_is_looked_at():
    package = import_module("rl_policy").__path__[0]
    files = {path.stem for path in Path(package).glob("*.py")}
    of_distributions = {name for name in files if re.search("dist|gamma|filter|action_map", name)}
    assert of_distributions <= set(MODULES)


def test_the_search_finds_them():
    assert names_of_frameworks('import torch\nx = "tf"  # keras\n') == [(1, "torch"), (2, '"tf"')]
