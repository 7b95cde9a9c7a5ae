"""`rl plot RUN…`: learning curves as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rl_algos.cli.common import make_console, user_errors


def plot(
    runs: Annotated[
        list[Path], typer.Argument(help="Directories of runs, or directories that hold some.")
    ],
    key: Annotated[
        str, typer.Option(help="What: a key of a result, such as kl or timers/learn_time_ms.")
    ] = "episode_reward_mean",
    x: Annotated[
        str, typer.Option(help="Over timesteps_total, time_total_s or training_iteration.")
    ] = "timesteps_total",
    to: Annotated[Path, typer.Option(help="The picture: .png, .pdf or .svg.")] = Path("curves.png"),
    smooth: Annotated[int, typer.Option(help="Each value is the mean of so many last ones.")] = 1,
    verbose: Annotated[bool, typer.Option("-v", help="Show the traceback of an error.")] = False,
) -> None:
    """Draw learning curves: a line for each setting, with mean and range of its runs."""
    with user_errors(verbose):
        from rl_algos import curves

        path = curves.plot(*runs, to=to, key=key, x=x, smooth=smooth)
        make_console().print(f"curves: {path}", soft_wrap=True)
