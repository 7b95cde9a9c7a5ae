"""Directories with a manifest: there as a whole or not at all, and read only if undamaged."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: what killed writers leave behind is not swept up
    fcntl = None  # type: ignore[assignment]

MANIFEST = "manifest.json"
_SEAL = "sha256"
_HIDDEN = re.compile(r"\.(?P<name>.+)\.rl-(?P<what>draft|old)-[0-9a-f]{8}")

_drafts: set[Path] = set()
"""Those being written in this process."""


class DamagedError(ValueError):
    """A manifest or a file that it lists is missing, or not what was written; says which."""


@contextmanager
def new_directory(target: str | Path, **about: Any) -> Iterator[Path]:
    """A draft to write files into; it becomes `target` when the block ends well.

    The manifest is written last: `about`, and the size and SHA-256 of each file. Everything is
    synced to disk before the draft is renamed. A directory that was written in this way before is
    replaced; it is moved aside first, so that at every moment `written_directories` finds the one
    or the other. What writers that were killed have left in the parent is swept up. Inside another
    draft of this process, files are written in place and synced with that draft.

    Raises:
        FileExistsError: `target` is there and was not written by `new_directory`.
        OSError: as the disk says; nothing has changed then.
    """
    target = Path(target).absolute()
    if target.exists() and not (target / MANIFEST).is_file() and any(target.iterdir()):
        raise FileExistsError(
            f"{target} exists and has no {MANIFEST}, so it may be somebody's own; choose another "
            "directory, or move it away"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    if not _drafts.isdisjoint(target.parents):
        target.mkdir()
        yield target
        _write_manifest(target, about)
        return
    with _writing_in(target.parent):
        draft = _hidden(target, "draft")
        draft.mkdir()
        _drafts.add(draft)
        try:
            yield draft
            _write_manifest(draft, about)
            _sync_all([*draft.rglob("*"), draft])
            _commit(draft, target)
        finally:
            _drafts.discard(draft)
            shutil.rmtree(draft, ignore_errors=True)


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a directory; what it says of the files is not checked yet.

    Raises:
        DamagedError: there is none, or it is not one that `new_directory` wrote.
    """
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        seal, _ = manifest[_SEAL], manifest["files"]
    except FileNotFoundError:
        raise DamagedError(f"{path} is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path} is damaged or not ours: {error!r}") from error
    if seal != _seal(manifest):
        raise DamagedError(f"{path} is damaged: its own SHA-256 is another")
    return manifest  # type: ignore[no-any-return]


def check_files(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Raise DamagedError unless each file that the manifest lists is as it was written."""
    for name, expected in manifest["files"].items():
        file = directory / name
        try:
            found = _fingerprint(file)
        except FileNotFoundError:
            raise DamagedError(f"{file} is missing") from None
        except OSError as error:
            raise DamagedError(f"{file} cannot be read: {error}") from error
        if found != expected:
            raise DamagedError(
                f"{file} is damaged: {found['bytes']} bytes where {expected['bytes']} were "
                "written, or other ones"
            )


def written_directories(parent: Path) -> dict[str, Path]:
    """Names of the directories in `parent`, and where they are.

    That is under their name, or where a writer moved them that was killed before it could put the
    new one in place.
    """
    found: dict[str, Path] = {}
    for path in sorted(parent.iterdir()):
        hidden = _HIDDEN.fullmatch(path.name)
        if hidden is None:
            found[path.name] = path
        elif hidden["what"] == "old":
            found.setdefault(hidden["name"], path)
    return {name: path for name, path in found.items() if path.is_dir()}


def remove_directory(path: Path) -> None:
    """Delete a directory so that nobody ever sees half of it under its name."""
    aside = _hidden(path, "draft")
    path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _hidden(path: Path, what: str) -> Path:
    """A name of our own beside `path`; only such names are ever swept up."""
    return path.with_name(f".{path.name}.rl-{what}-{uuid.uuid4().hex[:8]}")


@contextmanager
def _writing_in(parent: Path) -> Iterator[None]:
    """Sweep up what killed writers have left in `parent`; tell other sweepers to wait meanwhile.

    A writer holds a shared lock on the directory, which ends with its process, and sweeps only
    when it can have the exclusive one, that is when nobody else is writing there.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # others are writing, or a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sweep(parent)
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def _sweep(parent: Path) -> None:
    for path in parent.iterdir():
        hidden = _HIDDEN.fullmatch(path.name)
        if hidden and hidden["what"] == "old" and not (parent / hidden["name"]).exists():
            path.rename(parent / hidden["name"])
        elif hidden:
            shutil.rmtree(path, ignore_errors=True)


def _write_manifest(directory: Path, about: Mapping[str, Any]) -> None:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    prints = {file.relative_to(directory).as_posix(): _fingerprint(file) for file in files}
    manifest = {**about, "files": prints}
    manifest[_SEAL] = _seal(manifest)
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1))


def _commit(draft: Path, target: Path) -> None:
    """Put `draft` in the place of `target`."""
    old = _hidden(target, "old") if target.exists() else None
    if old is not None:
        target.rename(old)
    try:
        draft.rename(target)
    except BaseException:
        if old is not None:
            old.rename(target)
        raise
    _sync(target.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _seal(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of all that a manifest says but this."""
    said = {key: value for key, value in manifest.items() if key != _SEAL}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _fingerprint(file: Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _sync_all(paths: Iterable[Path]) -> None:
    """Flush files and directories to disk; at once, so that one journal entry may do for many."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_sync, paths))


def _sync(path: Path) -> None:
    """Flush a file or directory to disk; directories cannot be opened so on Windows."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
