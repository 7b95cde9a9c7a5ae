"""One of our engines: microseconds of acting, which is forward, sample and log-probability."""

import sys
from functools import cache
from importlib import import_module

import numpy as np
from acting import SPACES, measure_calls, observations
from harness import serve

from rl_policy import build_policy

ENGINES = {
    "numpy": {"inference": "numpy"},
    "torch": {"inference": "framework", "framework": "torch"},
    "tf": {"inference": "framework", "framework": "tf"},
    "tf2": {"inference": "framework", "framework": "tf2"},
}
engine = sys.argv[1]
if engine == "torch":
    import_module("torch").set_num_threads(1)
elif engine != "numpy":
    import_module("rl_policy.tf")  # before the first import, it tells TensorFlow to be quiet
    threading = import_module("tensorflow").config.threading
    threading.set_intra_op_parallelism_threads(1)
    threading.set_inter_op_parallelism_threads(1)


@cache
def actor_of(hiddens, lstm):
    """What a worker builds, with the first weights."""
    model = {"fcnet_hiddens": hiddens, "use_lstm": lstm}
    make = build_policy(name="Acting", loss_fn=lambda *arguments: 0.0)
    policy = make(*SPACES, {"seed": 0, "model": model, **ENGINES[engine]})
    actor, _ = policy.actor_spec().build()
    actor.load(policy.snapshot())
    return actor


def measure(hiddens, lstm, batch, seconds):
    actor, rng = actor_of(tuple(hiddens), lstm), np.random.default_rng(0)
    inputs = {"obs": observations(batch)}
    noise = {"action": rng.random(batch, np.float32)}
    state = tuple(np.zeros((batch, *shape), dtype) for shape, dtype in actor.needs.state)

    def act():
        acted = actor.act(inputs, state, noise, explore=True, step=0)
        dist = actor.dist_class.make(acted.columns["action_dist_inputs"])
        return acted.env_actions, dist.logp(acted.actions)

    return measure_calls(act, seconds)


serve(measure)
