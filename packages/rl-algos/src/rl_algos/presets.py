"""Settings known to solve an environment, and how they meet the defaults and the user's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rl_algos.config import TrainerConfig, validated
from rl_algos.keys import ConfigError, nest
from rl_algos.registry import get_algorithm

if TYPE_CHECKING:
    from rl_algos.definition import TrainerDefinition


class Preset(NamedTuple):
    """What one algorithm needs to solve one environment."""

    config: Mapping[str, Any]
    stop: Mapping[str, float]
    """{key of a result: value at which training ends}."""


PRESETS: Mapping[tuple[str, str], Preset] = {
    ("A2C", "CartPole-v1"): Preset(
        config={
            "gamma": 0.98,
            "lr_schedule": [(0, 2e-3), (150_000, 0.0)],
            "metrics_num_episodes_for_smoothing": 20,
        },
        stop={"episode_reward_mean": 475, "timesteps_total": 150_000},
    ),
    ("PPO", "CartPole-v1"): Preset(
        config={
            "num_envs_per_worker": 8,
            "train_batch_size": 1024,
            "sgd_minibatch_size": 256,
            "num_sgd_iter": 10,
            "gamma": 0.98,
            "lambda": 0.95,
            "grad_clip": 1.0,
            "lr_schedule": [(0, 3e-3), (100_000, 0.0)],
            "clip_param_schedule": [(0, 0.2), (100_000, 0.0)],
            "metrics_num_episodes_for_smoothing": 20,
        },
        stop={"episode_reward_mean": 475, "timesteps_total": 100_000},
    ),
    ("PPO", "Pendulum-v1"): Preset(
        config={
            "num_envs_per_worker": 8,
            "train_batch_size": 2048,
            "sgd_minibatch_size": 128,
            "num_sgd_iter": 10,
            "gamma": 0.95,
            "lambda": 0.95,
            "lr_schedule": [(0, 1e-3), (200_000, 0.0)],
            "observation_filter": "MeanStdFilter",
            "free_log_std": True,
        },
        stop={"episode_reward_mean": -200, "timesteps_total": 200_000},
    ),
}
"""{(algorithm, environment id): its preset}."""


class Resolved(NamedTuple):
    """A config, and where it came from."""

    config: TrainerConfig
    preset: Preset | None
    origin: str
    """One line that says which defaults lie under the user's keys."""


def resolve_config(algorithm: str | TrainerDefinition, user: Mapping[str, Any]) -> Resolved:
    """The one place where a config comes from: defaults < preset for (algorithm, env) < user.

    Args:
        algorithm: a name, or a definition made by `build_trainer`.
        user: flat keys, sections or both. `preset` picks another environment's preset, or None.

    Raises:
        ConfigError: a key is unknown, a value impossible, or two of them contradict each other.
    """
    definition = get_algorithm(algorithm) if isinstance(algorithm, str) else algorithm
    kind = definition.config_class
    given = nest(kind, user)
    env = given.get("environment", {}).get("env")
    if env is None:
        raise ConfigError("no environment is given: set env, for example env='CartPole-v1'")
    preset, origin = find_preset(definition.name, env, given.get("preset", "auto"))
    layers = [nest(kind, definition.overrides), nest(kind, preset.config if preset else {}), given]
    return Resolved(validated(kind, merge(layers)), preset, origin)


def find_preset(algorithm: str, env: Any, choice: str | None) -> tuple[Preset | None, str]:
    """The preset that `preset=choice` means for an environment, and a line that says so."""
    name = env if choice == "auto" else choice
    preset = PRESETS.get((algorithm, name)) if isinstance(name, str) else None
    if preset is not None:
        return preset, f"{algorithm} on {env}: preset {name}"
    if choice is None or choice == "auto":
        return None, f"{algorithm} on {env}: defaults, no preset"
    known = [preset_env for name, preset_env in PRESETS if name == algorithm]
    raise ConfigError(f"there is no preset {choice!r} for {algorithm}: use one of {known} or None")


def merge(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Nested layers in one, later ones on top.

    A value hides the schedule of the same name beneath it: who sets `lr` over a preset with an
    `lr_schedule` means a constant.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        hidden = {f"{name}_schedule" for name in layer}
        merged = {name: value for name, value in merged.items() if name not in hidden}
        for name, value in layer.items():
            section = isinstance(value, dict)
            merged[name] = merged.get(name, {}) | value if section else value
    return merged
