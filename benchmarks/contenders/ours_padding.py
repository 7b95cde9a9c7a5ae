"""Sequences of a recurrent policy: milliseconds to cut and pad 4,000 rows."""

import statistics
import time

import numpy as np
from harness import serve

from rl_sample import SampleBatch, chop_into_sequences

ROWS, LSTM = 4000, 64
rng = np.random.default_rng(0)


def fragment():
    """Columns as PPO has them, in episodes of about 60 rows, with an LSTM's state per row."""
    numbers = ("rewards", "action_logp", "vf_preds", "advantages", "value_targets")
    columns = {name: rng.standard_normal(ROWS).astype(np.float32) for name in numbers}
    over = rng.random(ROWS) < 1 / 60
    return SampleBatch(
        **columns,
        obs=rng.standard_normal((ROWS, 4)).astype(np.float32),
        actions=rng.integers(0, 2, ROWS),
        action_dist_inputs=rng.standard_normal((ROWS, 2)).astype(np.float32),
        terminateds=over,
        truncateds=np.zeros(ROWS, bool),
        eps_id=np.cumsum(over) - over,
        t=np.arange(ROWS),
        state_in_0=rng.standard_normal((ROWS, LSTM)).astype(np.float32),
        state_in_1=rng.standard_normal((ROWS, LSTM)).astype(np.float32),
    )


def measure(max_seq_len, calls, burn_in=0):
    batch, times = fragment(), []
    for _ in range(calls):
        start = time.perf_counter()
        chop_into_sequences(batch, max_seq_len, burn_in).right_zero_pad()
        times.append(1e3 * (time.perf_counter() - start))
    return {"ms": statistics.median(times)}


serve(measure)
