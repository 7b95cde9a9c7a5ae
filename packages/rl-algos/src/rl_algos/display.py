"""What a person sees while training: a live panel in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from rl_algos.panel import LOSSES, clock, number, panel
from rl_algos.progress import Progress

LINE_SECONDS = 2.0
"""Least time between two lines."""
PANEL_SECONDS, DRAWING_SHARE = 0.25, 0.005
"""Least time between two drawings, and the part of all time that they may take together."""


class LiveDisplay:
    """One panel that is drawn anew as results come: curve, progress, where the time goes, losses.

    It has no thread of its own, and leaves out drawings that would take more than
    `DRAWING_SHARE` of the time, so that a slow terminal does not slow training down.
    """

    def __init__(self, console: Console, stop: Mapping[str, float]) -> None:
        waiting = Text("waiting for the first result …", "dim")
        self._live = Live(waiting, console=console, auto_refresh=False, vertical_overflow="crop")
        self._console = console
        self._progress = Progress(stop)
        self._next = -math.inf
        self._result: Mapping[str, Any] | None = None

    def log(self, result: Mapping[str, Any]) -> None:
        """Take in a result, and draw the panel unless it has just been drawn."""
        self._result = result
        self._progress.add(result)
        if perf_counter() >= self._next:
            self._draw()

    def close(self) -> None:
        """Draw the last result and leave it on the screen."""
        if self._live.is_started:
            if self._result is not None:
                self._draw()
            self._live.stop()

    def __enter__(self) -> LiveDisplay:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _draw(self) -> None:
        assert self._result is not None
        began = perf_counter()
        text = panel(self._progress, self._result, self._console.width)
        self._live.update(text, refresh=True)
        now = perf_counter()
        self._next = now + max(PANEL_SECONDS, (now - began) / DRAWING_SHARE)


class PlainDisplay:
    """The first result, then one line every few seconds, then the last result."""

    def __init__(self, console: Console, stop: Mapping[str, float]) -> None:
        self._console = console
        self._progress = Progress(stop)
        self._last = -math.inf
        self._held: Mapping[str, Any] | None = None

    def log(self, result: Mapping[str, Any]) -> None:
        """Print a line, unless the last one is recent."""
        self._progress.add(result)
        self._held = result
        if perf_counter() - self._last >= LINE_SECONDS:
            self._print()

    def close(self) -> None:
        """Print the last result, unless it is printed."""
        if self._held is not None:
            self._print()

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _print(self) -> None:
        assert self._held is not None
        figures = describe(self._progress, self._held)
        line = "  ".join(f"{name} {value}" for name, value in figures.items())
        self._console.print(line, soft_wrap=True)
        self._last, self._held = perf_counter(), None


def make_display(console: Console, stop: Mapping[str, float]) -> LiveDisplay | PlainDisplay:
    """Live where the console is a terminal, lines where it is a file or a pipe."""
    return LiveDisplay(console, stop) if console.is_terminal else PlainDisplay(console, stop)


def describe(progress: Progress, result: Mapping[str, Any]) -> dict[str, str]:
    """The figures of a result that are worth a line, as text."""
    figures = {
        "iteration": str(result["training_iteration"]),
        "steps": f"{result['timesteps_total']:,}",
        "return": number(result.get("episode_reward_mean")),
        "best": number(progress.best),
        "episodes": f"{result['episodes_total']:,}",
        "steps/s": f"{progress.steps_per_s():,.0f}",
        "time": clock(result["time_total_s"]),
    }
    left = progress.seconds_left(result)
    if left is not None:
        figures["left"] = clock(left)
    if "evaluation" in result:
        figures["evaluation"] = number(result["evaluation"].get("episode_reward_mean"))
    policies = result["info"]["learner"]
    for policy_id, learned in policies.items():
        prefix = "" if len(policies) == 1 else f"{policy_id} "
        stats = learned.get("learner_stats", {})
        figures.update({prefix + k: number(stats[k]) for k in LOSSES[2:] if k in stats})
    return figures
