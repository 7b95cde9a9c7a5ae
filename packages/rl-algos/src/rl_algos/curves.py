"""Learning curves: runs of the same settings as one line with its range, others beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rl_algos.history import Run, find_runs, number, read_run, series
from rl_algos.runs import RunError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by colour-blind readers too (Okabe and Ito, 2008), darkest contrasts first."""
DASHES: tuple[Any, ...] = ("solid", (0, (6, 2)), (0, (6, 2, 1, 2)))
"""Line styles, one for each time the colours are through."""
SECONDS = ("time_total_s", "time_this_iter_s")
"""Keys whose axis is in seconds, minutes or hours."""
NAMES = {
    "timesteps_total": "environment steps",
    "time_total_s": "training time",
    "training_iteration": "iteration",
    "episode_reward_mean": "return",
    "episode_reward_max": "highest return",
    "episode_reward_min": "lowest return",
    "episode_len_mean": "episode length (env steps)",
    "episodes_total": "episodes",
    "vf_explained_var": "explained variance of the values",
    "entropy": "entropy (nats)",
    "kl": "KL divergence per update (nats)",
    "clip_fraction": "clipped share of the batch",
    "cur_lr": "learning rate",
}
"""What an axis is called, where the key alone would not do."""
NOT_SETTINGS = ("seed", "log_level", "env")
"""Config keys in which runs of the same line may differ."""


@dataclass(frozen=True)
class Band:
    """The mean of several runs at each `x`, and their range."""

    x: np.ndarray
    """[P] float64: every x at which one of the runs has a value."""
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    """[P] float64: over those runs that got so far, interpolated between their values."""
    whole: np.ndarray
    """[P] bool: all runs have a value there; False before the first or after the last of one."""


@dataclass(frozen=True)
class Curve:
    """Runs of the same algorithm, environment and settings."""

    label: str
    runs: int
    band: Band
    evaluation: Band | None = None
    """The same figure of the evaluation episodes, where there were any."""


def plot(
    *runs: str | Path,
    to: str | Path = "curves.png",
    key: str = "episode_reward_mean",
    x: str = "timesteps_total",
    smooth: int = 1,
) -> Path:
    """Draw learning curves into a file.

    Args:
        runs: directories of runs, or directories that hold some.
        to: the picture; its ending says which kind (png, pdf, svg, …).
        key: what is drawn: a key of a result, a path (`timers/learn_time_ms`), or its end (`kl`).
        x: over what: `timesteps_total`, `time_total_s` or `training_iteration`.
        smooth: each value is the mean of so many last ones of its run.

    Returns:
        Where the picture is.

    Raises:
        RunError: there is no such run or key.
        ImportError: matplotlib is not installed.
    """
    check_matplotlib()
    if not runs:
        raise RunError("plot what? Give at least one run's directory")
    directories = dict.fromkeys(found for run in runs for found in find_runs(run))
    read = [read_run(path) for path in directories]
    envs = {run.env for run in read}
    title = envs.pop() if len(envs) == 1 else ""  # else the labels name them
    curves = make_curves(read, key, x, smooth)
    figure = draw(curves, key, x, f"{curves[0].label} on {title}" if len(curves) == 1 else title)
    to = Path(to)
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(to, dpi=200)
    except ValueError as error:  # matplotlib's, which lists the formats
        raise RunError(f"{to} cannot be written: {error}") from error
    return to


def make_curves(runs: Sequence[Run], key: str, x: str, smooth: int = 1) -> list[Curve]:
    """One curve for each (algorithm, environment, settings) among the runs, in their order.

    Raises:
        RunError: a run has no such key, or it is never a number.
        ValueError: `smooth` is less than 1.
    """
    if smooth < 1:
        raise ValueError(f"smooth is a number of results, at least 1: {smooth}")
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        settings = sorted((k, repr(v)) for k, v in run.config.items() if k not in NOT_SETTINGS)
        groups.setdefault((run.algorithm, run.env, *settings), []).append(run)
    labels = label([members[0] for members in groups.values()])
    curves = []
    for name, members in zip(labels, groups.values(), strict=True):
        band = average([points(run, key, x, smooth) for run in members])
        tested = [p for run in members if len((p := evaluated(run, key, x))[0])]
        curves.append(Curve(name, len(members), band, average(tested) if tested else None))
    return curves


