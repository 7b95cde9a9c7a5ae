"""Our PPO on CartPole-v1: env steps per second of sampling and learning.

Words after the script's name: the framework (by default the one that is installed), and `traced`
for `eager_tracing`.
"""

import sys
import time

from harness import serve

from rl_algos import PPO

framework, *tracing = sys.argv[1:] or ["auto"]
trainer = PPO(
    {
        "env": "CartPole-v1",
        "preset": None,
        "framework": framework,
        "eager_tracing": bool(tracing),
        "num_envs_per_worker": 8,
        "train_batch_size": 8 * 128,
        "num_sgd_iter": 4,
        "sgd_minibatch_size": 256,
        "seed": 0,
    }
)


def train(seconds):
    start, before = time.perf_counter(), trainer.workers.counters["num_env_steps_sampled"]
    learning = []
    while time.perf_counter() < start + seconds:
        result = trainer.train()
        learning.append(result["timers"]["learn_time_ms"])
    steps = result["timesteps_total"] - before
    return {
        "steps_per_s": steps / (time.perf_counter() - start),
        "learn_ms": sum(learning) / len(learning),
    }


serve(train)
