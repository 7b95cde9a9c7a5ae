"""Experiments from a YAML file, RLlib 1.x's own included: what is meant, and what cannot be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rl_algos.keys import ConfigError
from rl_algos.presets import resolve_config
from rl_algos.registry import get_algorithm
from rl_algos.rllib_config import Translation
from rl_algos.rllib_keys import SPEC_IGNORED, SPEC_UNSUPPORTED
from rl_algos.runs import Settings
from rl_algos.stopping import checked_stop

BESIDE_CONFIG = {
    "stop": "stop",
    "checkpoint_freq": "checkpoint_freq",
    "checkpoint_at_end": "checkpoint_at_end",
    "keep_checkpoints_num": "keep",
    "keep": "keep",
    "checkpoint_score_attr": "score_by",
    "score_by": "score_by",
    "local_dir": "local_dir",
    "loggers": "loggers",
}
"""{key beside `config`: keyword argument of `experiment.train`}."""


class Experiment(NamedTuple):
    """One run of a file."""

    name: str
    algorithm: str
    config: Mapping[str, Any]
    settings: Mapping[str, Any]
    """Keyword arguments of `experiment.train`."""
    notes: tuple[str, ...]
    """What was done otherwise than the file says."""


def read_experiments(
    file: Path, algorithm: str | None = None, keys: Mapping[str, Any] | None = None
) -> list[Experiment]:
    """The experiments of a file, in its order; `num_samples: 3` makes three of one.

    Args:
        file: `{name: {run, env, stop, config, checkpoint_freq, num_samples, …}}`, or one
            experiment without a name.
        algorithm: trains all of them, whatever the file says.
        keys: config keys that go before the file's.

    Raises:
        ConfigError: with a line for each thing that cannot be meant, of all experiments.
    """
    found: list[Experiment] = []
    problems: list[str] = []
    for name, spec in _specs(file).items():
        try:
            found += _experiments(name, spec, algorithm, keys or {})
        except ConfigError as error:
            problems += [f"  {name}: {line}" for line in str(error).splitlines()]
    if problems:
        raise ConfigError("\n".join([f"{file} cannot be run as it is:", *problems]))
    return found


def _experiments(
    name: str, spec: Mapping[str, Any], algorithm: str | None, keys: Mapping[str, Any]
) -> Iterator[Experiment]:
    reading = Translation()
    settings = _settings(spec, reading)
    name_of_algorithm = algorithm or _algorithm(spec)
    definition = get_algorithm(name_of_algorithm)
    try:
        given = _config(spec)
        config = reading.config(definition, given, keys)
        if "env" in config or "env" not in given:  # else it is among the problems
            resolve_config(definition, config)
    except ConfigError as error:
        reading.problems += str(error).splitlines()
    if reading.problems:
        raise ConfigError("\n".join(reading.problems))
    samples = spec.get("num_samples", 1)
    if not isinstance(samples, int) or samples < 1:
        raise ConfigError(f"num_samples is a whole number of at least 1, not {samples!r}")
    for number in range(samples):
        seed = config.get("seed")
        one = config if seed is None else {**config, "seed": seed + number}
        label = name if samples == 1 else f"{name}/{number + 1}"
        yield Experiment(label, name_of_algorithm, one, settings, tuple(reading.notes))
        reading.notes = []


def _settings(spec: Mapping[str, Any], reading: Translation) -> dict[str, Any]:
    """What stands beside `config`, as keyword arguments of `experiment.train`."""
    known = [*BESIDE_CONFIG, "run", "env", "config", "num_samples"]
    found: dict[str, Any] = {}
    for key, value in spec.items():
        if key in BESIDE_CONFIG:
            found[BESIDE_CONFIG[key]] = value
        elif key in SPEC_IGNORED:
            reading.notes.append(f"{key} is passed over: {SPEC_IGNORED[key]}")
        elif key in SPEC_UNSUPPORTED:
            reading.problems.append(f"{key} is not supported: {SPEC_UNSUPPORTED[key]}")
        elif key not in known:
            near = difflib.get_close_matches(str(key), [*known, *SPEC_IGNORED], n=1)
            hint = f"did you mean {near[0]!r}?" if near else "config keys go under config:"
            reading.problems.append(f"there is no key {key!r} beside config; {hint}")
    try:
        checked_stop(found.get("stop") or {})
        Settings(**{k: v for k, v in found.items() if k in ("checkpoint_freq", "keep")})
    except ValueError as error:
        reading.problems.append(str(error))
    return found


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-4 is a number and a key given twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """A mapping, if its keys are all different."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _specs(file: Path) -> dict[str, Mapping[str, Any]]:
    """{name: experiment} of a file."""
    if not file.is_file():
        raise ConfigError(f"there is no file {file}")
    try:
        content = yaml.load(file.read_text(), _Loader)  # a safe one
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{file}{where}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is no YAML: {error}") from error
    if isinstance(content, Mapping) and ("run" in content or "config" in content):
        content = {file.stem: content}
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(
            f"{file} holds no experiments: write 'my-experiment: {{run: PPO, env: CartPole-v1}}'"
        )
    for name, spec in content.items():
        if not isinstance(spec, Mapping):
            raise ConfigError(
                f"{file}: {name!r} is an experiment such as {{run: PPO, env: CartPole-v1}}, "
                f"not {spec!r}"
            )
    return {str(name): spec for name, spec in content.items()}


def _algorithm(spec: Mapping[str, Any]) -> str:
    if not isinstance(spec.get("run"), str):
        raise ConfigError(f"run names the algorithm, such as PPO; it is {spec.get('run')!r}")
    return str(spec["run"])


def _config(spec: Mapping[str, Any]) -> dict[str, Any]:
    """`config`, with `env` from beside it."""
    config = spec.get("config") or {}
    if not isinstance(config, Mapping):
        raise ConfigError(f"config is a mapping of keys to values, not {config!r}")
    return {**({"env": spec["env"]} if "env" in spec else {}), **config}