def points(run: Run, key: str, x: str, smooth: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(x [N], smoothed values [N]) of a run, rows without a finite value left out."""
    at, values = np.array(series(run.rows, x)), np.array(series(run.rows, key))
    there = np.isfinite(values) & np.isfinite(at)
    if not there.any():
        raise RunError(f"{run.directory}: {key!r} is never a number")
    return at[there], moving_mean(values[there], smooth)


def evaluated(run: Run, key: str, x: str) -> tuple[np.ndarray, np.ndarray]:
    """(x [N], values [N]) of the evaluations during a run; empty where there were none."""
    rows = [row for row in run.rows if isinstance(row.get("evaluation"), Mapping)]
    found = [(number(row.get(x)), number(row["evaluation"].get(key))) for row in rows]
    pairs = np.array([pair for pair in found if np.isfinite(pair).all()]).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """[N] the mean of each value and the `window` - 1 before it, of fewer at the start."""
    return np.array(
        [values[max(0, end - window) : end].mean() for end in range(1, len(values) + 1)]
    )


def average(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band:
    """Mean and range of several (x [N], values [N]) on the union of their x."""
    grid = np.unique(np.concatenate([at for at, _ in curves]))
    rows = np.stack([np.interp(grid, *one, left=np.nan, right=np.nan) for one in curves])
    # Every x of the grid is one of some run's, so that no column is without a value.
    ranges = np.nanmean(rows, 0), np.nanmin(rows, 0), np.nanmax(rows, 0)
    return Band(grid, *ranges, whole=np.isfinite(rows).all(0))


def label(runs: Sequence[Run]) -> list[str]:
    """A name for each run: its algorithm, and the settings that tell it from the others.

    A setting that most of them share goes without saying.
    """
    several_envs = len({run.env for run in runs}) > 1
    names = [f"{run.algorithm} on {run.env}" if several_envs else run.algorithm for run in runs]
    labels = []
    for name, run in zip(names, runs, strict=True):
        alike = [other.config for n, other in zip(names, runs, strict=True) if n == name]
        told = []
        for key in telling_keys(alike):
            value, values = run.config.get(key), [config.get(key) for config in alike]
            if values.count(value) <= len(alike) / 2 or values.count(value) == 1:
                told.append(f"{key}={shortened(value)}")
        labels.append(", ".join([name, *told]))
    return labels


def telling_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Few keys in which no two of the configs are the same, those that differ most first."""
    keys = [k for k in dict.fromkeys(k for c in configs for k in c) if k not in NOT_SETTINGS]
    chosen: list[str] = []

    def kinds(key: str | None = None) -> int:
        names = chosen if key is None else [*chosen, key]
        return len({tuple(repr(config.get(name)) for name in names) for config in configs})

    while keys and kinds() < kinds(best := max(keys, key=kinds)):
        chosen.append(best)
    return chosen


def shortened(value: Any) -> str:
    """A config value as a label shows it."""
    text = "none" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"


def check_matplotlib() -> None:
    """Raise ImportError, saying what to install, where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise ImportError("plotting needs matplotlib: pip install 'rl-algos[plot]'")


def draw(curves: Sequence[Curve], key: str, x: str, title: str = "") -> Figure:
    """The figure of some curves; pyplot and its global state stay out of it.

    Raises:
        ImportError: matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    rows = math.ceil(len(curves) / _columns(curves))  # of the legend
    figure = Figure(figsize=(6.4, 3.8 + 0.2 * rows), layout="constrained")
    axes = figure.add_subplot()
    unit, seconds = time_unit(max(c.band.x[-1] for c in curves)) if x in SECONDS else ("", 1.0)
    for index, curve in enumerate(curves):
        _draw_one(axes, curve, index, seconds)
    axes.set_xlabel(axis_name(x) + unit)
    axes.set_ylabel(axis_name(key))
    _dress(axes)
    if len(axes.get_legend_handles_labels()[1]) > 1 or curves[0].runs > 1:
        # Above the axes, where no line can be.
        style: dict[str, Any] = {"frameon": False, "fontsize": 9, "ncols": _columns(curves)}
        legend = figure.legend(loc="outside upper left", title=title, **style)
        legend.set_alignment("left")
    else:
        axes.set_title(title, loc="left", fontsize=10)
    return figure


def _draw_one(axes: Axes, curve: Curve, index: int, x_unit: float) -> None:
    """A line, its range, dots where not all runs are in it, dashes for the evaluations."""
    colour, dash = COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]
    band, several = curve.band, curve.runs > 1
    name = f"{curve.label} ({curve.runs} runs: mean, range)" if several else curve.label
    at, whole = band.x / x_unit, np.where(band.whole, band.mean, np.nan)
    axes.plot(at, whole, color=colour, linestyle=dash, linewidth=1.6, label=name)
    if several:
        axes.fill_between(at, band.low, band.high, color=colour, alpha=0.2, linewidth=0)
    if not band.whole.all():
        rest = np.where(_beside(band.whole), band.mean, np.nan)
        axes.plot(at, rest, color=colour, linestyle=(0, (1, 1.5)), linewidth=1.2)
    if curve.evaluation is not None:
        tests = curve.evaluation
        axes.plot(
            tests.x / x_unit,
            tests.mean,
            color=colour,
            linestyle="--",
            linewidth=1.2,
            marker="o",
            markersize=3,
            label=f"{curve.label}, evaluation",
        )


def _beside(whole: np.ndarray) -> np.ndarray:
    """[P] bool: points not shared by all runs, and those next to them, so that no gap is left."""
    apart: np.ndarray = ~whole
    joined = apart.copy()
    joined[1:] |= apart[:-1]
    joined[:-1] |= apart[1:]
    return joined


def _dress(axes: Axes) -> None:
    """Few, round ticks with short numbers; a faint grid; no box."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for axis in (axes.xaxis, axes.yaxis):
        whole = axis is axes.xaxis and axes.get_xlim()[1] > 10  # no half iterations
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10], integer=whole))
        axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)


def short_number(value: float) -> str:
    """`950`, `20k`, `1.5M`, `−0.03`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def axis_name(key: str) -> str:
    """`return` for `episode_reward_mean`, `learn time ms` for `timers/learn_time_ms`."""
    last = key.rpartition("/")[2]
    return NAMES.get(last, last.replace("_", " "))


def time_unit(longest: float) -> tuple[str, float]:
    """(what to write behind a time axis, its seconds per unit) that suits so many seconds."""
    units = ((3 * 3600.0, " (hours)", 3600.0), (180.0, " (minutes)", 60.0))
    return next(((name, size) for least, name, size in units if longest >= least), (" (s)", 1.0))


def _columns(curves: Sequence[Curve]) -> int:
    longest = max(len(curve.label) + 24 * (curve.runs > 1) for curve in curves)
    return max(1, min(3, 84 // (longest + 6)))
