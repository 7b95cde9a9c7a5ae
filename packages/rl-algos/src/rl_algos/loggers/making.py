"""Loggers by name, each imported only when it is asked for."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rl_algos.loggers.logger import Logger

LOGGERS = {
    "json": "rl_algos.loggers.files:JsonLogger",
    "csv": "rl_algos.loggers.files:CsvLogger",
    "tensorboard": "rl_algos.loggers.tensorboard:TensorBoardLogger",
    "wandb": "rl_algos.loggers.wandb:WandbLogger",
    "mlflow": "rl_algos.loggers.mlflow:MlflowLogger",
}
"""{name: module:class} of the loggers that come with this package."""
DEFAULT_LOGGERS = ("json", "csv", "tensorboard")

MakeLogger = Callable[[Path, Mapping[str, Any]], Logger]


def make_loggers(
    names: Iterable[str | MakeLogger],
    directory: Path,
    params: Mapping[str, Any],
    *,
    after_iteration: int = 0,
) -> list[Logger]:
    """Make the loggers of a run; `Loggers` makes them one.

    Args:
        names: keys of `LOGGERS`, or functions `(directory, params) -> Logger`.
        directory: the run's; made if it is not there.
        params: what `describe_run` gave.
        after_iteration: iterations that are already logged there and stay; whatever is logged of
            later ones is dropped, so that a resumed run leaves one history.

    Raises:
        ValueError: there is no logger of that name; the nearest one is named.
        ImportError: a logger's extra is not installed; says which.
    """
    directory.mkdir(parents=True, exist_ok=True)
    made: list[Logger] = []
    try:
        for name in names:
            if callable(name):
                made.append(name(directory, params))
            else:
                made.append(_load(name)(directory, params, after_iteration))
    except BaseException:
        for logger in made:
            logger.close()
        raise
    return made


def _load(name: str) -> Any:
    if name not in LOGGERS:
        near = difflib.get_close_matches(name, LOGGERS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"there is no logger {name!r}; {hint}Known: {', '.join(LOGGERS)}, or a function "
            "(directory, params) -> Logger"
        )
    module, _, attribute = LOGGERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def import_extra(module: str, extra: str) -> Any:
    """A module that an extra of this package brings.

    Raises:
        ImportError: it is not installed; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise ImportError(
            f"the {extra} logger needs {module}: pip install 'rl-algos[{extra}]'", name=error.name
        ) from error
