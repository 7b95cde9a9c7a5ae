"""The files of a saved policy: written whole or not at all, read only if undamaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rl_sample.files import MANIFEST, DamagedError, check_files, new_directory, read_manifest


class ArtifactError(ValueError):
    """A directory that is no saved policy or a damaged one; the message names the file."""


def write_artifact(target: Path, form: str, contents: Mapping[str, bytes]) -> None:
    """Write `contents`, {file name: bytes}; an artifact that is there already is replaced.

    Raises:
        FileExistsError: the directory holds something other than an artifact.
        OSError: as the disk says; nothing has changed then.
    """
    with new_directory(target, format=form) as draft:
        for name, data in contents.items():
            (draft / name).write_bytes(data)


def read_artifact(path: Path, form: str, names: Iterable[str]) -> dict[str, bytes]:
    """The contents of the named files, each as it was written.

    Raises:
        ArtifactError: anything is missing, damaged or of another format.
    """
    try:
        manifest = read_manifest(path)
        given = manifest.get("format")
        if given != form:
            raise ArtifactError(
                f"{path / MANIFEST} has format {given!r}; this version reads {form!r}"
            )
        check_files(path, manifest)
        return {name: (path / name).read_bytes() for name in names}
    except (DamagedError, OSError) as error:
        raise ArtifactError(
            f"{path} is no saved policy, or no longer a whole one: {error} (policy.save(directory) "
            "writes one); restore it from a copy"
        ) from error
