"""`rl train`: options in, one or several runs, an exit code out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from rl_algos.cli.common import json_object, make_console, user_errors

if TYPE_CHECKING:
    from rl_algos.running import Outcome
    from rl_algos.yaml_experiment import Experiment

Run = Annotated[str | None, Option(help="Algorithm: PPO, … (see rl list) or your module:name.")]
Env = Annotated[str | None, Option(help="Gymnasium id or module:Class.")]
Config = Annotated[
    str,
    Option(help="""JSON of config keys, as in '{"num_workers": 2}'; rl show PPO lists them."""),
]
File = Annotated[
    Path | None,
    Option("--file", "-f", help="YAML file of experiments, RLlib's included; options go first."),
]
Framework = Annotated[
    str | None,
    Option(
        help="""What the policies learn with: torch, tf (TensorFlow, traced), tf2 (eager) or auto,
        the first that is installed."""
    ),
]
Torch = Annotated[bool, Option("--torch", help="Short for --framework torch.")]
Eager = Annotated[bool, Option("--eager", help="Short for --framework tf2.")]
Trace = Annotated[bool, Option("--trace", help="With tf2: trace updates to graphs.")]
Stop = Annotated[
    str | None,
    Option(
        help="""JSON, as in '{"episode_reward_mean": 475}'; the first to be met ends the run.
        A goal that is not met makes the exit code 1. Default: as the preset says."""
    ),
]
Seed = Annotated[int | None, Option(help="Makes the run repeatable.")]
NumWorkers = Annotated[
    int | None, Option(help="Ray processes that sample; 0: this process does.", min=0)
]
CheckpointFreq = Annotated[
    int | None, Option(help="Iterations between two checkpoints; 0: at the end only.", min=0)
]
Keep = Annotated[int | None, Option(help="Checkpoints that stay; default: all.", min=1)]
ScoreBy = Annotated[
    str | None,
    Option(help="With --keep: those best by this key of a result stay, too; min-KEY: lowest."),
]
Resume = Annotated[
    Path | None, Option(help="A run or a checkpoint to go on from, with its config and stop.")
]
LocalDir = Annotated[
    Path | None, Option(help="Each run gets a directory in it.", show_default="rl_results")
]
LoggerNames = Annotated[
    str | None,
    Option("--loggers", help="Of json, csv, tensorboard, wandb, mlflow; first three by default."),
]
Verbose = Annotated[
    int, Option("-v", "--verbose", count=True, help="Log more and show tracebacks; -vv: debug.")
]


def train(
    run: Run = None,
    env: Env = None,
    config: Config = "{}",
    file: File = None,
    resume: Resume = None,
    stop: Stop = None,
    seed: Seed = None,
    num_workers: NumWorkers = None,
    framework: Framework = None,
    torch: Torch = False,
    eager: Eager = False,
    trace: Trace = False,
    checkpoint_freq: CheckpointFreq = None,
    keep: Keep = None,
    score_by: ScoreBy = None,
    local_dir: LocalDir = None,
    loggers: LoggerNames = None,
    verbose: Verbose = 0,
) -> None:
    """Train until the goal is reached or the budget is spent, and save a checkpoint.

    Exit code: 0 goal reached, 1 not reached, 2 the input made no sense, 130 Ctrl-C.
    """
    with user_errors(verbose):
        keys = json_object("--config", config)
        flags = {"env": env, "seed": seed, "num_workers": num_workers}
        flags["framework"] = _framework(framework, torch, eager)
        flags["eager_tracing"] = True if trace else None
        keys |= {key: value for key, value in flags.items() if value is not None}
        given = {
            "stop": None if stop is None else json_object("--stop", stop),
            "checkpoint_freq": checkpoint_freq,
            "keep": keep,
            "score_by": score_by,
            "local_dir": local_dir,
            "loggers": loggers,
        }
        settings = {key: value for key, value in given.items() if value is not None}
        if resume is not None and file is not None:
            raise ValueError("--resume goes on with one run, -f starts new ones: give one of them")
        if file is not None:
            code = _train_file(file, run, keys, settings, verbose)
        else:
            code = _exit_code(_train_one(run, resume, keys, settings))
    raise typer.Exit(code)


def _framework(name: str | None, torch: bool, eager: bool) -> str | None:
    """The one framework that the options name, or None.

    Raises:
        ValueError: they name several.
    """
    asked = {"--torch": "torch" if torch else None, "--eager": "tf2" if eager else None}
    given = {f"--framework {name}": name, **asked} if name else asked
    found = {option: value for option, value in given.items() if value is not None}
    if len(set(found.values())) > 1:
        raise ValueError(f"{' and '.join(found)} name different frameworks: give one of them")
    return next(iter(found.values()), None)


def _train_one(
    run: str | None, path: Path | None, keys: dict[str, Any], settings: dict[str, Any]
) -> Outcome:
    from rl_algos import experiment

    settings["display"] = make_console()
    if path is not None:
        return experiment.resume(path, keys, algorithm=run, **settings)
    if run is None:
        raise ValueError(
            "say what to train: --run PPO --env CartPole-v1, or -f experiments.yaml, or "
            "--resume RUN; rl list shows the algorithms"
        )
    return experiment.train(run, keys, **settings)


def _train_file(
    file: Path, run: str | None, keys: dict[str, Any], settings: dict[str, Any], verbose: int
) -> int:
    """Run a file's experiments one after the other; the worst exit code of them."""
    from rl_algos.yaml_experiment import read_experiments

    console, worst = make_console(), 0
    experiments = read_experiments(file, run, keys)
    for number, each in enumerate(experiments, 1):
        for note in each.notes:
            make_console(stderr=True).print(f"note: {note}", style="yellow", soft_wrap=True)
        if len(experiments) > 1:
            console.print(f"{number}/{len(experiments)} {each.name}", style="bold")
        code = _train_experiment(each, settings, verbose)
        if code == 130:
            return code
        worst = max(worst, code)
    return worst


def _train_experiment(each: Experiment, settings: dict[str, Any], verbose: int) -> int:
    """One of several: an error ends this one only, unless its traceback is wanted."""
    merged = {**each.settings, **settings}
    merged["local_dir"] = Path(merged.get("local_dir", "rl_results")).expanduser() / each.name
    try:
        with user_errors(verbose):
            return _exit_code(_train_one(each.algorithm, None, dict(each.config), merged))
    except typer.Exit as end:
        return end.exit_code


def _exit_code(outcome: Outcome) -> int:
    if outcome.interrupted:
        return 130
    return 0 if outcome.reached else 1
