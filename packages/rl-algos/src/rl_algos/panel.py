"""The lines of the live display, each of them made to fit the terminal's width."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from rich.text import Text

from rl_algos.progress import STAGES, Progress
from rl_algos.stopping import BUDGETS, value_of

BLOCKS = "▁▂▃▄▅▆▇█"
LABEL, GAP, FIGURE, WIDEST, TIME_BAR = 10, 2, 7, 60, 100
"""Columns: labels on the left, between figures, a figure, the longest bars and curve."""
COLOURS = dict(
    zip(
        STAGES,
        (
            *("green", "cyan", "blue", "magenta", "white"),
            *("yellow", "red", "bright_blue", "bright_black"),
        ),
        strict=True,
    )
)
LOSSES = ("policy_loss", "vf_loss", "entropy", "kl", "clip_fraction", "vf_explained_var")
"""What is shown of a policy's `learner_stats`, where it is there."""
POLICIES = 4
"""Policies that are shown one by one."""


def panel(progress: Progress, result: Mapping[str, Any], width: int) -> Text:
    """All lines as one text; none is wider than `width`."""
    bar = max(10, min(WIDEST, width - LABEL - 32))
    lines = [
        *_curve(progress, result, bar),
        *_targets(progress, result, bar),
        *_so_far(progress, result, width),
        *_time(progress, width),
        *_policies(result, width),
        *_evaluation(progress),
    ]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n", no_wrap=True, overflow="crop").join(lines)


def _curve(progress: Progress, result: Mapping[str, Any], bar: int) -> Iterable[Text]:
    if not progress.curve:
        yield _labelled("return", Text("no episode has finished yet", "dim"))
        return
    now = number(result.get("episode_reward_mean"))
    curve = sparkline(progress.curve, bar)
    figures = ("  best ", "dim"), number(progress.best)
    yield _labelled("return", Text.assemble((f"{curve} ", "green"), (now, "bold"), *figures))


def _targets(progress: Progress, result: Mapping[str, Any], bar: int) -> Iterable[Text]:
    """A bar for each goal and each budget; beside budgets the time that is left."""
    for key, target in sorted(progress.stop.items(), key=lambda item: item[0] in BUDGETS):
        budget, value = key in BUDGETS, value_of(result, key)
        start = 0.0 if budget else progress.first.get(key, 0.0)
        part = (value - start) / (target - start) if target > start else 1.0
        now, end = number(value), f"{target:,g}"
        if budget:
            now, end = f"{value:,.0f}", f"{target:,.0f}"
        if key == "time_total_s":
            now, end = clock(value), clock(target)
        line = progress_bar(part, bar).append(f" {now} / {end}")
        left = progress.seconds_to(key, target - value) if budget else None
        if left is not None:
            line.append(f"  {clock(left)} left", "bold")
        if key not in ("timesteps_total", "time_total_s", "episode_reward_mean"):
            line.append(f"  {key}", "dim")
        yield _labelled("budget" if budget else "goal", line)


def _so_far(progress: Progress, result: Mapping[str, Any], width: int) -> Iterable[Text]:
    figures = {
        "iteration": f"{result['training_iteration']:,}",
        "steps": f"{result['timesteps_total']:,}",
        "episodes": f"{result['episodes_total']:,}",
        "steps/s": f"{progress.steps_per_s():,.0f}",
        "time": clock(result["time_total_s"]),
    }
    cells = [Text.assemble((f"{name} ", "dim"), value) for name, value in figures.items()]
    yield from _grid("so far", cells, width)


def _time(progress: Progress, width: int) -> Iterable[Text]:
    """One bar cut into stages, and what each colour is."""
    shares = progress.shares()
    room = max(10, min(TIME_BAR, width - LABEL))
    ends = [round(room * part) for part in accumulate(shares.values())]
    bar = Text()
    for stage, (start, end) in zip(shares, pairwise([0, *ends]), strict=True):
        bar.append("█" * (end - start), COLOURS[stage])
    yield _labelled("time", bar)
    cells = [
        Text.assemble((stage, COLOURS[stage]), f" {100 * share:2.0f}%")
        for stage, share in shares.items()
    ]
    idle = progress.idle()
    if idle is not None:
        cells.append(Text(f"workers idle {100 * idle:2.0f}%", "dim"))
    yield from _grid("", cells, width)


def _policies(result: Mapping[str, Any], width: int) -> Iterable[Text]:
    policies = result["info"]["learner"]
    for policy_id, learned in list(policies.items())[:POLICIES]:
        stats = learned.get("learner_stats", {})
        cells = [
            Text.assemble((f"{name} ", "dim"), number(stats[name]).ljust(FIGURE))
            for name in LOSSES
            if name in stats
        ]
        yield from _grid("learner" if len(policies) == 1 else str(policy_id), cells, width)
    if len(policies) > POLICIES:
        yield _labelled("", Text(f"and {len(policies) - POLICIES} more", "dim"))


def _evaluation(progress: Progress) -> Iterable[Text]:
    if progress.evaluation is None:
        return
    iteration, found = progress.evaluation
    mean = number(found.get("episode_reward_mean"))
    text = Text.assemble(("return ", "dim"), (mean, "bold"))
    if "episode_reward_min" in found:
        low, high = number(found["episode_reward_min"]), number(found["episode_reward_max"])
        text.append(f"  {low} to {high}", "dim")
    yield _labelled("evaluated", text.append(f"  iteration {iteration:,}", "dim"))


def _grid(label: str, cells: Sequence[Text], width: int) -> Iterable[Text]:
    """Cells in columns, on as few lines as they fit on, equally many on each."""
    for lines in range(1, len(cells) + 1):
        count = -(-len(cells) // lines)
        columns = [max(cell.cell_len for cell in cells[i::count]) for i in range(count)]
        if count == 1 or LABEL + sum(columns) + GAP * (count - 1) <= width:
            break
    for first in range(0, len(cells), count):
        line = Text()
        for cell, column in zip(cells[first : first + count], columns, strict=False):
            line.append(" " * GAP if line else "").append_text(cell)
            line.append(" " * (column - cell.cell_len))
        line.rstrip()
        yield _labelled("" if first else label, line)


def _labelled(label: str, text: Text) -> Text:
    short = label if len(label) < LABEL else label[: LABEL - 2] + "…"
    return Text.assemble((short.ljust(LABEL), "dim"), text)


def progress_bar(part: float, width: int) -> Text:
    """A line that is filled from the left; `part` is 0 to 1."""
    full = round(width * max(0.0, min(1.0, part))) if math.isfinite(part) else 0
    colour = "green" if full == width else "cyan"
    return Text.assemble(("━" * full, colour), ("─" * (width - full), "bright_black"))


def sparkline(values: Sequence[float], width: int) -> str:
    """`▁▂▅█`: at most `width` blocks, each the mean of its share of the values."""
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((mean - low) * scale)] for mean in means)


def number(value: float | None) -> str:
    """About three digits of it: `1,234`, `21.2`, `0.013`, `4.1e-05`, `–` for none."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 10 or value == 0:
        return f"{value:.1f}"
    if size < 0.001:
        return f"{value:.1e}"
    return f"{value:.2f}" if size >= 1 else f"{value:.3f}"


def clock(seconds: float) -> str:
    """`0:05`, `12:34`, `1:02:03`, `2 d 03:04`."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24:02d}:{minutes:02d}"
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
