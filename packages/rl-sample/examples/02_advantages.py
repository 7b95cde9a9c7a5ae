"""Termination, truncation and a fragment's end: three ends, three different values."""

import numpy as np

from rl_sample import compute_gae, nstep_returns

# Three slots side by side, [T, S] = [3, 3]; reward 1 each step, every state is worth 10. Slot 0
# terminates after its last row, slot 1 is truncated there, slot 2 is merely cut and goes on.
rewards = np.ones((3, 3), np.float32)
values = np.full((3, 3), 10, np.float32)
bootstrap = np.full((3, 3), 10, np.float32)  # value of the true last observations
terminateds = np.zeros((3, 3), bool)
truncateds = np.zeros((3, 3), bool)
terminateds[2, 0] = truncateds[2, 1] = True

_, targets = compute_gae(
    rewards, values, bootstrap, terminateds, truncateds, gamma=0.9, lambda_=1.0
)
for slot, name in enumerate(("terminated", "truncated", "cut")):
    print(f"{name:>10}: value targets {np.round(targets[:, slot], 3)}")
print("1 / (1 - 0.9) = 10 is right for ever, so only the terminated slot is worth less.")

returns, discounts, steps = nstep_returns(rewards, terminateds, truncateds, gamma=0.9, n=2)
print("2-step returns, discount of what follows, rows summed, of the terminated slot:")
print(np.round(returns[:, 0], 3), np.round(discounts[:, 0], 3), steps[:, 0])
