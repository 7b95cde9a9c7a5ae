"""With rl-policy alone: nothing that acting does imports a framework."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from bare_policies import bare_policy
from gymnasium.spaces import Box, Discrete

import rl_policy

CODE = """
import sys
import numpy as np
from rl_policy import load_policy
import rl_policy.testing, rl_policy.xp

policy = load_policy(sys.argv[1])
actions, state, columns = policy.compute_actions(np.zeros((4, 3), np.float32), explore=True)
policy.compute_single_action(np.ones(3, np.float32), explore=False)
actor, postprocess = policy.actor_spec().build(worker_index=1, num_workers=2)
actor.load(policy.snapshot())
heavy = {"torch", "tensorflow", "keras", "ray", "pickle5", "pandas"} & set(sys.modules)
assert not heavy, heavy
print(actions.tolist(), policy.inference)
"""


def test_acting_from_a_saved_policy_imports_no_framework(tmp_path):
    for lstm in (False, True):
        policy = bare_policy(Box(-1.0, 1.0, (3,)), Discrete(2), model={"use_lstm": lstm})
        path = policy.save(tmp_path / "policy")
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", CODE, str(path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "numpy" in done.stdout


WORKER = """
import pickle, sys
import numpy as np

with open(sys.argv[1], "rb") as file:
    spec, snapshot = pickle.load(file)
actor, postprocess = spec.build(worker_index=1, num_workers=2)
actor.load(snapshot)
noise = {"action": np.float32([0.5, 0.5])}
state = tuple(np.zeros((2, *shape), dtype) for shape, dtype in actor.needs.state)
actor.act({"obs": np.zeros((2, 3), np.float32)}, state, noise, explore=True, step=0)
assert not {"torch", "tensorflow", "ray"} & set(sys.modules)
"""


@pytest.mark.torch
@pytest.mark.parametrize("lstm", [False, True])
def test_workers_of_a_torch_policy_do_not_import_it(tmp_path, lstm):
    """Ray pickles the spec and the snapshot."""
    definition = rl_policy.build_torch_policy("P", loss_fn=print, postprocess_fn=rl_policy.gae)
    policy = definition(Box(-1.0, 1.0, (3,)), Discrete(2), {"model": {"use_lstm": lstm}})
    file = tmp_path / "spec"
    file.write_bytes(pickle.dumps((policy.actor_spec(), policy.snapshot())))
    command = [sys.executable, "-W", "error", "-c", WORKER, str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_definitions_import_no_framework():
    code = (
        "import sys, rl_policy\n"
        "p = rl_policy.build_policy('P', loss_fn=print)\n"
        "d = p.with_updates(postprocess_fn=rl_policy.gae)\n"
        "t = rl_policy.build_torch_policy('P', loss_fn=print)\n"
        "assert not {'torch', 'tensorflow', 'ray'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
