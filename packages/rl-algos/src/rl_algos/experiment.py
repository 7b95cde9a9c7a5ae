"""`train` and `resume`: a trainer with a directory, files, checkpoints, a display and an end."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from rl_algos import checkpoint, runs
from rl_algos.checkpoint import CheckpointError
from rl_algos.definition import TrainerDefinition
from rl_algos.keys import ConfigError
from rl_algos.loggers import DEFAULT_LOGGERS, Loggers, describe_run, make_loggers, write_params
from rl_algos.presets import find_preset, resolve_config
from rl_algos.registry import get_algorithm, reference
from rl_algos.running import Outcome, Run
from rl_algos.runs import Settings
from rl_algos.stopping import DEFAULT_STOP, checked_stop, in_words, met, reached
from rl_algos.trainer import Trainer

log = logging.getLogger(__name__)


def train(
    algorithm: str | TrainerDefinition,
    config: Mapping[str, Any] | None = None,
    *,
    env: Any = None,
    stop: Mapping[str, float] | None = None,
    local_dir: str | Path = "rl_results",
    checkpoint_freq: int = 0,
    checkpoint_at_end: bool = True,
    keep: int | None = None,
    score_by: str | None = None,
    loggers: Any = DEFAULT_LOGGERS,
    display: bool | Console = True,
) -> Outcome:
    """Train until a goal is reached, a budget is spent or somebody presses Ctrl-C.

    Args:
        algorithm: a name, `module:name`, or a definition.
        config: keys as in `{"num_workers": 2}`.
        env: short for `config["env"]`.
        stop: `{"episode_reward_mean": 475, "timesteps_total": 100_000}`, whichever is met first;
            `a/b` is the key b in a. None: as the preset says, else 100,000 steps.
        local_dir: the run makes a directory of its own in it.
        checkpoint_freq: iterations between two checkpoints; 0 saves at the end only.
        checkpoint_at_end: save at the end; an interrupted run is always saved.
        keep: checkpoints that stay; None keeps all.
        score_by: those stay that are best by this key of the results, and the newest one;
            `min-` before it: where it is lowest.
        loggers: names or functions, see `rl_algos.loggers.make_loggers`.
        display: show progress on this console, on standard output, or (False) nowhere.

    Raises:
        ConfigError: a key, value or algorithm that cannot be meant.
        RunError: the results cannot be written.
    """
    definition = get_algorithm(algorithm) if isinstance(algorithm, str) else algorithm
    name = algorithm if isinstance(algorithm, str) else reference(definition)
    resolved = resolve_config(
        definition, {**(config or {}), **({} if env is None else {"env": env})}
    )
    preset = resolved.preset.stop if resolved.preset else DEFAULT_STOP
    criteria = checked_stop(stop or preset)
    settings = Settings(
        name, criteria, checkpoint_freq, checkpoint_at_end, keep, score_by, _names(loggers)
    )
    console = _console(display)
    console.print(f"{resolved.origin}; until {in_words(criteria)}", soft_wrap=True)
    runs.check_place(Path(local_dir))
    with Trainer(definition, resolved.config, resolved.origin) as trainer:
        directory = runs.new_directory(Path(local_dir), trainer)
        with runs.locked(directory):
            return _run(trainer, directory, settings, console)


def resume(
    path: str | Path,
    config: Mapping[str, Any] | None = None,
    *,
    algorithm: str | TrainerDefinition | None = None,
    stop: Mapping[str, float] | None = None,
    local_dir: str | Path = "rl_results",
    display: bool | Console = True,
    **changes: Any,
) -> Outcome:
    """Go on with a run, exactly where it stood, in the same directory.

    Args:
        path: of the run (its newest checkpoint is taken) or of a checkpoint. From a checkpoint
            that is not the newest a run of its own is made, with the history up to there.
        config: keys that are to differ from the stored ones.
        algorithm: only needed where the run could not store it.
        stop: other criteria than those stored with the run.
        local_dir: where a run is put that cannot go on in its own directory.
        display: as in `train`.
        **changes: other `checkpoint_freq`, `checkpoint_at_end`, `keep`, `score_by`, `loggers`
            than those stored with the run.

    Raises:
        CheckpointError: it is no checkpoint, or one of another algorithm, or damaged.
        RunError: another process goes on with this run, or it cannot be written to.
    """
    path, console = Path(path), _console(display)
    with ExitStack() as stack:
        directory = runs.goes_on_in(path)
        if directory is not None:
            stack.enter_context(runs.locked(directory))
        found = checkpoint.locate(path)
        run = runs.run_of(found)
        settings = Settings.read(run) if run else Settings()
        saved = checkpoint.manifest_of(found)["algorithm"]
        definition, name = _definition(found, saved, algorithm or settings.algorithm)
        trainer = stack.enter_context(definition.from_checkpoint(found, **(config or {})))
        criteria = checked_stop(stop or settings.stop or _default_stop(trainer))
        if "loggers" in changes:
            changes["loggers"] = _names(changes["loggers"])
        settings = replace(settings, **changes, algorithm=name, stop=criteria)
        about = f"{definition.name} on {runs.env_name(trainer)}: resumed from {found}"
        console.print(f"{about}; until {in_words(criteria)}", soft_wrap=True)
        for key, (old, new) in checkpoint.config_difference(found, trainer.config).items():
            console.print(f"changed: {key} was {old!r}, is {new!r}", soft_wrap=True)
        last = trainer.last_result or {}
        if last and met(last, criteria):
            console.print("that is reached already: give another stop (--stop) to train on")
            return Outcome(last, run or found.parent, found, reached(last, criteria), False)
        if directory is None:
            directory = _branch(run, Path(local_dir), trainer)
            stack.enter_context(runs.locked(directory))
        return _run(trainer, directory, settings, console, found)


def _run(
    trainer: Trainer,
    directory: Path,
    settings: Settings,
    console: Console,
    resumed: Path | None = None,
) -> Outcome:
    """Write down what the run is, and run it."""
    params = describe_run(trainer)
    about = ", ".join([f"seed {trainer.seed}", *params["frameworks"]])
    console.print(f"results: {directory} ({about})", soft_wrap=True)
    log.info("%s", trainer.plan)
    log.debug("config %s", params["config"])
    try:
        made = make_loggers(settings.loggers, directory, params, after_iteration=trainer.iteration)
    except Exception:
        runs.discard(directory)
        raise
    write_params(directory, params)
    settings.write(directory)
    return Run(trainer, directory, settings, console, Loggers(made), resumed=resumed).go()


def _definition(
    found: Path, saved: str, given: str | TrainerDefinition | None
) -> tuple[TrainerDefinition, str | None]:
    """A checkpoint's algorithm, and what it is found by."""
    wanted = given or saved
    try:
        definition = get_algorithm(wanted) if isinstance(wanted, str) else wanted
    except ConfigError as error:
        if given:
            raise
        raise ConfigError(
            f"{found} is of algorithm {saved!r}, which only the program that made it knows: give "
            "it with resume(path, algorithm=…) or --run module:name"
        ) from error
    if definition.name != saved:
        raise CheckpointError(
            f"{found} is of algorithm {saved}, not of {definition.name}; leave the algorithm out, "
            "it is stored"
        )
    return definition, wanted if isinstance(wanted, str) else reference(definition)


def _branch(run: Path | None, local_dir: Path, trainer: Trainer) -> Path:
    """A new run's directory: beside `run` and with its history, or in `local_dir`."""
    parent = local_dir if run is None else run.parent
    runs.check_place(parent)
    directory = runs.new_directory(parent, trainer)
    if run is not None:
        runs.copy_history(run, directory)
    return directory


def _default_stop(trainer: Trainer) -> Mapping[str, float]:
    preset, _ = find_preset(trainer.definition.name, trainer.config["env"], "auto")
    return preset.stop if preset else DEFAULT_STOP


def _names(loggers: Any) -> tuple[Any, ...]:
    """Loggers from a list of them, or from a string such as `json,csv`."""
    return tuple(loggers.split(",") if isinstance(loggers, str) else loggers)


def _console(display: bool | Console) -> Console:
    if isinstance(display, Console):
        return display
    if display:
        return Console(markup=False, emoji=False, highlight=False)
    return Console(quiet=True, force_terminal=False)
