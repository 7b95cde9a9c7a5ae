"""What the files of a checkpoint hold: nested state and config keys, as JSON and safetensors."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rl_sample import MultiAgentBatch, SampleBatch


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, is damaged, or does not fit; says how to mend it."""


def write_state(directory: Path, name: str, state: Mapping[str, Any]) -> None:
    """Write nested state: arrays, if any, to `name.safetensors`, the rest to `name.json`.

    Dicts with string keys, lists and tuples may hold arrays of numbers or booleans, batches, and
    what JSON has.

    Raises:
        CheckpointError: there is something else in it; says where.
    """
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}
    tree = _encode(state, name, arrays)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps(tree, indent=1))
    if arrays:
        (directory / f"{name}.safetensors").write_bytes(save(arrays))


def read_state(directory: Path, name: str) -> Any:
    """What `write_state` wrote.

    Raises:
        CheckpointError: naming the file that is missing or cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    file = directory / f"{name}.json"
    try:
        tree = json.loads(file.read_bytes())
        file = directory / f"{name}.safetensors"
        return _decode(tree, load(file.read_bytes()) if file.exists() else {})
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read: {error!r}") from error


def _encode(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """JSON for nested state whose arrays go into `arrays` under their paths."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        while path in arrays:  # {"a/b": x, "a": {"b": y}}
            path += "'"
        arrays[path] = np.asarray(value, value.dtype.newbyteorder("="), order="C")
        return {"$array": path}
    if isinstance(value, SampleBatch):
        return {"$batch": _encode(np.frombuffer(value.to_bytes(), np.uint8), path, arrays)}
    if isinstance(value, MultiAgentBatch):
        parts = _encode(value.policy_batches, path, arrays)
        return {"$multi": parts, "env_steps": value.env_steps()}
    if isinstance(value, tuple):
        return {"$tuple": [_encode(v, f"{path}/{i}", arrays) for i, v in enumerate(value)]}
    if isinstance(value, list):
        return [_encode(v, f"{path}/{i}", arrays) for i, v in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {k: _encode(v, f"{path}/{k}", arrays) for k, v in value.items()}
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CheckpointError(
        f"{path} cannot be saved: {value!r:.200} ({type(value).__name__}). A state_dict holds "
        "numbers, strings, booleans, None, numeric arrays, batches, and lists, tuples and dicts "
        "with string keys of those"
    )


def _decode(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(tree, list):
        return [_decode(v, arrays) for v in tree]
    if not isinstance(tree, dict):
        return tree
    if "$array" in tree:
        return arrays[tree["$array"]]
    if "$tuple" in tree:
        return tuple(_decode(v, arrays) for v in tree["$tuple"])
    if "$batch" in tree:
        return SampleBatch.from_bytes(_decode(tree["$batch"], arrays).tobytes())
    if "$multi" in tree:
        return MultiAgentBatch(_decode(tree["$multi"], arrays), tree["env_steps"])
    return {k: _decode(v, arrays) for k, v in tree.items()}


def encode_config(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Config keys as JSON: importable things by name, others as a hole to fill when restoring."""
    return {key: _named(value) for key, value in keys.items()}


def decode_config(encoded: Mapping[str, Any], fill: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that `encode_config` encoded, less those that `fill` replaces.

    Raises:
        CheckpointError: a hole is left open, or a name cannot be imported any more.
    """
    holes = [key for key, value in encoded.items() if is_hole(value) and key not in fill]
    if holes:
        raise CheckpointError(
            f"the checkpoint could not store {holes}: give them again, as in "
            f"from_checkpoint(path, {holes[0]}=…)"
        )
    return {key: _imported(key, value) for key, value in encoded.items() if key not in fill}


def is_hole(encoded: Any) -> bool:
    """Whether a config value had neither JSON nor an importable name."""
    return isinstance(encoded, dict) and "$hole" in encoded


def _named(value: Any) -> Any:
    """JSON for a config value; a thing that has neither JSON nor an importable name is a hole."""
    qualname, module = getattr(value, "__qualname__", None), getattr(value, "__module__", None)
    if qualname is not None and module != "__main__" and "<" not in qualname:
        return {"$import": f"{module}:{qualname}"}
    if isinstance(value, list | tuple):
        items = [_named(item) for item in value]
        return {"$hole": True} if any(map(is_hole, items)) else items
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        entries = {key: _named(item) for key, item in value.items()}
        return {"$hole": True} if any(map(is_hole, entries.values())) else entries
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return {"$hole": True}


def _imported(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_imported(key, item) for item in value]
    if not (isinstance(value, dict) and "$import" in value):
        named = isinstance(value, dict)
        return {k: _imported(key, v) for k, v in value.items()} if named else value
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
