"""A policy on disk, without pickle; reading it needs no framework."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from rl_policy.action_dist import make_action_dist
from rl_policy.artifact_files import ArtifactError, read_artifact, write_artifact
from rl_policy.config import DEFAULT_POLICY_CONFIG
from rl_policy.hooks import ActingHooks
from rl_policy.model_config import ModelConfig, find_custom_model
from rl_policy.space_json import space_from_json, space_to_json
from rl_policy.spec import NetActorSpec
from rl_sample.protocols import Needs, Snapshot

FORMAT = "rl-policy/1"
_FILES = ("policy.json", "weights.safetensors")
_ACTING_KEYS = ("normalize_actions", "clip_actions", "observation_filter", "explore", "gamma")


def write_policy(name: str, spec: NetActorSpec, snapshot: Snapshot, directory: str | Path) -> Path:
    """Write what acting needs: `policy.json`, `weights.safetensors`, `manifest.json`.

    The directory appears under its name only when it is complete. A policy saved there before is
    replaced.

    Raises:
        ArtifactError: a hook or class of the policy has no importable name.
        FileExistsError: the directory holds something other than a saved policy.
    """
    from safetensors.numpy import save

    description = _describe(name, spec, snapshot)
    arrays = {name: np.ascontiguousarray(array) for name, array in snapshot.arrays.items()}
    contents = {
        "policy.json": json.dumps(description, indent=1, sort_keys=True).encode(),
        "weights.safetensors": save(arrays),
    }
    target = Path(directory).absolute()
    write_artifact(target, FORMAT, contents)
    return target


def read_policy(directory: str | Path) -> tuple[NetActorSpec, Snapshot]:
    """Read what `write_policy` wrote.

    Raises:
        ArtifactError: the directory is no saved policy, or a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(directory)
    contents = read_artifact(path, FORMAT, _FILES)
    try:
        spec, number, step = _rebuild(json.loads(contents["policy.json"]))
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path / 'policy.json'} does not describe a policy that can be built here: {error}"
        ) from error
    try:
        return spec, Snapshot(number, step, load(contents["weights.safetensors"]))
    except SafetensorError as error:
        raise ArtifactError(f"{path / 'weights.safetensors'} cannot be read: {error}") from error


def _describe(name: str, spec: NetActorSpec, snapshot: Snapshot) -> dict[str, Any]:
    hooks = {k: h for k, h in vars(spec.hooks).items() if h is not None and k != "postprocess_fn"}
    if "make_model_and_action_dist" in hooks:
        raise ArtifactError(
            "a policy with make_model_and_action_dist cannot be saved; name its parts with "
            "register_custom_model and register_action_dist instead"
        )
    model, custom, needs = spec.model.to_mapping(), spec.model.custom_model, spec.needs
    if custom is not None:
        model["custom_model"] = _reference("the custom model", find_custom_model(custom))
    return {
        "name": name,
        "observation_space": space_to_json(spec.observation_space),
        "action_space": space_to_json(spec.action_space),
        "model": model,
        "framework": spec.framework,
        "engine": [spec.engine, spec.engine_reason],
        "hooks": {key: _reference(f"the hook {key}", hook) for key, hook in hooks.items()},
        "config": {key: spec.config[key] for key in _ACTING_KEYS},
        "needs": {
            "act": {k: [column, list(offsets)] for k, (column, offsets) in needs.act.items()},
            "state": [[list(shape), np.dtype(dtype).name] for shape, dtype in needs.state],
            "max_seq_len": needs.max_seq_len,
            "noise": {k: [kind, list(shape)] for k, (kind, shape) in needs.noise.items()},
        },
        "version": snapshot.version,
        "step": snapshot.step,
        "made_with": {
            "rl-policy": _own_version(),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _rebuild(data: Mapping[str, Any]) -> tuple[NetActorSpec, int, int]:
    model = dict(data["model"])
    if model["custom_model"] is not None:
        model["custom_model"] = _resolve(model["custom_model"])
    model_config = ModelConfig.from_mapping(model)
    action_space = space_from_json(data["action_space"])
    needs = data["needs"]
    spec = NetActorSpec(
        observation_space=space_from_json(data["observation_space"]),
        action_space=action_space,
        config={**DEFAULT_POLICY_CONFIG, **data["config"], "model": model_config.to_mapping()},
        model=model_config,
        dist=make_action_dist(action_space, model_config.custom_action_dist),
        needs=Needs(
            act={k: (column, tuple(offsets)) for k, (column, offsets) in needs["act"].items()},
            state=tuple((tuple(shape), np.dtype(dtype)) for shape, dtype in needs["state"]),
            max_seq_len=needs["max_seq_len"],
            noise={k: (kind, tuple(shape)) for k, (kind, shape) in needs["noise"].items()},
        ),
        framework=data["framework"],
        hooks=ActingHooks(**{name: _resolve(hook) for name, hook in data["hooks"].items()}),
        engine=data["engine"][0],
        engine_reason=data["engine"][1],
    )
    return spec, int(data["version"]), int(data["step"])


def _reference(what: str, thing: Any) -> str:
    """`module:qualname` of a class or function, if importing that name gives it back."""
    name = f"{getattr(thing, '__module__', '?')}:{getattr(thing, '__qualname__', '?')}"
    try:
        found = _resolve(name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if found is not thing or name.startswith("__main__:"):
        raise ArtifactError(
            f"{what} ({name}) cannot be imported by that name, so a saved policy could not find it "
            "again; define it at the top level of a module"
        )
    return name


def _resolve(name: str) -> Any:
    module, _, qualname = name.partition(":")
    found: Any = import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def _own_version() -> str:
    try:
        return version("rl-policy")
    except PackageNotFoundError:  # running from a checkout
        return "unknown"
