"""`rl show PPO`: the plan as a picture, and every config key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rl_algos.cli.common import make_console, user_errors

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from rl_algos.explain import Key


def show(
    algorithm: Annotated[str, typer.Argument(help="PPO, A2C, PG or your own as module:name.")],
    env: Annotated[
        str | None, typer.Option(help="Show its preset beside the defaults; default: all presets.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the keys as Markdown tables.")
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", help="Show the traceback of an error.")] = False,
) -> None:
    """Show an algorithm's plan as a picture, and each config key with its default and effect."""
    with user_errors(verbose):
        from rl_algos import catalogue, explain
        from rl_algos.presets import find_preset
        from rl_algos.registry import get_algorithm

        console, definition = make_console(), get_algorithm(algorithm)
        if markdown:
            typer.echo(explain.markdown(definition), nl=False)
            return
        told, file = explain.about(definition)
        console.print(f"{definition.name}: {told}", style="bold")
        console.print(file, style="dim", soft_wrap=True)
        console.print(catalogue.learns_with(definition), soft_wrap=True)
        if env is not None:
            console.print(find_preset(definition.name, env, "auto")[1], soft_wrap=True)
        console.print()
        console.print(explain.draw_plan(definition, env, min(76, console.width)), soft_wrap=True)
        print_keys(console, explain.config_keys(definition, env))


def print_keys(console: Console, keys: list[Key]) -> None:
    """Two lines for each key, section by section: what it is, and what it does."""
    from rich.padding import Padding

    section = None
    for key in keys:
        if key.section != section:
            section = key.section
            console.print()
            console.print(section, style="bold underline")
        console.print(Padding(_headline(key), (0, 0, 0, 2)))
        console.print(Padding(key.effect, (0, 0, 0, 6)), style="dim")


def _headline(key: Key) -> Text:
    """`train_batch_size = 2048  (int > 0)  1024 on CartPole-v1`."""
    from rich.text import Text

    line = Text.assemble((key.name, "bold cyan"), f" = {key.default!r}", (f"  {key.type}", "dim"))
    for env, value in key.presets.items():
        if value != key.default:
            line.append(f"  {value!r} on {env}", style="green")
    return line
