"""Virtual environments that hold built wheels: made once, reused while what they need stays."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nox
from nox.command import CommandFailed
from nox.project import dependency_groups
from packaging.requirements import Requirement

from tools.workspace import (
    CONSTRAINTS,
    WORK,
    Package,
    built_wheel,
    drop_old_wheels,
    first_party,
    third_party,
    wheel_slot,
    workspace,
)

CLEAN = {
    "PYTHONPATH": None,  # the checkout must not leak into an environment
    "PYTHONNOUSERSITE": "1",
    "PIP_CONSTRAINT": None,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "OMP_NUM_THREADS": "1",  # small nets and shared machines: one thread is the fast setting
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""What every command in an environment sees of the variables outside it."""


class Environment:
    """One virtual environment under `.nox/`."""

    def __init__(self, session: nox.Session, name: str) -> None:
        self.session = session
        self.directory = WORK / name.replace("[", "-").replace("]", "")
        scripts = self.directory / ("Scripts" if sys.platform == "win32" else "bin")
        self.scripts = scripts
        self.python = scripts / ("python.exe" if sys.platform == "win32" else "python")

    def run(self, program: str, *args: object, **env: str | None) -> None:
        """Run a program of this environment, or end the session with its failure."""
        self._run(program, args, env, silent=False)

    def passes(self, program: str, *args: object, **env: str | None) -> bool:
        """Run a program of this environment; does it succeed?"""
        try:
            self.run(program, *args, **env)
        except CommandFailed:
            return False
        return True

    def output(self, program: str, *args: object, **env: str | None) -> str:
        """What a program of this environment prints."""
        return self._run(program, args, env, silent=True) or ""

    def _run(
        self, program: str, args: Sequence[object], env: dict[str, str | None], *, silent: bool
    ) -> str | None:
        result = self.session.run(
            str(self.scripts / program),
            *map(str, args),
            env={**CLEAN, **env},
            external=True,
            silent=silent,
            log=not silent,
        )
        return result if isinstance(result, str) else None

    def pip(self, *args: object) -> None:
        """Run pip; what it prints is shown only if it fails."""
        self.output("python", "-m", "pip", "--no-color", *args)

    @property
    def stamp(self) -> Path:
        """What the environment was made for; written last, so a broken one is made anew."""
        return self.directory / "made-for.json"

    def made_for(self) -> dict[str, Any]:
        """The contents of the stamp, {} if the environment is not ready."""
        made: dict[str, Any] = json.loads(self.stamp.read_text()) if self.stamp.exists() else {}
        return made

    def create(self) -> None:
        """Make it anew, empty but for pip."""
        shutil.rmtree(self.directory, ignore_errors=True)
        command = [sys.executable, "-m", "virtualenv", "--quiet", "--no-periodic-update"]
        self.session.run(
            *command, str(self.directory), external=True, silent=True, log=False, env=CLEAN
        )


def environment(
    session: nox.Session,
    name: str,
    *,
    wheel: str = "",
    groups: Sequence[str] = (),
    pinned: Sequence[str] = (),
) -> Environment:
    """An environment with a wheel (`"rl-policy[torch]"`), what it declares, and tool groups.

    Nothing else gets in, so that an import nobody declared fails. It is made anew when the declared
    requirements, constraints.txt or the Python change; a wheel that was rebuilt is only exchanged.
    Requirements given as `pinned` are installed as they stand, not held to constraints.txt.
    """
    env = Environment(session, name)
    tools = list(dependency_groups(workspace(), *groups))
    constraints = [] if pinned else ["-c", str(CONSTRAINTS)]
    wanted = {
        "python": sys.version,
        "directory": str(env.directory),
        "constraints": "" if pinned else hashlib.sha256(CONSTRAINTS.read_bytes()).hexdigest(),
        "requirements": [*(third_party(wheel) if wheel else ()), *tools, *pinned],
    }
    wheels = {p.name: build(session, p) for p in first_party(wheel)} if wheel else {}
    made = env.made_for()
    held: dict[str, str] = made.pop("wheels", {})
    changed = {package: path for package, path in wheels.items() if held.get(package) != str(path)}
    if made != wanted:
        session.log(
            f"making environment {name}: {', '.join([*filter(None, [wheel]), *tools, *pinned])}"
        )
        env.create()
        files = [_with_extras(path, wheel, package) for package, path in wheels.items()]
        env.pip("install", *constraints, *files, *tools, *pinned)
    elif changed:
        session.log(f"exchanging in {name}: {', '.join(path.name for path in changed.values())}")
        env.stamp.unlink()
        env.pip("install", "--no-deps", "--force-reinstall", *changed.values())
    else:
        return env
    env.pip("check")
    stamp = {**wanted, "wheels": {package: str(path) for package, path in wheels.items()}}
    env.stamp.write_text(json.dumps(stamp, indent=1))
    return env


def _with_extras(path: Path, wheel: str, package: str) -> str:
    """`…/rl_policy-0.1.0-py3-none-any.whl[torch]`: pip takes extras on a file name too."""
    asked = Requirement(wheel)
    extras = ",".join(sorted(asked.extras))
    return f"{path}[{extras}]" if asked.name == package and extras else str(path)


def build(session: nox.Session, package: Package) -> Path:
    """The wheel of a package; built only if a file of the package has changed."""
    wheel = built_wheel(package)
    if wheel is None:
        session.log(f"building the wheel of {package.name}")
        builder = environment(session, "build", groups=["build"])
        slot = wheel_slot(package)
        builder.pip("wheel", "--no-deps", "--no-build-isolation", "-w", slot, package.directory)
        drop_old_wheels(package)
        wheel = built_wheel(package)
        assert wheel is not None, f"pip built no wheel into {slot}"
    return wheel
