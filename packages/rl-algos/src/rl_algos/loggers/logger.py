"""What a logger is, and several of them as one that never ends a training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol


class Logger(Protocol):
    """Takes one result after another."""

    def log(self, result: Mapping[str, Any]) -> None:
        """Take what `Trainer.train` returned; the result is only read."""

    def close(self) -> None:
        """Finish; nothing is logged after it."""


class Loggers:
    """Several loggers as one. Whichever raises is left out from then on, with one warning.

    A full disk or a lost network so costs the log, not the training.
    """

    def __init__(self, loggers: Iterable[Logger]) -> None:
        self._loggers = list(loggers)

    def log(self, result: Mapping[str, Any]) -> None:
        """Hand the result to each of them."""
        for logger in tuple(self._loggers):
            self._attempt(logger, partial(logger.log, result))

    def close(self) -> None:
        """Close each of them, once."""
        for logger in tuple(self._loggers):
            self._attempt(logger, logger.close)
        self._loggers.clear()

    def _attempt(self, logger: Logger, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self._loggers.remove(logger)
            with suppress(Exception):  # what it holds open; that it fails is known already
                logger.close()
            warnings.warn(
                f"{logger!r} failed and is left out from now on, training goes on: {error!r}",
                RuntimeWarning,
                stacklevel=3,
            )
