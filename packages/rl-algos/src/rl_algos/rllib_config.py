"""A config as RLlib 1.x means it, in our keys; what cannot be meant is collected, not raised."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

from rl_algos.config import TrainerConfig
from rl_algos.definition import TrainerDefinition
from rl_algos.frameworks import ALIASES, MODULES, is_installed
from rl_algos.keys import flatten, key_index, section_names
from rl_algos.presets import find_preset
from rl_algos.rllib_keys import ANY, IGNORED, MODEL_UNSUPPORTED, RENAMED, UNSUPPORTED

DOTTED = re.compile(r"^([a-z_]\w*(?:\.[a-z_]\w*)*)\.([A-Z]\w*)$")
"""RLlib's form of an environment's class, `package.module.Class`."""


class Translation:
    """Of one config.

    Attributes:
        problems: a line for each key that asks for what there is not.
        notes: a line for each thing that is done otherwise than the config says.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []

    def config(
        self, definition: TrainerDefinition, given: Mapping[str, Any], above: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Flat keys of our own.

        Args:
            definition: the algorithm.
            given: RLlib's keys, or ours.
            above: keys of ours that go before them.

        Raises:
            ConfigError: `above` has an unknown key.
        """
        kind = definition.config_class
        found = {**flatten(kind, self._renamed(kind, given)), **flatten(kind, above)}
        if found.get("framework") not in ("tf2", "tfe") and "eager_tracing" not in above:
            found.pop("eager_tracing", None)  # as RLlib does, which has it in many files
        fragment = found.get("rollout_fragment_length")
        if isinstance(fragment, int) and "num_envs_per_worker" not in found:
            found["num_envs_per_worker"] = 1
            self.notes.append("num_envs_per_worker: 1, as it is in RLlib when it is not given")
        return self._whole_fragments(definition, found)

    def _renamed(self, kind: type[TrainerConfig], given: Mapping[str, Any]) -> dict[str, Any]:
        """Config keys under our names, less those that ask for nothing."""
        found: dict[str, Any] = {}
        for key, value in given.items():
            key = RENAMED.get(key, key)
            if self._grids(key, value):
                continue
            if key == "model" and isinstance(value, Mapping):
                found[key] = {k: v for k, v in value.items() if self._model(kind, k, v)}
            elif key == "framework":
                found |= self._framework(value)
            elif key == "use_pytorch":
                found |= self._framework("torch" if value else "tf")
            elif key == "env" and isinstance(value, str):
                found[key] = DOTTED.sub(r"\1:\2", value)
            elif key in ("num_gpus", "num_gpus_per_worker"):
                if value:
                    self.notes.append(f"{key}: {value} is passed over: the CPU does it")
            elif key in section_names(kind) or self._wanted(kind, key, value):
                found[key] = value
        return found

    def _whole_fragments(
        self, definition: TrainerDefinition, flat: dict[str, Any]
    ) -> dict[str, Any]:
        """As RLlib does, sample whole fragments until there are `train_batch_size` steps."""
        preset, _ = find_preset(definition.name, flat.get("env"), flat.get("preset", "auto"))
        base = {**definition.config_class().flat(), **definition.overrides}
        all_keys = {**base, **(preset.config if preset else {}), **flat}
        try:
            fragment = all_keys["rollout_fragment_length"]
            unit = max(1, all_keys["num_workers"]) * all_keys["num_envs_per_worker"]
            unit *= 1 if fragment == "auto" else fragment
            batch = -(-all_keys["train_batch_size"] // unit) * unit
        except (TypeError, ZeroDivisionError):
            return flat  # a wrong type; resolve_config says which
        whole = all_keys["batch_mode"] != "truncate_episodes"
        if whole or batch == all_keys["train_batch_size"]:
            return flat
        self.notes.append(
            f"train_batch_size: {batch} instead of {all_keys['train_batch_size']}, the next "
            f"multiple of the {unit} steps that are sampled at once"
        )
        return {**flat, "train_batch_size": batch}

    def _wanted(self, kind: type[TrainerConfig], key: str, value: Any) -> bool:
        """Whether a key is one of ours; where it is not, a problem unless it asks for nothing."""
        known = key_index(kind)
        if key in known and not (key == "optimizer" and isinstance(value, Mapping)):
            return True
        if key in UNSUPPORTED:
            self._unsupported(key, value, *UNSUPPORTED[key])
        elif key not in IGNORED:
            near = difflib.get_close_matches(str(key), [*known, *section_names(kind)], n=2)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see rl show"
            self.problems.append(f"{kind.__name__} has no key {key!r}; {hint}")
        return False

    def _model(self, kind: type[TrainerConfig], key: str, value: Any) -> bool:
        known = [name for name, (section, _) in key_index(kind).items() if section == "model"]
        if key in known:
            return True
        if key in MODEL_UNSUPPORTED:
            self._unsupported(f"model: {key}", value, *MODEL_UNSUPPORTED[key])
        elif not key.startswith(("attention_", "custom_preprocessor")):
            near = difflib.get_close_matches(str(key), known, n=2)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"keys: {known}"
            self.problems.append(f"model has no key {key!r}; {hint}")
        return False

    def _unsupported(self, key: str, value: Any, harmless: Any, hint: str) -> None:
        if harmless is not ANY and value != harmless and (value or harmless):
            self.problems.append(f"{key}: {json.dumps(value)} is not supported: {hint}")

    def _framework(self, name: Any) -> dict[str, Any]:
        """The framework; the other one where only that is installed, for a file means the same."""
        own, other = ALIASES.get(name, name), "tf" if name == "torch" else "torch"
        if own in MODULES and not is_installed(own) and is_installed(other):
            self.notes.append(f"framework: {name} is not installed; training with {other}")
            return {}
        return {"framework": name}

    def _grids(self, key: str, value: Any) -> bool:
        """Whether a value is a grid, or has one in it: a problem."""
        if not isinstance(value, Mapping):
            return False
        if "grid_search" not in value:
            inner = [self._grids(f"{key}: {name}", below) for name, below in value.items()]
            return any(inner)
        self.problems.append(
            f"{key}: grid_search is for Ray Tune: from rl_algos.tune import PPOTrainer; "
            f'tune.run(PPOTrainer, config={{"{key}": tune.grid_search({value["grid_search"]})}})'
        )
        return True
