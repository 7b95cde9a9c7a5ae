"""Our PPO on CartPole-v1: milliseconds to save, to restore, and to write and read raw files."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import torch
from harness import serve

from rl_algos import PPO

torch.set_num_threads(1)
trainer = PPO({"env": "CartPole-v1", "seed": 0})


def milliseconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return 1e3 * (time.perf_counter() - start)


def write_raw(directory, contents):
    directory.mkdir()
    for number, content in enumerate(contents):
        with open(directory / str(number), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def read_raw(directory, count):
    for number in range(count):
        (directory / str(number)).read_bytes()


def measure():
    trainer.train()
    directory = Path(tempfile.mkdtemp(dir="."))
    try:
        save = milliseconds(trainer.save, directory)
        restore = milliseconds(trainer.restore, directory)
        contents = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
        return {
            "save": save,
            "restore": restore,
            "raw write": milliseconds(write_raw, directory / "raw", contents),
            "raw read": milliseconds(read_raw, directory / "raw", len(contents)),
            "files": len(contents),
            "bytes": sum(map(len, contents)),
        }
    finally:
        shutil.rmtree(directory)


serve(measure)
