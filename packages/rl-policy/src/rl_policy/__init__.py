"""Policies that act with NumPy alone and learn with PyTorch or TensorFlow.

No framework is imported until a policy is made that learns with it.
"""

from __future__ import annotations

from rl_policy.action_dist import make_action_dist, register_action_dist
from rl_policy.action_map import make_raw_map
from rl_policy.actor import discounted, gae
from rl_policy.artifact_files import ArtifactError
from rl_policy.config import DEFAULT_POLICY_CONFIG
from rl_policy.definition import (
    PolicyDefinition,
    build_policy,
    build_tf_policy,
    build_torch_policy,
)
from rl_policy.hooks import whole_fragment, xp_only
from rl_policy.model_config import ModelConfig, register_custom_model
from rl_policy.policy import Policy, PolicySpec
from rl_policy.saved import load_policy
from rl_policy.space_json import space_from_json, space_to_json
from rl_policy.spaces import check_obs, make_encoder, space_columns
from rl_policy.xp import masked_mean

__all__ = [
    "DEFAULT_POLICY_CONFIG",
    "ArtifactError",
    "ModelConfig",
    "Policy",
    "PolicyDefinition",
    "PolicySpec",
    "__version__",
    "build_policy",
    "build_tf_policy",
    "build_torch_policy",
    "check_obs",
    "discounted",
    "gae",
    "load_policy",
    "make_action_dist",
    "make_encoder",
    "make_raw_map",
    "masked_mean",
    "register_action_dist",
    "register_custom_model",
    "space_columns",
    "space_from_json",
    "space_to_json",
    "whole_fragment",
    "xp_only",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("rl-policy")
    raise AttributeError(f"module 'rl_policy' has no attribute {name!r}")
