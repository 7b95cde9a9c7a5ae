"""Two of our workers on Ray and the busy environment: env steps per second, and what they hold."""

import time
from pathlib import Path

import ray
import torch
from busy_env import BusyEnv
from harness import serve

from rl_algos.ppo import PPOPolicy
from rl_workers import WorkerSet
from rl_workers.flow import ParallelRollouts

torch.set_num_threads(1)
ray.init(include_dashboard=False, logging_level="ERROR", log_to_driver=False)
policy = PPOPolicy(BusyEnv.observation_space, BusyEnv.action_space, {"seed": 0})
began = time.perf_counter()
workers = WorkerSet(BusyEnv, policy, num_workers=2, rollout_fragment_length=200, seed=0)
READY_AFTER = time.perf_counter() - began
rollouts = ParallelRollouts(workers, mode="bulk_sync")


def inside(worker):
    """Megabytes of memory of this process (shared pages by share), and whether torch is there."""
    import sys

    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    pss = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return pss / 1024, "torch" in sys.modules


def sample(seconds):
    """The first batch may have waited since the last turn: the clock starts when it is taken."""
    next(rollouts)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        steps += next(rollouts).env_steps()
    rate = steps / (time.perf_counter() - start)
    found = ray.get([worker.apply.remote(inside) for worker in workers.remote_workers])
    time.sleep(0.5)  # whatever the workers still sample ahead is not the next contender's burden
    return {
        "steps_per_s": rate,
        "ready_after_s": READY_AFTER,
        "worker_pss_mb": max(held for held, _ in found),
        "worker_has_torch": any(torch_there for _, torch_there in found),
    }


serve(sample)
