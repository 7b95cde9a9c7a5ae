"""`rl` itself: a table of commands, each imported when it is called and not before."""

from __future__ import annotations

import importlib
import sys
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

GROUP = "rl.commands"
"""Entry-point group: {name: typer function, or Typer app} of other packages' subcommands."""


class Command(NamedTuple):
    """Where a command is, and its line in the list."""

    target: str
    help: str


BUILT_IN = {
    "train": Command("rl_algos.cli.train:train", "Train an algorithm, or resume a run."),
    "evaluate": Command("rl_algos.cli.evaluate:evaluate", "Play episodes with a saved policy."),
    "list": Command("rl_algos.cli.list:list_", "Algorithms, and what each of them can learn."),
    "show": Command("rl_algos.cli.show:show", "An algorithm's plan and all its config keys."),
    "plot": Command("rl_algos.cli.plot:plot", "Learning curves of runs, as a picture."),
    "doctor": Command("rl_algos.cli.doctor:doctor", "What slows a run down or keeps it back."),
}


class Commands(TyperGroup):
    """Lists commands without importing them; the one that is called is imported."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Built-in commands, then those of other packages."""
        return [*BUILT_IN, *plugins()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command's name and help text, for the list."""
        if cmd_name in BUILT_IN:
            return TyperCommand(cmd_name, help=BUILT_IN[cmd_name].help)
        plugin = plugins().get(cmd_name)
        return plugin and TyperCommand(cmd_name, help=f"Of the package {_package(plugin)}.")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, ready to run."""
        if not self.commands:  # names, for suggestions where none fits
            self.commands = dict.fromkeys(self.list_commands(ctx))  # type: ignore[assignment]
        name, _, rest = super().resolve_command(ctx, args)
        return name, name and _load(name), rest


app = typer.Typer(
    cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"rl-algos {version('rl-algos')}")
        except PackageNotFoundError:
            typer.echo("rl-algos, from a directory that is not installed")
        raise typer.Exit


@app.callback()
def rl(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Reinforcement learning from the command line."""


def main() -> None:
    """Entry point of `rl`; `module:name` may be a file of the current directory."""
    sys.path.insert(0, "")
    app(prog_name="rl")


@cache
def plugins() -> dict[str, EntryPoint]:
    """Commands of other packages; a built-in one cannot be replaced, the first of a name wins."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name not in BUILT_IN:
            found.setdefault(point.name, point)
    return found


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def _load(name: str) -> Any:
    """The typer command called `name`; where it cannot be imported, one that says why."""
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].target.partition(":")
        return _command(name, getattr(importlib.import_module(module), attribute))
    try:
        return _command(name, plugins()[name].load())
    except Exception as error:  # another package's code: whatever is wrong with it
        return _broken(plugins()[name], error)


def _command(name: str, found: Any, **settings: Any) -> Any:
    """A typer function, Typer app or ready command as a command called `name`."""
    if callable(found) and not isinstance(found, typer.Typer | TyperCommand | TyperGroup):
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(name, context_settings=settings)(found)
        found = alone
    if isinstance(found, typer.Typer):
        found = typer.main.get_command(found)
    found.name = name
    return found


def _broken(point: EntryPoint, error: Exception) -> Any:
    """A command that takes any arguments and says why it is none."""

    def command() -> None:
        from rl_algos.cli.common import fail

        fail(
            f"the command {point.name!r} of {_package(point)} cannot be loaded from "
            f"{point.value!r}: {type(error).__name__}: {error}. Update or uninstall that package"
        )

    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    return _command(point.name, command, **anything)
