"""Train PPO, save it, go on from the checkpoint, act. Argument: most iterations."""

import sys
import tempfile

import gymnasium as gym

from rl_algos import PPO


def main(iterations=100):
    """CartPole-v1 with its preset, until the mean return is 475."""
    with PPO(env="CartPole-v1") as trainer, tempfile.TemporaryDirectory() as directory:
        print(trainer.origin)
        print(trainer.plan)
        result = {}
        while result.get("episode_reward_mean", 0) < 475 and trainer.iteration < iterations:
            result = trainer.train()
            print(result["timesteps_total"], result.get("episode_reward_mean"))
        path = trainer.save(directory)

        with PPO.from_checkpoint(path) as again:
            env = gym.make("CartPole-v1")
            obs, _ = env.reset(seed=0)
            total, over = 0.0, False
            while not over:
                action = again.compute_single_action(obs, explore=False)
                obs, reward, terminated, truncated, _ = env.step(action)
                total, over = total + float(reward), terminated or truncated
            print(f"restored at iteration {again.iteration}, an episode returns {total:.0f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
