"""result.json and progress.csv: one row for every result, on disk when `log` returns."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from rl_algos.loggers.scalars import flatten, to_json

FIRST_COLUMNS = (
    *("training_iteration", "timesteps_total", "time_total_s"),
    *("episode_reward_mean", "episode_reward_min", "episode_reward_max"),
)
"""They lead each progress.csv; returns are empty there until an episode has finished."""


class JsonLogger:
    """result.json: one JSON object a line, with all that is in a result."""

    def __init__(
        self, directory: Path, params: Mapping[str, Any] | None = None, after_iteration: int = 0
    ) -> None:
        self._path = directory / "result.json"
        keep_rows(self._path, lambda line: _json_iteration(line) <= after_iteration)
        self._file = RowFile(self._path)

    def log(self, result: Mapping[str, Any]) -> None:
        """Append the result."""
        self._file.append(to_json(dict(result)).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __repr__(self) -> str:
        return f"JsonLogger({str(self._path)!r})"


class CsvLogger:
    """progress.csv: the numbers of a result, a column each, empty where a result lacks one."""

    def __init__(
        self, directory: Path, params: Mapping[str, Any] | None = None, after_iteration: int = 0
    ) -> None:
        self._path = directory / "progress.csv"
        self._columns = dict.fromkeys(_header(self._path))
        keep_rows(
            self._path,
            lambda line: _csv_iteration(line, self._columns) <= after_iteration,
            header=bool(self._columns),
        )
        self._file = RowFile(self._path)

    def log(self, result: Mapping[str, Any]) -> None:
        """Append the result's numbers."""
        row = {" ".join(key.split("\n")): value for key, value in flatten(result).items()}
        if not row.keys() <= self._columns.keys():
            self._add_columns(row)
        cells = [repr(row[name]) if name in row else "" for name in self._columns]
        self._file.append(f"{','.join(cells)}\n".encode())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __repr__(self) -> str:
        return f"CsvLogger({str(self._path)!r})"

    def _add_columns(self, row: Mapping[str, float]) -> None:
        """Columns for what is new, at the end of the rows; those of earlier results are empty."""
        columns = dict.fromkeys([*(self._columns or FIRST_COLUMNS), *row])
        added = "," * (len(columns) - len(self._columns))
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(columns)
        with self._path.open(newline="") as file:
            file.readline()
            rows = (row.rstrip("\n") + added + "\n" for row in file)
            rewrite(self._path, chain([header.getvalue()], rows))
        self._file.close()
        self._file, self._columns = RowFile(self._path), columns


class RowFile:
    """A file that grows by rows, each written whole or not at all.

    Without a buffer: a row costs one system call, some 10 µs, and is safe from whatever happens to
    this process. It is not synced, so a power failure may take the last seconds with it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def append(self, row: bytes) -> None:
        """Write a row.

        Raises:
            OSError: the disk is full or gone; the file is as it was before.
        """
        left, start = row, self._file.tell()
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            with suppress(OSError):
                self._file.truncate(start)
            raise

    def close(self) -> None:
        """Close it."""
        self._file.close()


def keep_rows(path: Path, keeps: Callable[[str], bool], *, header: bool = False) -> None:
    """Drop the rows that `keeps` refuses, and a last one that was cut off; `header` stays."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        first = [file.readline()] if header else []
        rewrite(path, chain(first, (row for row in file if row.endswith("\n") and keeps(row))))


def rewrite(path: Path, lines: Iterable[str]) -> None:
    """Replace a file at once: whoever reads it sees all of the old or all of the new lines."""
    draft = path.with_name(f".{path.name}.new")
    with draft.open("w", newline="") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _json_iteration(line: str) -> float:
    """The iteration of a row, ∞ where it is none."""
    try:
        return float(json.loads(line)["training_iteration"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _csv_iteration(line: str, columns: Mapping[str, None]) -> float:
    cells = line.rstrip("\n").split(",")
    try:
        return float(dict(zip(columns, cells, strict=True))["training_iteration"])
    except (ValueError, KeyError):
        return float("inf")


def _header(path: Path) -> list[str]:
    """The columns of a progress.csv; none where there is no such file or it was cut off."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        first = file.readline()
    return next(csv.reader([first])) if first.endswith("\n") else []
