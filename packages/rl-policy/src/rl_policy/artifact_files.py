"""A directory of files with a manifest: written whole or not at all, read only if undamaged."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

MANIFEST = "manifest.json"


class ArtifactError(ValueError):
    """A directory that is no saved policy or a damaged one; the message names the file."""


def write_artifact(target: Path, form: str, contents: Mapping[str, bytes]) -> None:
    """Write `contents` and their manifest, last, beside `target`, then rename into place.

    An artifact that is there already is replaced.

    Raises:
        FileExistsError: the directory holds something other than an artifact.
    """
    if target.exists() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise FileExistsError(f"{target} exists and is no saved policy; choose another directory")
    manifest = {
        "format": form,
        "files": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in contents.items()
        },
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name, data in contents.items():
            _write(temporary / name, data)
        _write(temporary / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
        temporary.chmod(0o755)
        if target.exists():
            old = temporary.with_name(temporary.name + "-old")
            target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old)
        else:
            temporary.rename(target)
        _sync_directory(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_artifact(path: Path, form: str, names: Iterable[str]) -> dict[str, bytes]:
    """The contents of the named files, each as long and with the hash that the manifest says.

    Raises:
        ArtifactError: anything is missing, damaged or of another format.
    """
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        raise ArtifactError(
            f"{path} is no saved policy: {manifest_path} is missing (policy.save(directory) writes "
            "it last)"
        )
    try:
        manifest = json.loads(manifest_path.read_bytes())
        given, listed = manifest["format"], manifest["files"]
        expected = {name: (listed[name]["size"], listed[name]["sha256"]) for name in names}
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{manifest_path} is damaged or not ours: {error!r}") from error
    if given != form:
        raise ArtifactError(f"{manifest_path} has format {given!r}; this version reads {form!r}")
    contents = {}
    for name, (size, digest) in expected.items():
        file = path / name
        if not file.is_file():
            raise ArtifactError(f"{file} is missing")
        data = file.read_bytes()
        if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            raise ArtifactError(
                f"{file} is damaged: {len(data)} bytes where {size} were written, or other ones; "
                "restore the directory from a copy"
            )
        contents[name] = data
    return contents


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    if os.name != "posix":  # elsewhere directories cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
