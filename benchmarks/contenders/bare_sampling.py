"""The bare loop on CartPole-v1: env steps per second."""

import sys

import gymnasium as gym
from bare_loop import bare_loop
from harness import serve

NUM_ENVS, MODE = int(sys.argv[1]), sys.argv[2]
env = gym.make_vec("CartPole-v1", NUM_ENVS, vectorization_mode=MODE)


def sample(seconds):
    return {"steps_per_s": bare_loop(env, seconds)}


serve(sample)
