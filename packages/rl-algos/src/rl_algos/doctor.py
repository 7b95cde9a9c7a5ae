"""`rl doctor`: what slows a run down, what keeps it back, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rl_algos.bottleneck import BOUND, STAGES, Advice, advise, bound, shares
from rl_algos.history import Run, read_run
from rl_algos.red_flags import RULES, Flag, Rule, figures, returns

BAR = 24
"""Characters of a bar that stands for the whole time."""


class Check(NamedTuple):
    """One rule and what came of it."""

    name: str
    flag: Flag | None
    why_not: str | None
    """Why the rule could not judge; None where it did."""


@dataclass(frozen=True)
class Diagnosis:
    """All that is to be said of a run."""

    run: Run
    shares: Mapping[str, float]
    """The part of the wall time that each stage took; empty where nothing was timed."""
    bound: str | None
    """`learner-bound`, `env-bound`, …"""
    advice: Advice | None
    """The one key that would make it faster."""
    checks: tuple[Check, ...]

    @property
    def flags(self) -> dict[str, Flag]:
        """The red flags by the rule's name."""
        return {check.name: check.flag for check in self.checks if check.flag is not None}


def examine(run: Run | str | Path, cores: int | None = None) -> Diagnosis:
    """Diagnose a run from its results.

    Args:
        run: its directory, or what `read_run` gave.
        cores: of the machine it is to run on; None: of this one.

    Raises:
        RunError: there is no such run, or it has no result yet.
    """
    run = run if isinstance(run, Run) else read_run(run)
    divided = shares(run.rows)
    checks = tuple(Check(rule.name, rule.find(run), why_not(rule, run)) for rule in RULES)
    if not divided:
        return Diagnosis(run, divided, None, None, checks)
    return Diagnosis(run, divided, BOUND[bound(divided)], advise(run, divided, cores), checks)


def why_not(rule: Rule, run: Run) -> str | None:
    """What a rule lacks to judge a run, or None."""
    if rule.stat is not None and not any(figures(run, rule.stat)):
        return f"no result has {rule.stat}"
    if len(run.rows) < rule.least:
        return f"judged from {rule.least} results on, here are {len(run.rows)}"
    return None


def render(diagnosis: Diagnosis) -> RenderableType:
    """A diagnosis as it is printed."""
    parts: list[RenderableType] = [Text(headline(diagnosis.run), style="bold")]
    parts += [Text(note, style="yellow") for note in notes(diagnosis.run)]
    if diagnosis.bound is not None:
        share = sum(diagnosis.shares[stage] for stage in STAGES if BOUND[stage] == diagnosis.bound)
        parts += [Text(), Text(f"Time: {diagnosis.bound} ({share:.0%})", style="bold")]
        parts += [time_table(diagnosis.shares)]
        parts += [Text(str(diagnosis.advice))]
    parts += [Text(), Text("Learning", style="bold"), check_table(diagnosis.checks), Text()]
    count = len(diagnosis.flags)
    verdict = f"{count} red flag{'s' * (count > 1)}" if count else "No red flags."
    return Group(*parts, Text(verdict, style="bold red" if count else "bold green"))


def headline(run: Run) -> str:
    """`PPO on CartPole-v1: 98 results, 100,352 steps, return 500.0 (best 500.0)`."""
    steps, known = run.rows[-1].get("timesteps_total", 0), returns(run)
    line = f"{run.algorithm} on {run.env}: {len(run.rows)} results, {steps:,} steps"
    if known:
        line += f", return {known[-1][1]:,.1f} (best {max(value for _, value in known):,.1f})"
    return line


def notes(run: Run) -> list[str]:
    """What limits the diagnosis."""
    said = []
    if run.torn:
        said.append("The last line of result.json is cut off and left out.")
    if run.running:
        said.append("The run is not over: this is how it stands now.")
    if not run.config:
        said.append("There is no params.json: defaults are taken for settings.")
    return said


def time_table(divided: Mapping[str, float]) -> Table:
    """Each stage with a bar for its share of the wall time, longest first."""
    table = Table.grid(padding=(0, 2))
    for stage, share in sorted(divided.items(), key=lambda item: -item[1]):
        if share >= 0.005:
            bar = "█" * max(1, round(share * BAR))
            table.add_row(
                f"  {stage}",
                f"{share:4.0%}",
                Text(bar, style="cyan"),
                Text(STAGES[stage], style="dim"),
            )
    return table


def check_table(checks: tuple[Check, ...]) -> Table:
    """Each rule with its verdict, and under a red flag the evidence and what to do."""
    table = Table.grid(padding=(0, 2))
    for check in checks:
        if check.flag is not None:
            table.add_row(Text("  warning", style="red"), check.name)
            table.add_row("", Text(check.flag.evidence, style="red"))
            table.add_row("", Text(f"→ {check.flag.advice}"))
        elif check.why_not is None:
            table.add_row(Text("  ok", style="green"), check.name)
        else:
            table.add_row("  –", Text(f"{check.name}: {check.why_not}", style="dim"))
    return table
