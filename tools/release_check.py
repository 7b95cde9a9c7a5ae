"""Could a wheel be published? Every check gives a list of problems, each a sentence."""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.workspace import Package, wheel_metadata

MOST_PUBLIC_NAMES = 25
DISTRIBUTIONS = {"yaml": "pyyaml"}
"""Modules whose distribution has another name."""


def wheel_problems(package: Package, wheel: Path, ours: set[str]) -> list[str]:
    """What is wrong with a wheel file; `ours` names the packages of this repository."""
    requirements = list(map(Requirement, wheel_metadata(wheel).get_all("Requires-Dist") or ()))
    return [
        f"{package.name}: {problem}"
        for problem in (
            *requirement_problems(requirements, ours),
            *content_problems(package, wheel),
            *undeclared_imports(package, wheel, requirements),
            *changelog_problems(package),
        )
    ]


def requirement_problems(requirements: list[Requirement], ours: set[str]) -> list[str]:
    """Requirements must be ranges; those on our own packages need an upper bound."""
    problems = []
    for requirement in requirements:
        operators = {specifier.operator for specifier in requirement.specifier}
        if requirement.url is not None:
            problems.append(f"requires a path or URL instead of a range: {requirement}")
        elif not operators & {">=", ">", "~=", "=="}:
            problems.append(f"requirement without a lower bound: {requirement}")
        elif "==" in operators:
            problems.append(f"requirement pinned to one version: {requirement}")
        elif requirement.name in ours and not operators & {"<", "<=", "~="}:
            problems.append(f"requirement on our own package without an upper bound: {requirement}")
    return problems


def content_problems(package: Package, wheel: Path) -> list[str]:
    """The wheel holds the typed package, its licence and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    problems = []
    if f"{package.module}/py.typed" not in names:
        problems.append("py.typed is missing in the wheel")
    if not any(".dist-info/" in name and name.endswith("LICENSE") for name in names):
        problems.append("LICENSE is missing in the wheel")
    hidden = [name for name in names if "/." in name]
    if hidden:
        problems.append(f"hidden files in the wheel, such as {hidden[0]}")
    strays = {n.split("/")[0] for n in names} - {package.module}
    strays = {name for name in strays if not name.endswith(".dist-info")}
    if strays:
        problems.append(f"stray files at the top of the wheel: {', '.join(sorted(strays))}")
    return problems


def undeclared_imports(package: Package, wheel: Path, requirements: list[Requirement]) -> list[str]:
    """Every module imported anywhere in the wheel belongs to a distribution that it declares."""
    declared = {canonicalize_name(requirement.name) for requirement in requirements}
    known = {*sys.stdlib_module_names, package.module}
    problems = set()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                for module in imported_modules(ast.parse(archive.read(name))):
                    top = module.split(".")[0]
                    distribution = canonicalize_name(DISTRIBUTIONS.get(top, top))
                    if top not in known and distribution not in declared:
                        problems.add(f"{name} imports {top}, which the package does not declare")
    return sorted(problems)


def imported_modules(tree: ast.AST) -> set[str]:
    """Absolute names of all modules that running the code can import, in functions too."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return found


def changelog_problems(package: Package) -> list[str]:
    """CHANGELOG.md has a heading for the version in pyproject.toml."""
    path = package.directory / "CHANGELOG.md"
    version = package.project["version"]
    if not path.is_file():
        return ["CHANGELOG.md is missing"]
    if not re.search(rf"^## \[?v?{re.escape(version)}\b", path.read_text(), re.MULTILINE):
        return [f"CHANGELOG.md has no heading `## {version}`"]
    return []


def installed_problems(package: Package, seen: dict[str, Any]) -> list[str]:
    """What is wrong with the installed package, given what tools/probe.py saw."""
    problems = []
    if seen["frameworks"]:
        problems.append(f"importing the root module imports {', '.join(seen['frameworks'])}")
    public = [name for name in seen["public"] or () if name != "__version__"]
    if not public:
        problems.append("the root module has no __all__")
    elif len(public) > MOST_PUBLIC_NAMES:
        problems.append(f"{len(public)} public names; at most {MOST_PUBLIC_NAMES}")
    if seen["unresolved"]:
        problems.append(f"__all__ names that do not resolve: {', '.join(seen['unresolved'])}")
    if not seen["version"] == seen["installed_version"] == package.project["version"]:
        problems.append(
            f"__version__ is {seen['version']}, the wheel says {seen['installed_version']}, "
            f"pyproject.toml says {package.project['version']}"
        )
    return [f"{package.name}: {problem}" for problem in problems]
