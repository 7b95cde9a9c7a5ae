"""What a run was made of: its config as it was resolved, and where it came from."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_algos.frameworks import names_and_versions
from rl_algos.loggers.scalars import jsonable, to_json

if TYPE_CHECKING:
    from rl_algos.trainer import Trainer

LIBRARIES = (
    *("rl-sample", "rl-policy", "rl-workers", "rl-algos"),
    *("numpy", "gymnasium", "torch", "tensorflow", "tensorflow-cpu", "keras", "ray"),
)


def describe_run(trainer: Trainer) -> dict[str, Any]:
    """All that is needed to do it again, as JSON: algorithm, config, seed, origin, provenance.

    `frameworks` says with what the policies really learn, and its version.
    Classes and functions in the config are named `module:name`, the form that a config takes.
    """
    return {
        "algorithm": trainer.definition.name,
        "config": jsonable(trainer.config.flat()),
        "seed": trainer.seed,
        "origin": trainer.origin,
        "frameworks": names_and_versions(trainer.workers.learners),
        "provenance": provenance(),
    }


def provenance() -> dict[str, Any]:
    """Versions, machine, command line, time and, inside a git repository, its commit."""
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "argv": list(sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": _versions(),
        "git_commit": _git_commit(),
    }


def write_params(directory: Path, params: Mapping[str, Any]) -> Path:
    """Write `directory/params.json`; a reader sees the old file or the new one."""
    path, draft = directory / "params.json", directory / ".params.json.new"
    directory.mkdir(parents=True, exist_ok=True)
    draft.write_text(to_json(dict(params), indent=1) + "\n")
    return draft.replace(path)


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    """The commit of the current directory, with `-dirty` where files were changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
