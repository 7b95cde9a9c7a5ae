from __future__ import annotations

from tools.public_imports import private_imports, public_modules

CONTRACTS = """
[importlinter:contract:public]
type = protected
protected_modules =
    rl_policy.*
ignore_imports =
    ** -> rl_policy.xp
    ** -> rl_policy.torch

[importlinter:contract:other]
type = forbidden
ignore_imports =
    rl_policy.torch -> torch
"""
PUBLIC = {"rl_policy", "rl_policy.xp", "rl_policy.torch"}


def test_public_is_what_the_protected_contracts_let_through() -> None:
    assert public_modules(CONTRACTS, ["rl_policy"]) == PUBLIC


def test_private_modules_are_found_wherever_they_are_imported() -> None:
    source = """
import numpy as np
import rl_policy.actor
from rl_policy import Policy
from rl_policy.xp import array_namespace

def later():
    from rl_policy.torch.model import Dense
    return Dense
"""
    found = private_imports(source, PUBLIC, ["rl_policy"])
    assert found == ["rl_policy.actor", "rl_policy.torch.model"]
