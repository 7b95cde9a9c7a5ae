"""`rl doctor RUN`: where the time goes, and red flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rl_algos.cli.common import make_console, user_errors


def doctor(
    run: Annotated[Path, typer.Argument(help="A run's directory, under rl_results by default.")],
    cores: Annotated[
        int | None, typer.Option(help="CPU cores that advice may use; default: this machine's.")
    ] = None,
    verbose: Annotated[bool, typer.Option("-v", help="Show the traceback of an error.")] = False,
) -> None:
    """Say what slows a run down and what keeps it from learning.

    Exit code 0: no red flags, 1: there are some, 2: it is no run that could be read.
    """
    from rl_algos.doctor import examine, render

    with user_errors(verbose):
        diagnosis = examine(run, cores)
        make_console().print(render(diagnosis))
    raise typer.Exit(1 if diagnosis.flags else 0)
