"""An actor that tosses the coins it is given, for tests of what surrounds an actor."""

from __future__ import annotations

import numpy as np

from rl_sample.protocols import Acted, Needs


class CoinActor:
    """Action 1 where the noise is below one half; optionally counts its calls in its state."""

    version = 0

    def __init__(self, learn=frozenset(), look_back=None, counts=False):
        state = (((1,), np.float32),) if counts else ()
        noise = {"action": ("uniform", ())}
        self.needs = Needs(act=look_back or {}, learn=learn, state=state, noise=noise)

    def act(self, inputs, state, noise, *, explore, step):
        actions = (noise["action"] < 0.5).astype(np.int64)
        return Acted(actions, actions, tuple(s + 1 for s in state), {})

    def values(self, inputs, state):
        return None

    def load(self, snapshot):
        self.version = snapshot.version

    def filter_delta(self, inputs):
        return {}


class Unchanged:
    """Postprocessing that leaves a batch as it is."""

    per_trajectory = False

    def __call__(self, batch, others, episode):
        return batch
