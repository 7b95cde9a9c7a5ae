"""`rl list`: which algorithm learns with what, in which spaces."""

from __future__ import annotations

from typing import Annotated

import typer

from rl_algos.cli.common import make_console, user_errors


def list_(
    algorithms: Annotated[
        list[str] | None, typer.Argument(help="Names, or your own as module:name; default: all.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    verbose: Annotated[bool, typer.Option("-v", help="Show the traceback of an error.")] = False,
) -> None:
    """List algorithms, and the frameworks and spaces that each of them learns with."""
    from rich.table import Table

    from rl_algos import catalogue
    from rl_algos.frameworks import INSTALL, MODULES

    console = make_console()
    with user_errors(verbose):
        rows = catalogue.table(algorithms) if algorithms else catalogue.table()
        if markdown:
            typer.echo(catalogue.markdown(rows), nl=False)
            return
        for grid in catalogue.grids(rows):
            shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
            for index, head in enumerate(grid.head):
                shown.add_column(head, justify="center" if index else "left", no_wrap=True)
            for row in grid.rows:
                shown.add_row(*row)
            console.print(shown)
            console.print()
        missing = {MODULES[row["framework"]] for row in rows if not row["installed"]}
        for module in sorted(missing):
            console.print(f"(✓) once {module} is installed:\n  {INSTALL[module]}", soft_wrap=True)
        console.print("✓ yes  m yes, also with action masks  – no     More of one: rl show PPO")
