from __future__ import annotations

import ast
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools.release_check import (
    changelog_problems,
    content_problems,
    imported_modules,
    installed_problems,
    requirement_problems,
    undeclared_imports,
)
from tools.workspace import Package

SEEN = {
    "frameworks": [],
    "public": ["a"],
    "unresolved": [],
    "version": "0.1.0",
    "installed_version": "0.1.0",
}


@pytest.fixture
def package(tmp_path: Path) -> Package:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "rl-toy"\nversion = "0.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0\n\nFirst.\n")
    return Package("rl-toy", tmp_path)


def make_wheel(directory: Path, files: dict[str, str]) -> Path:
    path = directory / "rl_toy-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rl-sample @ file:///somewhere/rl-sample", "path or URL"),
        ("rl-sample>=0.1", "upper bound"),
        ("rl-sample<0.2", "lower bound"),
        ("numpy", "lower bound"),
        ("numpy==2.4.6", "pinned"),
    ],
)
def test_a_requirement_that_is_no_range_is_named(text: str, problem: str) -> None:
    (found,) = requirement_problems([Requirement(text)], {"rl-sample"})
    assert problem in found


def test_ranges_pass() -> None:
    ranges = ["rl-sample>=0.1,<0.2", "numpy>=1.26", "torch>=2.4,<3; extra == 'torch'"]
    assert requirement_problems(list(map(Requirement, ranges)), {"rl-sample"}) == []


def test_a_wheel_must_hold_the_typed_package_and_its_licence_only(package: Package) -> None:
    good = {"rl_toy/__init__.py": "", "rl_toy/py.typed": "", "rl_toy-0.1.0.dist-info/LICENSE": ""}
    assert content_problems(package, make_wheel(package.directory, good)) == []
    bad = {"rl_toy/__init__.py": "", "rl_toy/.cache/x": "", "tests/test_x.py": ""}
    problems = " ".join(content_problems(package, make_wheel(package.directory, bad)))
    assert "py.typed" in problems
    assert "LICENSE" in problems
    assert "tests" in problems
    assert "such as rl_toy/.cache/x" in problems


def test_an_import_that_is_not_declared_is_found_even_inside_a_function(package: Package) -> None:
    source = "import json, numpy as np\n\ndef f():\n    from ray import get\n    return get\n"
    wheel = make_wheel(package.directory, {"rl_toy/a.py": source})
    (problem,) = undeclared_imports(package, wheel, [Requirement("numpy>=1")])
    assert problem == "rl_toy/a.py imports ray, which the package does not declare"


def test_relative_imports_are_nobodys_distribution() -> None:
    assert imported_modules(ast.parse("from . import a\nfrom .b import c\nimport d.e")) == {"d.e"}


def test_imports_for_type_checkers_do_not_count() -> None:
    source = "if TYPE_CHECKING:\n    import torch\nelse:\n    import numpy"
    assert imported_modules(ast.parse(source)) == {"numpy"}


def test_the_changelog_needs_the_version(package: Package) -> None:
    assert changelog_problems(package) == []
    (package.directory / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.01\n")
    assert changelog_problems(package) == ["CHANGELOG.md has no heading `## 0.1.0`"]
    (package.directory / "CHANGELOG.md").unlink()
    assert changelog_problems(package) == ["CHANGELOG.md is missing"]


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({"frameworks": ["torch"]}, "imports torch"),
        ({"public": None}, "no __all__"),
        ({"public": [str(n) for n in range(26)]}, "26 public names"),
        ({"unresolved": ["a"]}, "do not resolve: a"),
        ({"version": "0.2.0"}, "__version__ is 0.2.0"),
        ({"installed_version": "0.0.9"}, "the wheel says 0.0.9"),
    ],
)
def test_what_is_wrong_with_an_installed_package(
    package: Package, fault: dict[str, object], problem: str
) -> None:
    assert installed_problems(package, SEEN) == []
    (found,) = installed_problems(package, {**SEEN, **fault})
    assert problem in found
