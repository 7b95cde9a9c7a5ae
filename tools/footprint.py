"""Size and import time of each bare wheel: the table in README.md and the limits on it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- footprint: begin -->", "<!-- footprint: end -->"
MOST_MEGABYTES = {"rl-sample": 3.0, "rl-policy": 10.0}
MOST_TIMES_NUMPY = {"rl-sample": 1.3}
SIZE_TOLERANCE = 0.1
TIME_TOLERANCE = 1.5
"""Machines differ, so a measured ratio may be this many times the published one, or part of it."""
TIME_SLACK = 0.2
"""Differences below this are a few milliseconds."""


@dataclass(frozen=True)
class Footprint:
    """What installing one bare wheel costs beside NumPy."""

    own_megabytes: float
    megabytes: float
    times_numpy: float

    @classmethod
    def of(cls, seen: dict[str, Any]) -> Footprint:
        """From what tools/probe.py saw."""
        return cls(
            own_megabytes=round(seen["own_bytes"] / 1e6, 2),
            megabytes=round(seen["bytes"] / 1e6, 1),
            times_numpy=round(seen["seconds"] / seen["numpy_seconds"], 2),
        )

    def __str__(self) -> str:
        return (
            f"{self.own_megabytes} MB itself, {self.megabytes} MB beyond NumPy in all, "
            f"imports in {self.times_numpy} × NumPy's time"
        )


def table(footprints: dict[str, Footprint]) -> str:
    """The Markdown table, markers included."""
    rows = [
        f"| {name} | {it.own_megabytes} MB | {it.megabytes} MB | {it.times_numpy} |"
        for name, it in footprints.items()
    ]
    head = [
        "| bare wheel | itself | with what it requires, beyond NumPy | import time ÷ NumPy's |",
        "|---|---|---|---|",
    ]
    return "\n".join([BEGIN, *head, *rows, END])


def published(text: str) -> dict[str, Footprint]:
    """The table as it stands in a README."""
    body = text.partition(BEGIN)[2].partition(END)[0]
    row = re.compile(r"^\| ([a-z-]+) \| ([\d.]+) MB \| ([\d.]+) MB \| ([\d.]+) \|$", re.MULTILINE)
    return {name: Footprint(*map(float, numbers)) for name, *numbers in row.findall(body)}


def replace_table(path: Path, footprints: dict[str, Footprint]) -> None:
    """Write the measured table between the markers of a README."""
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path.name} has no lines `{BEGIN}` and `{END}` to write between")
    path.write_text(before + table(footprints) + after)


def limit_problems(name: str, measured: Footprint) -> list[str]:
    """Where a package is larger or slower to import than it may ever be."""
    problems = []
    most = MOST_MEGABYTES.get(name)
    if most is not None and measured.megabytes >= most:
        problems.append(f"{name}: installs {measured.megabytes} MB beyond NumPy; limit {most} MB")
    slowest = MOST_TIMES_NUMPY.get(name)
    if slowest is not None and measured.times_numpy > slowest:
        problems.append(f"{name}: import takes {measured.times_numpy} × NumPy's; limit {slowest} ×")
    return problems


def readme_problems(name: str, measured: Footprint, stated: Footprint | None) -> list[str]:
    """Where the README's row is not what was measured."""
    mend = "; `nox -s release_check -- --write` rewrites the table"
    if stated is None:
        return [f"{name}: README.md has no row on its footprint{mend}"]
    problems = []
    for what, now, then in (
        ("itself", measured.own_megabytes, stated.own_megabytes),
        ("installs beyond NumPy", measured.megabytes, stated.megabytes),
    ):
        if abs(now - then) > max(SIZE_TOLERANCE * then, 0.05):
            problems.append(f"{name}: {what} {now} MB, README.md says {then} MB{mend}")
    now, then = measured.times_numpy, stated.times_numpy
    alike = then / TIME_TOLERANCE <= now <= then * TIME_TOLERANCE
    if not alike and abs(now - then) > TIME_SLACK:
        problems.append(
            f"{name}: import takes {measured.times_numpy} × NumPy's, "
            f"README.md says {stated.times_numpy} ×{mend}"
        )
    return problems
