"""RLlib on CartPole-v1 with its example's settings, from first reset to solved.

The settings are those of rllib/examples/algorithms/ppo/cartpole_ppo.py, written out because
examples are not part of the wheel; PPO's default of two env runner processes is kept.
"""

import time

from harness import serve
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from rllib_config import local_ppo

LINEAR_32 = DefaultModelConfig(fcnet_hiddens=[32], fcnet_activation="linear", vf_share_layers=True)


def solve(seed, max_steps=300_000):
    config = (
        local_ppo(num_envs=1, model_config=LINEAR_32)
        .env_runners(num_env_runners=2)
        .training(lr=0.0003, num_epochs=6, vf_loss_coeff=0.01)
        .reporting(metrics_num_episodes_for_smoothing=20)
        .debugging(seed=seed)
    )
    algo = config.build_algo()
    start, steps, mean = time.perf_counter(), 0, 0.0
    while steps < max_steps and mean < 475:
        result = algo.train()["env_runners"]
        steps = result["num_env_steps_sampled_lifetime"]
        mean = result.get("episode_return_mean", 0.0)
    seconds = time.perf_counter() - start
    algo.stop()
    return {"seconds": seconds, "env_steps": int(steps), "solved": bool(mean >= 475)}


serve(solve)
