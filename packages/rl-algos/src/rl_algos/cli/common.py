"""What all commands share: consoles, errors that teach, JSON options, logging."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console

PACKAGES = ("rl_sample", "rl_policy", "rl_workers", "rl_algos", "rl_serve")
"""Whose log messages `-v` shows."""


def make_console(stderr: bool = False) -> Console:
    """A console that prints names as they are: `:Four:` is no emoji, `[x]` no markup."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def fail(message: object) -> NoReturn:
    """Print `error: message` and end with exit code 2."""
    make_console(stderr=True).print(f"error: {message}", style="red", soft_wrap=True)
    raise typer.Exit(2) from None


@contextmanager
def user_errors(verbose: int | bool = False) -> Iterator[None]:
    """Errors that a person can mend become one line and exit code 2; Ctrl-C is exit code 130.

    Warnings are one line each, too, and so are log messages.

    Args:
        verbose: how often -v was given; keeps the traceback of errors and logs more.
    """
    shown, warnings.showwarning = warnings.showwarning, _show_warning
    try:
        with logged(verbose):
            yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except _mendable() as error:
        if verbose:
            raise
        fail(error)
    except TypeError as error:
        if verbose or not _meant(error):
            raise
        fail(error)
    finally:
        warnings.showwarning = shown


def json_object(option: str, text: str) -> dict[str, Any]:
    """A JSON object given on the command line.

    Raises:
        ValueError: it is no JSON, or no object.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"""{option} {text!r} is not JSON: {error}. Write '{{"key": 1}}'"""
        ) from None
    if not isinstance(value, dict):
        raise ValueError(f"""{option} is a JSON object such as '{{"key": 1}}', not {text!r}""")
    return value


@contextmanager
def logged(verbose: int) -> Iterator[None]:
    """Meanwhile messages of our packages go to stderr: warnings, with -v information, -vv all.

    A config's `log_level` goes before it.
    """
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in PACKAGES]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(("WARN", "INFO", "DEBUG")[min(verbose, 2)])
    try:
        yield
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


class _Stderr(logging.Handler):
    """Writes to what `sys.stderr` is at that moment: a live display puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        sys.stderr.write(f"{self.format(record)}\n")


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    plain = re.sub("\x1b\\[[0-9;]*m", "", str(message))  # Gymnasium colours its warnings
    sys.stderr.write(f"warning: {plain}\n")


def _meant(error: Exception) -> bool:
    """Whether a statement `raise` of our packages made an error, which then says what to do."""
    *_, last = traceback.extract_tb(error.__traceback__)
    ours = Path(last.filename).parts[-3:-1]
    return bool(set(ours) & set(PACKAGES)) and (last.line or "").startswith("raise ")


def _mendable() -> tuple[type[Exception], ...]:
    """Errors whose message says what to do; anything else is a bug and keeps its traceback."""
    kinds: list[type[Exception]] = [ValueError, ImportError, OSError, FloatingPointError]
    workers = sys.modules.get("rl_workers")
    flow = sys.modules.get("rl_workers.flow")
    kinds += [workers.EnvError, workers.WorkerError] if workers else []
    kinds += [flow.NoExperience] if flow else []
    return tuple(kinds)
