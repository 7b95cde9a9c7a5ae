"""One run: train, log, save every so often, and end well whatever happens."""

from __future__ import annotations

import logging
import shlex
import warnings
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from rich.console import Console

from rl_algos.display import make_display
from rl_algos.interrupts import Interrupts
from rl_algos.loggers import Loggers
from rl_algos.runs import Settings
from rl_algos.stopping import check_keys, goals, met, reached, value_of
from rl_algos.trainer import Trainer

log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """How a run ended."""

    result: dict[str, Any]
    """The last result; empty where there was none."""
    directory: Path
    """The run's: figures and checkpoints."""
    checkpoint: Path | None
    """The newest one, where one was saved."""
    reached: bool
    """False where there was a goal that was not reached."""
    interrupted: bool
    """Whether somebody ended it, by Ctrl-C or SIGTERM."""


class Run:
    """A trainer at work in its directory.

    Attributes:
        result: the last one; empty before there is one.
        checkpoint: the newest one, or None.
    """

    def __init__(
        self,
        trainer: Trainer,
        directory: Path,
        settings: Settings,
        console: Console,
        loggers: Loggers,
        *,
        resumed: Path | None = None,
    ) -> None:
        """`resumed` is the checkpoint that `trainer` was restored from."""
        self.checkpoint = resumed
        self.result: dict[str, Any] = dict(trainer.last_result or {})
        self._trainer = trainer
        self._directory = directory
        self._settings = settings
        self._console = console
        self._loggers = loggers
        self._saved_at = trainer.iteration

    def go(self) -> Outcome:
        """Train until the stop criteria are met, and say how it ended.

        A first Ctrl-C or SIGTERM ends it after the iteration under way. After an error what was
        learned is saved, unless it is that numbers are none any more.
        """
        at_once = False
        with Interrupts() as interrupts:
            try:
                self._train(interrupts)
                if interrupts.asked or self._settings.checkpoint_at_end:
                    self._save()
            except KeyboardInterrupt:
                at_once = True
            except Exception as error:
                if not isinstance(error, FloatingPointError):
                    self._save(after_error=True)
                self._say_where(more=True)
                raise
            finally:
                self._loggers.close()
        interrupted = interrupts.asked or at_once
        self._say_where(more=interrupted)
        self._say_result()
        done = reached(self.result, self._settings.stop)
        return Outcome(self.result, self._directory, self.checkpoint, done, interrupted)

    def _train(self, interrupts: Interrupts) -> None:
        trainer, settings = self._trainer, self._settings
        unchecked = True
        with make_display(self._console, settings.stop) as display:
            while not interrupts.asked:
                self.result = trainer.train()
                if unchecked:
                    check_keys(settings.stop, self.result, _evaluates(trainer))
                    unchecked = False
                self._loggers.log(self.result)
                display.log(self.result)
                log.debug("iteration %d: %s", trainer.iteration, self.result["timers"])
                if met(self.result, settings.stop):
                    return
                if settings.checkpoint_freq and trainer.iteration % settings.checkpoint_freq == 0:
                    self._save()

    def _save(self, after_error: bool = False) -> None:
        """Save, unless it is saved; a failure costs the checkpoint, not the training."""
        trainer, settings, started = self._trainer, self._settings, perf_counter()
        if trainer.iteration == self._saved_at:
            return
        keep = None if after_error else settings.keep  # a doubtful one replaces no good one
        try:
            self.checkpoint = trainer.save(self._directory, keep=keep, score_by=settings.score_by)
        except Exception as error:
            if not (after_error or isinstance(error, OSError | ValueError)):
                raise
            warnings.warn(
                f"iteration {trainer.iteration} is not saved: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
            return
        self._saved_at = trainer.iteration
        log.info("saved %s in %.0f ms", self.checkpoint, 1e3 * (perf_counter() - started))

    def _say_where(self, more: bool = False) -> None:
        """Say where the newest checkpoint is, and how to go on from it."""
        if self.checkpoint is None:
            self._console.print("nothing was saved", soft_wrap=True)
            return
        self._console.print(f"checkpoint: {self.checkpoint}", soft_wrap=True)
        if more:
            self._console.print(f"go on with: {self.how_to_resume()}", soft_wrap=True)

    def how_to_resume(self) -> str:
        """The command that goes on with this run."""
        if self._settings.algorithm is None:  # known to the program only that made it
            return f'rl_algos.resume("{self._directory}", algorithm=…)'
        return f"rl train --resume {shlex.quote(str(self._directory))}"

    def _say_result(self) -> None:
        """Say which goals were reached; nothing where there was none."""
        result, stop = self.result, self._settings.stop
        if not result:
            return
        hit = [key for key in met(result, stop) if key in goals(stop)]
        spent = f"{result['timesteps_total']:,} steps, {result['time_total_s']:.1f} s"
        for key in hit or goals(stop):
            value, target = value_of(result, key), stop[key]
            word, style = ("reached", "green") if hit else ("not reached", "red")
            line = f"{key} {value:,.1f}: {target:,} {word} in {spent}"
            self._console.print(line, style=style, soft_wrap=True)


def _evaluates(trainer: Trainer) -> bool:
    with suppress(ValueError):
        return bool(trainer.config["evaluation_interval"])
    return False
