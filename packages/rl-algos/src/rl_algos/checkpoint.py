"""Checkpoints of a directory: which there are, which of them are whole, which may go."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from rl_algos.stored import CheckpointError, encode_config, is_hole
from rl_sample.files import (
    MANIFEST,
    DamagedError,
    check_files,
    read_manifest,
    remove_directory,
    written_directories,
)

__all__ = [
    "FORMAT",
    "KIND",
    "MANIFEST",
    "CheckpointError",
    "best",
    "check",
    "config_difference",
    "latest",
    "locate",
    "manifest_of",
    "name_of",
    "prune",
]

KIND = "rl-algos checkpoint"
FORMAT = 1
NAME = re.compile(r"checkpoint_(\d+)")


class DamagedCheckpoint(CheckpointError):
    """One that is not as it was written; an older one may be."""


class _Entry(NamedTuple):
    """A checkpoint of a directory, whole or not."""

    path: Path
    manifest: Mapping[str, Any]
    problem: str = ""
    """Why the manifest cannot be used, if it cannot."""

    @property
    def result(self) -> Mapping[str, float]:
        figures: Mapping[str, float] = self.manifest.get("result", {})
        return figures


def name_of(iteration: int) -> str:
    """`checkpoint_000012`."""
    return f"checkpoint_{iteration:06d}"


def check(path: str | Path) -> dict[str, Any]:
    """The manifest of a checkpoint all of whose files are as they were written.

    Raises:
        CheckpointError: naming the file that is missing, damaged, foreign or too new.
    """
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a directory; give the path that save() returned")
    manifest = manifest_of(path)
    try:
        check_files(path, manifest)
    except DamagedError as error:
        raise _damaged(path, error) from error
    return manifest


def manifest_of(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose files may be damaged.

    Raises:
        CheckpointError: it is damaged, of another kind or of a newer format.
    """
    try:
        manifest = read_manifest(path)
    except DamagedError as error:
        raise _damaged(path, error) from error
    kind, form = manifest.get("kind"), manifest.get("format")
    if kind != KIND:
        raise CheckpointError(
            f"{path} is no checkpoint: its {MANIFEST} says kind {kind!r}, format {form!r}, not "
            f"kind {KIND!r}. (A saved policy is read by rl_policy.load_policy)"
        )
    if form != FORMAT:
        raise CheckpointError(
            f"{path} has format {form!r}, as rl-algos {manifest.get('rl_algos')} writes it; this "
            f"version reads format {FORMAT}: install that version or a newer one to read it"
        )
    return manifest


def locate(path: str | Path) -> Path:
    """The checkpoint that is meant: `path`, or if it holds several the newest that is whole.

    In place of one that is damaged the next older one beside it is given, with a warning.

    Raises:
        CheckpointError: there is none that is whole; says what is wrong.
    """
    path = Path(path)
    if not NAME.fullmatch(path.name):
        if path.is_dir() and not (path / MANIFEST).is_file():
            return latest(path)
        check(path)
        return path
    beside = _paths(path.parent)
    if path.name not in beside:
        known = f"there are {sorted(beside)}" if beside else "there is no checkpoint"
        raise CheckpointError(f"there is no {path}; in {path.parent} {known}")
    try:
        check(beside[path.name])
    except DamagedCheckpoint as error:
        older = {name: p for name, p in beside.items() if _number(name) < _number(path.name)}
        if not older:
            raise
        return _first_whole([_Entry(path, {}, str(error)), *_newest_first(older.values())])
    return beside[path.name]


def latest(directory: str | Path) -> Path:
    """The checkpoint in a directory that was saved last, of those that are whole.

    Warns of newer ones that are damaged.

    Raises:
        CheckpointError: there is none.
    """
    return _first_whole(_some(Path(directory)))


def best(directory: str | Path, key: str = "episode_reward_mean") -> Path:
    """The checkpoint whose result had the highest `key`, of those that are whole.

    `a/b` is the key b in a; with `min-` before it the lowest is best.

    Raises:
        CheckpointError: no checkpoint has this figure; the nearest names are given.
    """
    entries = _some(Path(directory))
    ranked = _ranked(entries, key)
    if not ranked:
        known = sorted({name for entry in entries for name in entry.result})
        near = get_close_matches(key, known, n=2)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {known}"
        raise CheckpointError(f"no result of the checkpoints in {directory} has {key!r}; {hint}")
    return _first_whole(ranked)


