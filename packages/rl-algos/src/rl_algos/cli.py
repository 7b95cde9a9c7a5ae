"""The command line: `rl train --run=PPO --env=CartPole-v1`."""

from __future__ import annotations

import difflib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rl_algos.display import LiveDisplay, PlainDisplay
    from rl_algos.trainer import Trainer

BUDGETS = ("timesteps_total", "training_iteration", "time_total_s", "episodes_total")
"""Stop keys that end a run without being what it is for; all others are goals."""
DEFAULT_STOP = {"timesteps_total": 100_000}

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def rl() -> None:
    """Reinforcement learning from the command line."""


@app.command()
def train(
    run: Annotated[str, typer.Option(help="Algorithm: PPO, PG or your own as module:name.")],
    env: Annotated[
        str | None, typer.Option(help="Gymnasium id or module:Class; may stand in --config.")
    ] = None,
    config: Annotated[
        str, typer.Option(help="""JSON of config keys, such as '{"num_workers": 2}'.""")
    ] = "{}",
    seed: Annotated[int | None, typer.Option(help="Makes the run repeatable.")] = None,
    stop: Annotated[
        str | None,
        typer.Option(
            help="""JSON, such as '{"episode_reward_mean": 475}'; first to be met ends.
            A goal that is not met makes the exit code 1. Default: as the preset says."""
        ),
    ] = None,
    local_dir: Annotated[Path, typer.Option(help="Where results go.")] = Path("rl_results"),
    verbose: Annotated[bool, typer.Option("-v", help="Show the traceback of an error.")] = False,
) -> None:
    """Train until the goal is reached or the budget is spent, and save a checkpoint."""
    console = make_console()
    try:
        keys = {**_json("--config", config), **({"env": env} if env else {})}
        if seed is not None:
            keys["seed"] = seed
        given = None if stop is None else _numbers(_json("--stop", stop))
        reached = run_training(console, run, keys, given, local_dir)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except _user_errors() as error:
        if verbose:
            raise
        make_console(stderr=True).print(f"error: {error}", style="red", soft_wrap=True)
        raise typer.Exit(2) from None
    raise typer.Exit(0 if reached else 1)


def make_console(stderr: bool = False) -> Console:
    """A console that prints names as they are: `:Four:` is no emoji, `[x]` no markup."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def run_training(
    console: Console,
    algorithm: str,
    keys: Mapping[str, Any],
    stop: Mapping[str, float] | None,
    local_dir: Path,
) -> bool:
    """Train as the command says; returns whether the goal, if there is one, was reached."""
    from rl_algos.display import make_display
    from rl_algos.presets import resolve_config
    from rl_algos.registry import get_algorithm
    from rl_algos.trainer import Trainer

    definition = get_algorithm(algorithm)
    resolved = resolve_config(definition, keys)
    stop = stop or (resolved.preset.stop if resolved.preset else DEFAULT_STOP)
    criteria = " or ".join(f"{key} {value:,}" for key, value in stop.items())
    console.print(f"{resolved.origin}; until {criteria}", soft_wrap=True)
    started = time.strftime("%Y-%m-%d_%H-%M-%S")
    name = str(resolved.config["env"]).replace("/", "_").replace(":", "_")
    with Trainer(definition, resolved.config, resolved.origin) as trainer:
        try:
            result, interrupted = watch(trainer, stop, make_display(console, stop))
        finally:  # whatever went wrong, what was learned is kept
            if trainer.iteration:
                path = trainer.save(local_dir / f"{definition.name}_{name}_{started}")
                where = f"checkpoint: {path} (seed {trainer.seed})"
                console.print(where, soft_wrap=True)
    if result is None or interrupted:
        raise KeyboardInterrupt
    return report(console, result, stop)


def watch(
    trainer: Trainer, stop: Mapping[str, float], display: LiveDisplay | PlainDisplay
) -> tuple[dict[str, Any] | None, bool]:
    """Train until `stop` is met or a person presses Ctrl-C: (last result, was it Ctrl-C)."""
    result = None
    with display:
        try:
            while result is None or not met(result, stop):
                first, result = result is None, trainer.train()
                if first:
                    check_stop(stop, result)
                display.show(result)
        except KeyboardInterrupt:
            return result, True
    return result, False


def check_stop(stop: Mapping[str, float], result: Mapping[str, Any]) -> None:
    """Raise ValueError where `stop` names what results do not have."""
    known = [k for k, value in result.items() if isinstance(value, int | float)]
    known += [k for k in ("episode_reward_mean", "episode_reward_max") if k not in known]
    for key in stop:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=2)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"keys: {known}"
            raise ValueError(f"stop key {key!r} is not in a result; {hint}")


def met(result: Mapping[str, Any], stop: Mapping[str, float]) -> list[str]:
    """The keys of `stop` whose value a result has reached."""
    return [key for key, target in stop.items() if value_of(result, key) >= target]


def value_of(result: Mapping[str, Any], key: str) -> float:
    """`result[key]`, −∞ where it is absent (a return before the first episode has finished)."""
    return float(result.get(key, float("-inf")))


def report(console: Console, result: Mapping[str, Any], stop: Mapping[str, float]) -> bool:
    """Say how it ended; False where there was a goal that was not reached."""
    goals = [key for key in stop if key not in BUDGETS]
    reached = [key for key in met(result, stop) if key in goals]
    steps, seconds = result["timesteps_total"], result["time_total_s"]
    spent = f"{steps:,} steps, {seconds:.1f} s"
    for key in reached or goals:
        value, target = value_of(result, key), stop[key]
        word, style = ("reached", "green") if reached else ("not reached", "red")
        console.print(f"{key} {value:,.1f}: {target:,} {word} in {spent}", style=style)
    return bool(reached) or not goals


def _json(option: str, text: str) -> dict[str, Any]:
    """A JSON object given on the command line."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"""{option} {text!r} is not JSON: {error}. Write '{{"key": 1}}'"""
        ) from None
    if not isinstance(value, dict):
        raise ValueError(f"""{option} is a JSON object such as '{{"key": 1}}', not {text!r}""")
    return value


def _numbers(stop: dict[str, Any]) -> dict[str, float]:
    for key, target in stop.items():
        if not isinstance(target, int | float):
            raise ValueError(f"--stop: {key!r} is a number to reach, not {target!r}")
    return stop


def _user_errors() -> tuple[type[Exception], ...]:
    """Errors whose message says what to do; anything else is a bug and keeps its traceback."""
    kinds: list[type[Exception]] = [ValueError, ImportError, OSError, FloatingPointError]
    workers = sys.modules.get("rl_workers")
    flow = sys.modules.get("rl_workers.flow")
    kinds += [workers.EnvError, workers.WorkerError] if workers else []
    kinds += [flow.NoExperience] if flow else []
    return tuple(kinds)


def main() -> None:
    """Entry point of `rl`; `module:name` may be a file of the current directory."""
    sys.path.insert(0, "")
    app()


if __name__ == "__main__":
    main()
