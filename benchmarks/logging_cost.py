"""Display and logs: what part of PPO's time they take, in turns with and without them."""

from __future__ import annotations

import gc
import math
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import Any

import harness
from rich.console import Console

from rl_algos import PPO
from rl_algos.display import make_display
from rl_algos.loggers import DEFAULT_LOGGERS, Loggers, describe_run, make_loggers

STOP = {"episode_reward_mean": 475, "timesteps_total": 1_000_000}


def turn(trainer: Any, iterations: int, *watchers: Any) -> tuple[float, float]:
    """CPU seconds of some iterations with their logs, and of the logs alone."""
    gc.collect()
    began, logging = process_time(), 0.0
    for _ in range(iterations):
        result = trainer.train()
        trained = process_time()
        for watcher in watchers:
            watcher.log(result)
        logging += process_time() - trained
    return process_time() - began, logging


@contextmanager
def everything_on(trainer: Any) -> Iterator[list[Any]]:
    """What `rl train` has on in a terminal: the three files and the live panel."""
    with tempfile.TemporaryDirectory() as run, open(os.devnull, "w") as terminal:
        console = Console(file=terminal, force_terminal=True, width=120, height=40)
        loggers = Loggers(make_loggers(DEFAULT_LOGGERS, Path(run), describe_run(trainer)))
        with make_display(console, STOP) as display:
            yield [loggers, display]
        loggers.close()


def main() -> None:
    args = harness.arguments(
        __doc__,
        ("--rounds", 40, "rounds of four turns: without, with, with, without"),
        ("--iterations", 5, "iterations of 1024 steps in a turn"),
    )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {args.core})
    size, ratios, shares, plain, logs = args.iterations, [], [], [], []
    with PPO({"env": "CartPole-v1", "seed": 0}) as trainer, everything_on(trainer) as watchers:
        turn(trainer, size, *watchers)
        for _ in range(args.rounds):
            order: list[list[Any]] = [[], watchers, watchers, []]
            first, second, third, fourth = (turn(trainer, size, *watching) for watching in order)
            without, logged = first[0] + fourth[0], second[0] + third[0]
            logging = second[1] + third[1]
            ratios.append(logged / without)
            shares.append(logging / (logged - logging))
            plain.append(1000 * without / (2 * size))
            logs.append(1000 * logging / (2 * size))
    low, ratio, high = statistics.quantiles(ratios, n=4)
    share = harness.median(shares)
    error = statistics.stdev(ratios) / math.sqrt(len(ratios))
    rows = [
        {
            "on": f"{', '.join(DEFAULT_LOGGERS)}, live panel",
            "CPU ms of an iteration without": f"{harness.median(plain):.1f}",
            "CPU ms in logs and panel": f"{harness.median(logs):.2f}",
            "logs and panel / training": f"{100 * share:.2f} %",
            "turns with / turns without": f"{ratio:.3f} (quartiles {low:.3f} to {high:.3f})",
        }
    ]
    checks = [harness.check("time in logs and display / time in training", share, "<=", 0.02)]
    notes = [
        f"PPO's CartPole-v1 preset, one thread, {size} iterations a turn; medians over "
        f"{args.rounds} rounds of turns without, with, with and without. The ratio of the turns "
        f"(mean {statistics.mean(ratios):.3f}, standard error {error:.3f}) holds what the calls' "
        "own time does not show, such as cold caches, and the noise of training itself."
    ]
    versions = {"ours": harness.versions()}
    title = "Cost of display and logs (num_workers=0, torch)"
    harness.save("logging_cost", title, rows, checks, versions, notes)


if __name__ == "__main__":
    main()
