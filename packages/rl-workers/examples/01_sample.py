"""Sample CartPole with a policy in plain NumPy, and look at what comes back."""

import numpy as np

from rl_policy import Policy
from rl_sample.protocols import Acted, Needs
from rl_workers import WorkerSet, env_spaces
from rl_workers.flow import ParallelRollouts


class Lean(Policy):
    """Pushes to the side the pole leans to, and now and then to the other."""

    needs = Needs(noise={"action": ("uniform", ())})

    def act(self, inputs, state, noise, *, explore, step):
        leans_right = inputs["obs"][:, 2] > 0
        slip = explore * (noise["action"] < 0.1)
        actions = (leans_right ^ slip.astype(bool)).astype(np.int64)
        return Acted(actions, actions, (), {})


policy = Lean(*env_spaces("CartPole-v1"))
with WorkerSet("CartPole-v1", policy, num_envs_per_worker=4, rollout_fragment_length=50) as workers:
    batch = next(ParallelRollouts(workers))
    print(batch.summary())
    lengths = np.diff(batch.segments.ends, prepend=0)
    print(f"{batch.count} steps in {len(lengths)} pieces of {lengths.tolist()} steps")
    print(f"next observation of the first row: {batch['new_obs'][0]}")
