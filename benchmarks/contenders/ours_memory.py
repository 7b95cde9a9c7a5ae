"""Our PPO on CartPole-v1 with small batches: megabytes held after so many more updates."""

import gc
import sys
from pathlib import Path

from harness import serve

from rl_algos import PPO

framework, *tracing = sys.argv[1:]
trainer = PPO(
    {
        "env": "CartPole-v1",
        "preset": None,
        "framework": framework,
        "eager_tracing": bool(tracing),
        "num_envs_per_worker": 4,
        "train_batch_size": 4 * 32,
        "num_sgd_iter": 2,
        "sgd_minibatch_size": 64,
        "seed": 0,
    }
)
UPDATES = 4
"""Optimiser steps of one iteration."""


def resident_mb():
    """Resident set of this process; Linux tells it in kB."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def train(updates):
    for _ in range(updates // UPDATES):
        trainer.train()
    return {"mb": resident_mb()}


serve(train)
