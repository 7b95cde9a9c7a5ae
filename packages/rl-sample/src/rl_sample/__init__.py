"""Batches of experience for reinforcement learning: columns, slices, sequences, advantages.

NumPy and safetensors only. `rl_sample.protocols` names the interfaces at which packages meet.
"""

from __future__ import annotations

from rl_sample.advantages import add_advantages, compute_gae, discounted_returns, nstep_returns
from rl_sample.batch import SampleBatch
from rl_sample.concat import concat_samples
from rl_sample.multi_agent import MultiAgentBatch
from rl_sample.nested import flatten_nested, unflatten_nested
from rl_sample.noise import draw_noise, noise_keys
from rl_sample.protocols import DEFAULT_POLICY_ID
from rl_sample.sequences import chop_into_sequences
from rl_sample.writer import SlotWriter

__all__ = [
    "DEFAULT_POLICY_ID",
    "MultiAgentBatch",
    "SampleBatch",
    "SlotWriter",
    "__version__",
    "add_advantages",
    "chop_into_sequences",
    "compute_gae",
    "concat_samples",
    "discounted_returns",
    "draw_noise",
    "flatten_nested",
    "noise_keys",
    "nstep_returns",
    "unflatten_nested",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("rl-sample")
    raise AttributeError(f"module 'rl_sample' has no attribute {name!r}")
