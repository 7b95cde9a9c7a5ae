"""What a person sees while training: a live panel in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from time import perf_counter
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

BLOCKS = "▁▂▃▄▅▆▇█"
LINE_SECONDS, PANEL_SECONDS = 2.0, 0.1
"""Least time between two lines, and between two drawings of the panel."""


class LiveDisplay:
    """One panel that is redrawn with every result: the return's curve, figures and progress."""

    def __init__(self, console: Console, stop: Mapping[str, float]) -> None:
        self._stop = stop
        self._curve: list[float] = []
        self._live = Live(console=console, auto_refresh=False)
        self._console = console
        self._drawn = -math.inf
        self._result: Mapping[str, Any] | None = None

    def show(self, result: Mapping[str, Any]) -> None:
        """Redraw the panel with a new result, unless it was just drawn."""
        self._result = result
        if "episode_reward_mean" in result:
            self._curve.append(result["episode_reward_mean"])
        if perf_counter() - self._drawn >= PANEL_SECONDS:
            self._live.update(self._panel(result), refresh=True)
            self._drawn = perf_counter()

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._result is not None:
            self._live.update(self._panel(self._result), refresh=True)
        self._live.stop()

    def _panel(self, result: Mapping[str, Any]) -> Group:
        width = max(10, min(60, self._console.width - 20))
        figures = Table.grid(padding=(0, 3))
        for left, right in _pairs(list(describe(result).items())):
            figures.add_row(dim(left[0]), left[1], dim(right[0]), right[1])
        parts: list[Any] = []
        if self._curve:
            curve = sparkline(self._curve, width)
            parts.append(Text.assemble(("return  ", "dim"), (curve, "green")))
        parts.append(figures)
        for key, target in self._stop.items():
            if key == "timesteps_total" and target > 0:
                row = Table.grid(padding=(0, 1))
                bar = ProgressBar(total=target, completed=result[key], width=width)
                row.add_row(dim("budget "), bar, f"{result[key]:,} / {target:,.0f}")
                parts.append(row)
        return Group(*parts)


class PlainDisplay:
    """The first result, then one line every few seconds, then the last result."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = -math.inf
        self._held: Mapping[str, Any] | None = None

    def show(self, result: Mapping[str, Any]) -> None:
        """Print a line, unless the last one is recent."""
        self._held = result
        if perf_counter() - self._last >= LINE_SECONDS:
            self._print()

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *error: object) -> None:
        if self._held is not None:
            self._print()

    def _print(self) -> None:
        assert self._held is not None
        line = "  ".join(f"{name} {value}" for name, value in describe(self._held).items())
        self._console.print(line, soft_wrap=True)
        self._last, self._held = perf_counter(), None


def make_display(console: Console, stop: Mapping[str, float]) -> LiveDisplay | PlainDisplay:
    """Live where the console is a terminal, lines where it is a file or a pipe."""
    return LiveDisplay(console, stop) if console.is_terminal else PlainDisplay(console)


def describe(result: Mapping[str, Any]) -> dict[str, str]:
    """The figures of a result that are worth a glance, as text."""
    seconds = max(result["time_this_iter_s"], 1e-9)
    rate = result["num_env_steps_sampled_this_iter"] / seconds
    figures = {
        "iteration": str(result["training_iteration"]),
        "steps": f"{result['timesteps_total']:,}",
        "return": _number(result.get("episode_reward_mean")),
        "best": _number(result.get("episode_reward_max")),
        "episodes": f"{result['episodes_total']:,}",
        "steps/s": f"{rate:,.0f}",
        "time": f"{result['time_total_s']:.1f} s",
    }
    for policy_id, learned in result["info"]["learner"].items():
        stats = learned["learner_stats"]
        prefix = "" if len(result["info"]["learner"]) == 1 else f"{policy_id} "
        for name in ("entropy", "kl", "vf_explained_var"):
            if name in stats:
                figures[prefix + name.replace("vf_explained_var", "value fit")] = (
                    f"{stats[name]:.3f}"
                )
    return figures


def dim(text: str) -> Text:
    """A label, less bright than its value."""
    return Text(text, style="dim")


def sparkline(values: list[float], width: int) -> str:
    """`▁▂▅█`: at most `width` blocks, each the mean of its share of the values."""
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((mean - low) * scale)] for mean in means)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _pairs(items: list[tuple[str, str]]) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    padded = [*items, ("", "")]
    return list(zip(padded[0::2], padded[1::2], strict=False))