def prune(directory: Path, run: str, keep: int, score_by: str | None = None) -> None:
    """Delete a run's checkpoints but the `keep` newest, or but the newest and the `keep` best."""
    mine = [e for e in _newest_first(_paths(directory).values()) if e.manifest.get("run") == run]
    if len(mine) <= keep:
        return
    kept = mine[:keep]
    if score_by is not None:
        ranked = _ranked(mine, score_by)
        if not ranked:
            warnings.warn(
                f"no result of the checkpoints in {directory} has {score_by!r}, which says which "
                f"to keep: the newest are kept. There are {sorted(mine[0].result)}",
                RuntimeWarning,
                stacklevel=4,
            )
        else:
            kept = [mine[0], *ranked[:keep]]
    for entry in mine:
        if entry not in kept:
            remove_directory(entry.path)


def config_difference(
    path: str | Path, keys: Mapping[str, Any] | Any
) -> dict[str, tuple[Any, Any]]:
    """What differs between a checkpoint's config and `keys`: {key: (stored, given)}.

    Args:
        path: a checkpoint.
        keys: flat keys, sections of them, or a whole config. What is not given does not differ.

    Functions and classes are given by their names. What the checkpoint could not store is left out.
    """
    stored = json.loads((Path(path) / "config.json").read_bytes())
    flat: dict[str, Any] = {}
    for name, value in (keys.flat() if hasattr(keys, "flat") else keys).items():
        section = name not in stored and isinstance(value, Mapping)
        flat |= value if section else {name: value}
    given = encode_config(flat)
    return {
        key: (_plain(stored.get(key)), _plain(value))
        for key, value in given.items()
        if stored.get(key) != value and not is_hole(stored.get(key))
    }


def _plain(encoded: Any) -> Any:
    return encoded["$import"] if isinstance(encoded, dict) and "$import" in encoded else encoded


def _damaged(path: Path, error: DamagedError) -> DamagedCheckpoint:
    return DamagedCheckpoint(f"{path} is no checkpoint, or no longer a whole one: {error}")


def _paths(directory: Path) -> dict[str, Path]:
    """{"checkpoint_000012": where it is} of all in a directory, damaged ones too."""
    there = written_directories(directory) if directory.is_dir() else {}
    return {name: path for name, path in there.items() if NAME.fullmatch(name)}


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])


def _some(directory: Path) -> list[_Entry]:
    """The checkpoints of a directory, newest first; CheckpointError if there is none."""
    paths = _paths(directory)
    if not paths:
        what = "holds no checkpoint" if directory.is_dir() else "is not a directory"
        raise CheckpointError(
            f"{directory} {what}; give the path that save() returned, or a directory of those"
        )
    return _newest_first(paths.values())


def _newest_first(paths: Iterable[Path]) -> list[_Entry]:
    """Those whose manifest cannot be used come before all others: they may be the newest."""
    entries = []
    for path in paths:
        try:
            entries.append(_Entry(path, manifest_of(path)))
        except CheckpointError as error:
            entries.append(_Entry(path, {}, str(error)))
    return sorted(entries, key=lambda e: e.manifest.get("saved_at", math.inf), reverse=True)


def _ranked(entries: Iterable[_Entry], key: str) -> list[_Entry]:
    """Those that have the figure, best first; of equal ones, in the order given."""
    sign, name = (-1, key[4:]) if key.startswith("min-") else (1, key)
    scored = [entry for entry in entries if name in entry.result]
    return sorted(scored, key=lambda e: sign * e.result[name], reverse=True)


def _first_whole(entries: Iterable[_Entry]) -> Path:
    """The first that is whole, with a warning of those before it that are not."""
    problems = []
    for entry in entries:
        try:
            if entry.problem:
                raise DamagedCheckpoint(entry.problem)
            check(entry.path)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        if problems:
            warnings.warn(
                "\n".join([*problems, f"passed over; {entry.path} is taken instead"]),
                RuntimeWarning,
                stacklevel=3,
            )
        return entry.path
    raise CheckpointError("\n".join([*problems, "no other checkpoint is left there"]))
