"""Checkpoints: a directory of safetensors and JSON files that is there as a whole or not at all."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
MANIFEST = "manifest.json"


class CheckpointError(ValueError):
    """A directory that is no checkpoint, or one whose files are missing or damaged."""


@contextmanager
def new_checkpoint(path: Path, **about: Any) -> Iterator[Path]:
    """A temporary directory to write files into; it becomes `path` when the block ends well.

    The manifest is written last and holds each file's size and SHA-256, with `about`. Everything
    is synced to disk before the directory is renamed; a checkpoint already at `path` is replaced.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    draft.mkdir()
    try:
        yield draft
        files = sorted(p for p in draft.rglob("*") if p.is_file())
        entries = {file.relative_to(draft).as_posix(): _fingerprint(file) for file in files}
        manifest = {"kind": "rl-algos checkpoint", "format": FORMAT, **about, "files": entries}
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=2))
        for entry in [*draft.rglob("*"), draft]:
            _sync(entry)
        if path.exists():
            shutil.rmtree(path)
        draft.rename(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint all of whose files are as they were written.

    Raises:
        CheckpointError: naming the file that is missing, damaged or foreign.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a directory; give the path that save() returned")
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        files: dict[str, Any] = manifest["files"]
        kind, version = manifest["kind"], manifest["format"]
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} has no {MANIFEST}: it is not a checkpoint, or saving it was interrupted"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / MANIFEST} is damaged or foreign: {error!r}") from error
    if kind != "rl-algos checkpoint" or version != FORMAT:
        raise CheckpointError(
            f"{path / MANIFEST} says {kind!r} format {version}; expected an 'rl-algos checkpoint' "
            f"of format {FORMAT}"
        )
    for name, expected in files.items():
        if not (path / name).is_file():
            raise CheckpointError(f"{path / name} is missing; restore another checkpoint")
        if _fingerprint(path / name) != expected:
            raise CheckpointError(
                f"{path / name} is not what was saved (SHA-256 differs); restore another checkpoint"
            )
    return manifest  # type: ignore[no-any-return]


def write_state(directory: Path, name: str, state: Mapping[str, Any]) -> None:
    """Write nested state: its arrays to `name.safetensors`, the rest to `name.json`."""
    from safetensors.numpy import save_file

    arrays: dict[str, np.ndarray] = {}
    tree = _take_arrays(state, name, arrays)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps(tree, indent=1))
    save_file(arrays, directory / f"{name}.safetensors")


def read_state(directory: Path, name: str) -> Any:
    """What `write_state` wrote.

    Raises:
        CheckpointError: naming the file that is missing or cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = directory / f"{name}.json"
    try:
        tree = json.loads(file.read_text())
        file = directory / f"{name}.safetensors"
        return _put_arrays(tree, load_file(file))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read: {error!r}") from error


def encode_config(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Config keys as JSON: importable things by name, others as a hole to fill when restoring."""
    return {key: _encode(value) for key, value in keys.items()}


def decode_config(encoded: Mapping[str, Any], fill: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that `encode_config` encoded, less those that `fill` replaces.

    Raises:
        CheckpointError: a hole is left open, or a name cannot be imported any more.
    """
    holes = [key for key, value in encoded.items() if value == {"$hole": True} and key not in fill]
    if holes:
        raise CheckpointError(
            f"the checkpoint could not store {holes}: give them again, as in "
            f"from_checkpoint(path, {holes[0]}=…)"
        )
    return {key: _decode(key, value) for key, value in encoded.items() if key not in fill}


def _encode(value: Any) -> Any:
    """JSON for a config value; a thing that has neither JSON nor an importable name is a hole."""
    qualname, module = getattr(value, "__qualname__", None), getattr(value, "__module__", None)
    if qualname is not None and module != "__main__" and "<" not in qualname:
        return {"$import": f"{module}:{qualname}"}
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return {"$hole": True}


def _decode(key: str, value: Any) -> Any:
    if not (isinstance(value, dict) and "$import" in value):
        return value
    module, _, qualname = value["$import"].partition(":")
    try:
        found = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{key}={value['$import']!r} cannot be imported ({error}): give it again, as in "
            f"from_checkpoint(path, {key}=…)"
        ) from error
    return found


def _take_arrays(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """JSON for nested state whose arrays go into `arrays` under their paths."""
    if isinstance(value, np.ndarray):
        arrays[path] = np.array(value, order="C")
        return {"$array": path}
    if isinstance(value, Mapping):
        return {str(k): _take_arrays(v, f"{path}/{k}", arrays) for k, v in value.items()}
    if isinstance(value, tuple):
        return {"$tuple": [_take_arrays(v, f"{path}/{i}", arrays) for i, v in enumerate(value)]}
    if isinstance(value, list):
        return [_take_arrays(v, f"{path}/{i}", arrays) for i, v in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def _put_arrays(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(tree, list):
        return [_put_arrays(v, arrays) for v in tree]
    if not isinstance(tree, dict):
        return tree
    if "$array" in tree:
        return arrays[tree["$array"]]
    if "$tuple" in tree:
        return tuple(_put_arrays(v, arrays) for v in tree["$tuple"])
    return {k: _put_arrays(v, arrays) for k, v in tree.items()}


def _fingerprint(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _sync(path: Path) -> None:
    """Flush a file or directory to disk; directories cannot be opened so on Windows."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
