"""RLlib's PPO in this process: no runner actors, quiet, the 64x64 tanh nets of the comparison."""

import logging

import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

torch.set_num_threads(1)
TWO_NETS = DefaultModelConfig(
    fcnet_hiddens=[64, 64], fcnet_activation="tanh", vf_share_layers=False
)


def local_ppo(num_envs, model_config=TWO_NETS):
    """PPO on CartPole-v1 whose only env runner and learner live in this process."""
    ray.init(ignore_reinit_error=True, logging_level=logging.ERROR, log_to_driver=False)
    return (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=num_envs)
        .rl_module(model_config=model_config)
    )
