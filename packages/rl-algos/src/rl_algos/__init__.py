"""rl_algos: trainers, typed configs and the `rl` command line."""

from rl_algos.checkpoint import CheckpointError
from rl_algos.config import TrainerConfig
from rl_algos.definition import TrainerDefinition, build_trainer
from rl_algos.keys import ConfigError
from rl_algos.pg import PG, PGConfig, pg_loss
from rl_algos.ppo import PPO, PPOConfig, ppo_loss
from rl_algos.presets import Preset, resolve_config
from rl_algos.registry import get_algorithm
from rl_algos.trainer import Trainer

__all__ = [
    "PG",
    "PPO",
    "CheckpointError",
    "ConfigError",
    "PGConfig",
    "PPOConfig",
    "Preset",
    "Trainer",
    "TrainerConfig",
    "TrainerDefinition",
    "__version__",
    "build_trainer",
    "get_algorithm",
    "pg_loss",
    "ppo_loss",
    "resolve_config",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("rl-algos")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
