"""Saves in forked children that are killed; prints what was found.

Usage: `killed_saver.py DIRECTORY random` or `… each`: at a hundred random moments, or at each thing
that a save does to the file system. After each kill, the newest checkpoint must be whole and not
older than the last one that the child has announced.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

from tiny_trainers import COUNTER, TINY, TINY_PPO

from rl_algos.checkpoint import check, latest

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
"""Audit events of what changes the file system, and of some that do not."""


def save_forever(trainer, directory, announce):
    """Save each iteration twice, so that replacing and deleting are also under way at times."""
    while True:
        trainer.iteration += 1
        for _ in range(2):
            trainer.save(directory, keep=2)
            os.write(announce, b"%d\n" % trainer.iteration)


def save_until(step, trainer, directory, announce):
    """Save the same iteration again and another one, but only up to a step."""
    taken = 0

    def count(event, arguments):
        nonlocal taken
        if event in STEPS:
            taken += 1
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    trainer.save(directory, keep=1)
    os.write(announce, b"%d\n" % trainer.iteration)
    trainer.iteration += 1
    trainer.save(directory, keep=1)
    os.write(announce, b"%d\n" % trainer.iteration)


def in_child(function, *arguments, seconds=None):
    """(last iteration that a forked child announced or None, whether it was killed)."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            function(*arguments, write)
        finally:
            os._exit(0)
    os.close(write)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    with os.fdopen(read) as announcements:
        lines = announcements.read().split()
    return int(lines[-1]) if lines else None, killed


def at_random_moments(trainer, directory):
    """A hundred children."""
    started = time.perf_counter()
    trainer.save(directory)
    longest = min(0.1, 3 * (time.perf_counter() - started))
    delays = random.Random(0)
    for _ in range(100):
        seconds = delays.uniform(0.0, longest)
        yield in_child(save_forever, trainer, directory, seconds=seconds)[0]


def at_each_step(trainer, directory):
    """As many children as it has steps."""
    killed, step = True, 0
    while killed:
        step += 1
        announced, killed = in_child(save_until, step, trainer, directory)
        yield announced


def make_trainer(way):
    """With all that PPO saves; or with less, where a child is made for each step."""
    if way == "each":
        return COUNTER(TINY)
    from rl_algos import PPO

    return PPO(TINY_PPO)


def main(directory: Path, way: str) -> None:
    warnings.simplefilter("error")  # a damaged checkpoint would be warned of
    left = {"draft": 0, "old": 0}
    with make_trainer(way) as trainer:
        trainer.save(directory)
        children = {"random": at_random_moments, "each": at_each_step}[way]
        kills = 0
        for announced in children(trainer, directory):
            kills += 1
            found = check(latest(directory))["iteration"]
            if announced is not None and found < announced:
                raise SystemExit(f"iteration {announced} was announced, {found} is there")
            for what in left:
                left[what] += any(directory.glob(f".*.rl-{what}-*"))
            trainer.iteration = found
        trainer.restore(directory)
        trainer.save(directory, keep=2)
    names = sorted(path.name for path in directory.iterdir())
    print(json.dumps({"kills": kills, "left": left, "saved": found, "names": names}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
