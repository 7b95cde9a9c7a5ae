"""A run's directory: where it is, what the run is to do, and that nobody else writes there."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl_algos.trainer import Trainer

SETTINGS, LOCK = "run.json", ".lock"


class RunError(ValueError):
    """A directory that no run can write to, or that is none of a run; says what to do."""


@dataclass(frozen=True)
class Settings:
    """What a run does besides training; stored with it, so that resuming it does the same."""

    algorithm: str | None = None
    """What `get_algorithm` finds it by; None where only the program that made it knows it."""
    stop: Mapping[str, float] = field(default_factory=dict)
    """{key of a result: value at which training ends}."""
    checkpoint_freq: int = 0
    """Iterations between two checkpoints; 0 saves at the end only."""
    checkpoint_at_end: bool = True
    keep: int | None = None
    """Checkpoints that stay, the newest or those best by `score_by`; None keeps all."""
    score_by: str | None = None
    """Key of a result, larger is better."""
    loggers: tuple[Any, ...] = ("json", "csv", "tensorboard")

    def __post_init__(self) -> None:
        for name, least in (("checkpoint_freq", 0), ("keep", 1)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise RunError(f"{name} is a whole number of at least {least}, not {value!r}")

    def write(self, directory: Path) -> None:
        """Write `run.json`; loggers that are no names are left out."""
        named = [name for name in self.loggers if isinstance(name, str)]
        draft = directory / f".{SETTINGS}.new"
        draft.write_text(json.dumps({**asdict(self), "loggers": named}, indent=1) + "\n")
        draft.replace(directory / SETTINGS)

    @classmethod
    def read(cls, directory: Path) -> Settings:
        """What `write` wrote.

        Raises:
            RunError: the file is damaged.
        """
        try:
            stored = json.loads((directory / SETTINGS).read_text())
            known = {name: stored[name] for name in (f.name for f in fields(cls)) if name in stored}
            return cls(**{**known, "loggers": tuple(known.get("loggers", cls.loggers))})
        except (ValueError, TypeError, AttributeError) as error:
            raise RunError(
                f"{directory / SETTINGS} is damaged ({error}): copy one of the "
                "checkpoints to another directory and resume it from there, with its stop"
            ) from error


def run_of(checkpoint: Path) -> Path | None:
    """The run's directory that a checkpoint lies in; None where it lies in none."""
    parent = checkpoint.absolute().parent
    return checkpoint.parent if (parent / SETTINGS).exists() else None


def goes_on_in(path: Path) -> Path | None:
    """The run whose directory resuming `path` goes on in: it is that, or its newest checkpoint."""
    if (path / SETTINGS).exists():
        return path
    run = run_of(path)
    newest = max((found.name for found in run.glob("checkpoint_*")), default="") if run else ""
    return run if path.name == newest else None


def check_place(local_dir: Path) -> None:
    """Raise RunError where no run can be put into `local_dir`; nothing is made yet."""
    if (local_dir / SETTINGS).exists():
        raise RunError(
            f"{local_dir} is a run itself: go on with it (resume), or give its parent directory "
            f"{local_dir.absolute().parent} to put a new run beside it"
        )
    nearest = next(p for p in [local_dir.absolute(), *local_dir.absolute().parents] if p.exists())
    if not nearest.is_dir():
        raise RunError(f"results cannot go to {local_dir}: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunError(
            f"results cannot go to {local_dir}: {nearest} may not be written to; choose another "
            "place with local_dir (--local-dir)"
        )


def env_name(trainer: Trainer) -> str:
    """What to call a trainer's environment: its id, or its class or function's name."""
    env = trainer.config["env"]
    return env if isinstance(env, str) else str(getattr(env, "__name__", type(env).__name__))


def new_directory(local_dir: Path, trainer: Trainer) -> Path:
    """Make `local_dir/PPO_CartPole-v1_2025-01-31_12-00-00_1a2b`.

    Raises:
        RunError: it cannot be written.
    """
    name = env_name(trainer)
    safe = "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in name)
    started = time.strftime("%Y-%m-%d_%H-%M-%S")
    directory = local_dir / f"{trainer.definition.name}_{safe}_{started}_{secrets.token_hex(2)}"
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"results cannot go to {local_dir}: {error.strerror}") from error
    return directory


def discard(directory: Path) -> None:
    """Remove the directory of a run that never began, and the one it is in if that is empty."""
    if not (directory / SETTINGS).exists():
        shutil.rmtree(directory, ignore_errors=True)
        with suppress(OSError):
            directory.parent.rmdir()


def copy_history(run: Path, directory: Path) -> None:
    """Copy what loggers wrote in one run to another; its checkpoints stay where they are."""
    for file in run.iterdir():
        if file.is_file() and not file.name.startswith(".") and file.name != SETTINGS:
            shutil.copy2(file, directory)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes from writing to a run; a process that dies lets go of it.

    Raises:
        RunError: another run is writing there, or it may not be written to.
    """
    try:
        handle = (directory / LOCK).open("a+")
    except OSError as error:
        raise RunError(f"{directory} cannot be written to: {error.strerror}") from error
    with handle:
        try:
            _lock(handle)
        except OSError:
            handle.seek(0)
            raise RunError(
                f"another run (process {handle.read() or 'unknown'}) is writing to {directory}: "
                "wait until it has ended, or end it"
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def _lock(handle: IO[str]) -> None:
    """Take the lock of an open file, or raise OSError at once."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
