"""Sequences for a recurrent policy: chop trajectories, pad them, learn on [N, T] blocks."""

import numpy as np

from rl_sample import SampleBatch, chop_into_sequences
from rl_sample.protocols import Segments

rows = np.arange(1, 8, dtype=np.float32)
batch = SampleBatch(
    obs=rows[:, None],
    state_in_0=10 * rows[:, None],  # the state each row was acted on with
    segments=Segments(ends=np.array([5, 7]), last_obs={"obs": np.zeros((2, 1), np.float32)}),
)
sequences = chop_into_sequences(batch, max_seq_len=3)
print(sequences, "lengths", sequences["seq_lens"])

padded = sequences.right_zero_pad()
print("obs as [N, T]:\n", padded["obs"].reshape(-1, 3))
print("state at each sequence's start:", padded["state_in_0"][:, 0])
print("rows that count:", padded.count, "of", len(padded["obs"]))
