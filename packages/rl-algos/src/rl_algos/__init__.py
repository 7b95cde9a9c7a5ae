"""rl_algos: trainers, typed configs and the `rl` command line; each name is imported when used."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl_algos.a2c import A2C, A2CConfig
    from rl_algos.checkpoint import CheckpointError
    from rl_algos.config import TrainerConfig
    from rl_algos.curves import plot
    from rl_algos.definition import TrainerDefinition, build_trainer
    from rl_algos.evaluation import evaluate
    from rl_algos.experiment import resume, train
    from rl_algos.keys import ConfigError
    from rl_algos.pg import PG, PGConfig, pg_loss
    from rl_algos.ppo import PPO, PPOConfig, ppo_loss
    from rl_algos.presets import Preset, resolve_config
    from rl_algos.registry import get_algorithm
    from rl_algos.running import Outcome
    from rl_algos.trainer import Trainer

    __version__: str

__all__ = [
    "A2C",
    "PG",
    "PPO",
    "A2CConfig",
    "CheckpointError",
    "ConfigError",
    "Outcome",
    "PGConfig",
    "PPOConfig",
    "Preset",
    "Trainer",
    "TrainerConfig",
    "TrainerDefinition",
    "__version__",
    "build_trainer",
    "evaluate",
    "get_algorithm",
    "pg_loss",
    "plot",
    "ppo_loss",
    "resolve_config",
    "resume",
    "train",
]

_WHERE = {
    "A2C": "a2c",
    "A2CConfig": "a2c",
    "CheckpointError": "checkpoint",
    "ConfigError": "keys",
    "Outcome": "running",
    "PG": "pg",
    "PGConfig": "pg",
    "PPO": "ppo",
    "PPOConfig": "ppo",
    "Preset": "presets",
    "Trainer": "trainer",
    "TrainerConfig": "config",
    "TrainerDefinition": "definition",
    "build_trainer": "definition",
    "evaluate": "evaluation",
    "get_algorithm": "registry",
    "pg_loss": "pg",
    "plot": "curves",
    "ppo_loss": "ppo",
    "resolve_config": "presets",
    "resume": "experiment",
    "train": "experiment",
}
"""{name: module}: so that `rl --help` and a worker import no more than they need."""


def __getattr__(name: str) -> Any:
    from importlib import import_module, metadata

    if name == "__version__":
        return metadata.version("rl-algos")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
