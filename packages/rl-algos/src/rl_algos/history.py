"""What a run has left on disk: the rows of result.json and what params.json says of them."""

from __future__ import annotations

import difflib
import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl_algos.loggers.scalars import flatten
from rl_algos.runs import LOCK, RunError
from rl_algos.stopping import LATER

RESULTS, PARAMS = "result.json", "params.json"
FRESH_S = 60.0
"""A result younger than this may not be the last one."""
_STAMPED = re.compile(r"(?P<algorithm>[^_]+)_(?P<env>.+)_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")


@dataclass(frozen=True)
class Run:
    """One training: its rows, oldest first, and the settings that it was made with."""

    directory: Path
    rows: list[dict[str, Any]]
    """Results as `Trainer.train()` gave them, at least one."""
    params: Mapping[str, Any]
    """What params.json holds; empty where there is none."""
    torn: bool = False
    """The last line was cut off: it is being written, or its writer was killed."""
    running: bool = False
    """More rows may come."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Flat config keys; empty where params.json is missing."""
        config = self.params.get("config", self.params)  # Ray Tune writes the config alone
        return config if isinstance(config, Mapping) else {}

    @property
    def algorithm(self) -> str:
        """As params.json says, else as the directory is called, else `?`."""
        return str(self.params.get("algorithm") or self._from_name("algorithm"))

    @property
    def env(self) -> str:
        """As params.json says, else as the directory is called, else `?`."""
        return str(self.config.get("env") or self._from_name("env"))

    def _from_name(self, part: str) -> str:
        stamped = _STAMPED.match(self.directory.name)
        return stamped[part] if stamped else "?"


def read_run(path: str | Path) -> Run:
    """Read a run's directory, its result.json, or a directory that holds this one run only.

    A last line that was cut off is left out and noted. Where a row goes back to an earlier
    `training_iteration`, because training was resumed there, it replaces what came after.

    Raises:
        RunError: there is no such run, it has no results yet, or a row is not JSON.
    """
    found = find_runs(path)
    if len(found) > 1:
        newest = max(found, key=lambda run: (run / RESULTS).stat().st_mtime)
        raise RunError(f"{path} holds {len(found)} runs; give one of them, the newest is {newest}")
    directory = found[0]
    file = directory / RESULTS
    rows, torn = _rows(file)
    if not rows:
        raise RunError(f"{file} has no result yet: one comes at the end of the first iteration")
    return Run(directory, rows, _params(directory), torn, is_running(directory))


def is_running(directory: Path) -> bool:
    """Whether somebody holds a run's lock; where it has none, whether its last row is recent."""
    try:
        import fcntl

        with (directory / LOCK).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # not on this system, or not a run of `rl train`
        return time.time() - (directory / RESULTS).stat().st_mtime < FRESH_S


def find_runs(path: str | Path) -> list[Path]:
    """The directories of all runs at or below `path`, by name.

    Raises:
        RunError: there are none.
    """
    path = Path(path)
    if path.is_file():
        if path.name != RESULTS:
            raise RunError(f"{path} is a file; give the directory of a run, with its {RESULTS}")
        return [path.parent]
    if not path.is_dir():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise RunError(f"there is no run {path}{hint}")
    if (path / RESULTS).is_file():
        return [path]
    below = sorted(file.parent for file in path.rglob(RESULTS))
    if not below:
        above = next((p for p in path.absolute().parents if (p / RESULTS).is_file()), None)
        hint = f"; the run that it belongs to is {above}" if above else ""
        raise RunError(f"{path} holds no run: there is no {RESULTS} in it or below it{hint}")
    return below


def series(rows: Iterable[Mapping[str, Any]], key: str) -> list[float]:
    """The values of a key in each row, NaN where it is absent.

    Args:
        rows: results.
        key: `episode_reward_mean`, a path such as `timers/learn_time_ms`, or the end of one
            (`kl` for `info/learner/default_policy/learner_stats/kl`).

    Raises:
        RunError: no row has it (the nearest keys are named), or several policies have it.
    """
    evaluation = key.startswith("evaluation/")
    flat = [
        {k: v for k, v in flatten(row).items() if evaluation or not k.startswith("evaluation/")}
        for row in rows
    ]
    names = dict.fromkeys(name for row in flat for name in row)
    if key not in names:
        key = _full_name(key, list(names), len(flat))
    return [row.get(key, math.nan) for row in flat]


def number(value: Any) -> float:
    """A figure of a row; NaN where it is absent, or null because it was no number."""
    return float(value) if isinstance(value, int | float) else math.nan


def _full_name(key: str, names: list[str], count: int) -> str:
    """The one path among `names` that ends in `key`."""
    ends = [name for name in names if name.endswith(f"/{key}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise RunError(f"{key!r} is ambiguous; write one of {', '.join(ends)}")
    if key in LATER:
        raise RunError(f"there is no {key}: no episode has finished in {count} results")
    short = {name.rpartition("/")[2]: name for name in reversed(names)}
    near = difflib.get_close_matches(key, dict.fromkeys([*names, *short]), n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"keys: {', '.join(names)}"
    raise RunError(f"no result has a number {key!r}; {hint}")


def _rows(file: Path) -> tuple[list[dict[str, Any]], bool]:
    """(rows, whether the last line was cut off)."""
    rows: list[dict[str, Any]] = []
    lines = file.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return rows, True
            raise RunError(f"{file}, line {number} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise RunError(f"{file}, line {number} is not a JSON object: {line[:40]!r}")
        again = row.get("training_iteration", math.inf)
        while rows and rows[-1].get("training_iteration", 0) >= again:
            rows.pop()
        rows.append(row)
    return rows, False


def _params(directory: Path) -> dict[str, Any]:
    file = directory / PARAMS
    if not file.is_file():
        return {}
    try:
        params = json.loads(file.read_text())
    except ValueError as error:
        raise RunError(f"{file} is not JSON: {error}") from None
    return params if isinstance(params, dict) else {}
