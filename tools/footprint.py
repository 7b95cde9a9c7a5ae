"""Size and import work of each bare wheel: the table in README.md and the limits on it.

Work is counted in function calls (`sys.setprofile`), which other work on the machine cannot change;
`benchmarks/startup.py` has the times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- footprint: begin -->", "<!-- footprint: end -->"
MOST_MEGABYTES = {"rl-sample": 3.0, "rl-policy": 10.0}
MOST_TIMES_NUMPY = {"rl-sample": 1.3}
TOLERANCE = 0.1


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
            times_numpy=round(seen["import_calls"] / seen["numpy_import_calls"], 2),
        )

    def __str__(self) -> str:
        return (
            f"{self.own_megabytes} MB itself, {self.megabytes} MB beyond NumPy in all, "
            f"imports with {self.times_numpy} × NumPy's function calls"
        )


def table(footprints: dict[str, Footprint]) -> str:
    """The Markdown table, markers included."""
    rows = [
        f"| {name} | {it.own_megabytes} MB | {it.megabytes} MB | {it.times_numpy} |"
        for name, it in footprints.items()
    ]
    head = [
        "| bare wheel | itself | with what it requires, beyond NumPy | import's calls ÷ NumPy's |",
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
        problems.append(f"{name}: import is {measured.times_numpy} × NumPy's; limit {slowest} ×")
    return problems


def readme_problems(name: str, measured: Footprint, stated: Footprint | None) -> list[str]:
    """Where the README's row is not what was measured."""
    mend = "; `nox -s release_check -- --write` rewrites the table"
    if stated is None:
        return [f"{name}: README.md has no row on its footprint{mend}"]
    problems = []
    for what, now, then, unit in (
        ("itself", measured.own_megabytes, stated.own_megabytes, "MB"),
        ("installs beyond NumPy", measured.megabytes, stated.megabytes, "MB"),
        ("import is", measured.times_numpy, stated.times_numpy, "× NumPy's"),
    ):
        if abs(now - then) > max(TOLERANCE * then, 0.05):
            problems.append(f"{name}: {what} {now} {unit}, README.md says {then} {unit}{mend}")
    return problems
