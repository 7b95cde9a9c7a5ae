"""Losses are written once: no algorithm's file names a framework or branches on one."""

from __future__ import annotations

import io
import re
import tokenize
from importlib import import_module
from inspect import getsource

import pytest

FRAMEWORK = re.compile(r"\b(torch|pytorch|tensorflow|tf|tf2|keras|framework)\b", re.IGNORECASE)


@pytest.mark.parametrize("module", ["a2c", "pg", "ppo", "values"])
def test_no_framework_is_named(module):
    source = getsource(import_module(f"rl_algos.{module}"))
    found = [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type in (tokenize.NAME, tokenize.STRING)
        and not token.string.startswith(('"""', 'r"""'))
        and FRAMEWORK.search(token.string)
    ]
    assert found == []
