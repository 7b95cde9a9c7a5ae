"""`python -m rl_algos.cli` does what `rl` does."""

from rl_algos.cli.commands import main

main()
