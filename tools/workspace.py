"""The packages of this repository and the wheels built from them."""

from __future__ import annotations

import email
import hashlib
import shutil
import sys
import zipfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with nox

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".nox"
"""Everything that the sessions write: environments, wheels, reports. Safe to delete."""
CONSTRAINTS = ROOT / "constraints.txt"


@dataclass(frozen=True)
class Package:
    """One package directory under `packages/`."""

    name: str
    directory: Path

    @property
    def module(self) -> str:
        """The import name, `rl_sample` for `rl-sample`."""
        return self.name.replace("-", "_")

    @property
    def project(self) -> dict[str, Any]:
        """The `[project]` table of its pyproject.toml."""
        table: dict[str, Any] = load_toml(self.directory / "pyproject.toml")["project"]
        return table

    def tree_hash(self) -> str:
        """A digest of every file that the wheel depends on, committed or not."""
        files = [self.directory / name for name in ("pyproject.toml", "README.md", "LICENSE")]
        files += sorted(
            path
            for path in (self.directory / "src" / self.module).rglob("*")
            if path.is_file() and not {"__pycache__", ".mypy_cache"} & set(path.parts)
        )
        digest = hashlib.sha256()
        for path in files:
            digest.update(str(path.relative_to(self.directory)).encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
        return digest.hexdigest()[:16]


def load_toml(path: Path) -> dict[str, Any]:
    """A TOML file, whatever its suffix."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def workspace() -> dict[str, Any]:
    """The root pyproject.toml."""
    return load_toml(ROOT / "pyproject.toml")


def packages() -> dict[str, Package]:
    """All packages by name, lowest layer first, as the root pyproject.toml lists them."""
    dependencies = workspace()["tool"]["poetry"]["dependencies"]
    return {
        name: Package(name, ROOT / table["path"])
        for name, table in dependencies.items()
        if isinstance(table, dict) and "path" in table
    }


def unit_variants() -> dict[str, str]:
    """Which tests run against what: `{"rl-policy": "not torch", "rl-policy[torch]": ""}`."""
    return dict(workspace()["tool"]["workspace"]["unit"])


def peers() -> dict[str, list[str]]:
    """Libraries that the benchmarks compare with, and what to install for each."""
    return dict(workspace()["tool"]["workspace"]["peers"])


def first_party(requirement: str) -> list[Package]:
    """The packages that a requirement such as `rl-policy[torch]` brings, lowest layer first."""
    known = packages()
    found: set[str] = set()

    def visit(asked: Requirement) -> None:
        found.add(asked.name)
        project = known[asked.name].project
        needed = list(project["dependencies"])
        for extra in asked.extras:
            needed += project["optional-dependencies"][extra]
        for text in needed:
            dependency = Requirement(text)
            if dependency.name in known:
                visit(dependency)

    visit(Requirement(requirement))
    return [package for name, package in known.items() if name in found]


def third_party(requirement: str) -> list[str]:
    """What pip has to fetch for a requirement such as `rl-policy[torch]`, as declared."""
    known = packages()
    extras = Requirement(requirement).extras
    needed: set[str] = set()
    for package in first_party(requirement):
        needed.update(package.project["dependencies"])
        optional = package.project.get("optional-dependencies", {})
        needed.update(text for extra in extras for text in optional.get(extra, ()))
    return sorted(text for text in needed if Requirement(text).name not in known)


def wheel_slot(package: Package) -> Path:
    """The directory that holds the wheel of the package as it is now, once it is built."""
    return WORK / "wheels" / package.name / package.tree_hash()


def built_wheel(package: Package) -> Path | None:
    """The wheel of the package as it is now, if it has been built."""
    return next(wheel_slot(package).glob("*.whl"), None)


def drop_old_wheels(package: Package) -> None:
    """Delete the wheels of earlier states of the package."""
    current = wheel_slot(package)
    for old in current.parent.iterdir():
        if old != current:
            shutil.rmtree(old)


def wheel_metadata(wheel: Path) -> Message:
    """The METADATA of a wheel file."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))
