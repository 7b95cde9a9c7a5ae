"""Two agents, two policies; one agent leaves early."""

import numpy as np

from rl_policy import Policy
from rl_sample.protocols import Acted, Needs
from rl_workers import WorkerSet, env_spaces
from rl_workers.flow import ParallelRollouts
from rl_workers.testing import LeavingAgentsEnv


class Coin(Policy):
    """Tosses the coin it is given."""

    needs = Needs(noise={"action": ("uniform", ())})

    def act(self, inputs, state, noise, *, explore, step):
        actions = (noise["action"] < 0.5).astype(np.int64)
        return Acted(actions, actions, (), {})


def own_policy(agent_id, eps_id, worker_index):
    """Each agent plays the policy of its own name."""
    return agent_id


obs_spaces, action_spaces = env_spaces(LeavingAgentsEnv)
policies = {name: Coin(obs_spaces[name], action_spaces[name]) for name in ("early", "late")}
with WorkerSet(
    LeavingAgentsEnv, policies, policy_mapping_fn=own_policy, rollout_fragment_length=12
) as workers:
    batch = next(ParallelRollouts(workers))
    print(f"{batch.env_steps()} environment steps, {batch.agent_steps()} agent steps")
    for name, rows in batch.policy_batches.items():
        print(f"{name}: steps {rows['t'].tolist()}, rewards {rows['rewards'].tolist()}")
