"""Columns, slices and what came after: the observation that a cut or an episode's end hides."""

import numpy as np

from rl_sample import SampleBatch, concat_samples
from rl_sample.protocols import Segments

# Five steps of a walk along a line. The first episode ends after three, at position 3.0; the
# second goes on after our last row, at 12.0.
batch = SampleBatch(
    obs=np.float32([[0], [1], [2], [10], [11]]),
    actions=[1, 1, 1, 1, 1],
    rewards=np.float32([0, 0, 1, 0, 0]),
    terminateds=[False, False, True, False, False],
    truncateds=[False] * 5,
    eps_id=[0, 0, 0, 1, 1],
    segments=Segments(ends=np.array([3, 5]), last_obs={"obs": np.float32([[3], [12]])}),
)
print(batch)
print(batch.summary())
print("new_obs is derived: ", batch["new_obs"][:, 0])

part = batch[1:4]  # shares the arrays; its second segment now ends where row 4 begins
print("new_obs of a slice: ", part["new_obs"][:, 0])

episodes = batch.split_by_episode()
print("episodes:           ", [episode.count for episode in episodes])
print("joined again:       ", concat_samples(episodes)["obs"][:, 0])

data = batch.to_bytes()  # safetensors: no pickle, any language reads it
print(f"{len(data)} bytes, and back:", SampleBatch.from_bytes(data))
