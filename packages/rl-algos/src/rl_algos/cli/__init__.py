"""The command line: `rl train --run=PPO --env=CartPole-v1`."""

from rl_algos.cli.commands import app, main

__all__ = ["app", "main"]
