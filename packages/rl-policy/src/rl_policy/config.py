"""Every policy's configuration keys and their defaults, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from rl_policy.model_config import did_you_mean

DEFAULT_POLICY_CONFIG: Mapping[str, Any] = MappingProxyType(
    {
        "framework": "auto",  # "torch", "tf" (TensorFlow as graphs), "tf2" (eager); "auto": what is
        # installed, torch before tf
        "eager_tracing": False,  # with "tf2": trace updates after all, as "tf" does
        "inference": "auto",  # "numpy" | "framework"; "auto": NumPy wherever it can
        "device": "cpu",  # where the learner's tensors live, as the framework spells it
        "seed": None,  # of the first weights and of everything the policy draws; None: from the OS
        "model": {},  # see ModelConfig
        "explore": True,  # sample actions; False: the distribution's deterministic action
        "gamma": 0.99,  # discount per env step
        "lambda": 1.0,  # GAE's λ
        "use_gae": True,  # False: advantages are discounted returns (less values if use_critic)
        "use_critic": True,  # False: no value function in the advantages
        "observation_filter": "NoFilter",  # "MeanStdFilter": running mean 0, std 1, clipped to ±10
        "normalize_actions": True,  # bounded Box actions: the policy acts in [-1, 1]
        "clip_actions": False,  # clip Box actions to their bounds instead
        "lr": 5e-4,  # learning rate
        "lr_schedule": None,  # [[env step, value], …]
        "optimizer": "adam",  # "rmsprop" | "sgd"
        "adam_epsilon": 1e-5,  # added to the root of Adam's and RMSprop's second moment
        "grad_clip": None,  # largest global norm of an optimiser's gradient
        "target_model": False,  # keep a copy of the weights that update_target moves
        "coeffs": (),  # config keys that may change while training, beside "lr": policy.coeffs
    }
)

_MODULES = {"torch": "torch", "tf": "tensorflow", "tf2": "tensorflow"}
"""{framework: the module that it needs}; "auto" takes the first that is there."""
_INSTALL = {"torch": "'rl-policy[torch]'", "tensorflow": "'rl-policy[tensorflow]'"}


def resolve_config(
    defaults: Mapping[str, Any], given: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """`DEFAULT_POLICY_CONFIG` < a policy's own `defaults` < what the user gave; read-only.

    Raises:
        ValueError: `given` has a key that neither of the defaults has (the nearest is named).
    """
    known = {**DEFAULT_POLICY_CONFIG, **defaults}
    schedules = {f"{name}_schedule" for name in known["coeffs"]}
    for key in given or {}:
        if key not in known and key not in schedules:
            raise ValueError(
                f"unknown policy config key {key!r}{did_you_mean(key, [*known, *schedules])}. "
                "A key of your own must be declared in get_default_config"
            )
    return MappingProxyType({**known, **(given or {})})


def resolve_framework(name: str) -> str:
    """The framework to learn with: "torch", "tf" or "tf2" (which "tfe" means too).

    Raises:
        ValueError: unknown name.
        ImportError: it is not installed; says what to install.
    """
    name = "tf2" if name == "tfe" else name
    if name != "auto" and name not in _MODULES:
        raise ValueError(f"unknown framework {name!r}{did_you_mean(name, ('auto', *_MODULES))}")
    candidates = _MODULES if name == "auto" else {name: _MODULES[name]}
    for candidate, module in candidates.items():
        if find_spec(module) is not None:
            return candidate
    modules = dict.fromkeys(candidates.values())
    raise ImportError(
        f"learning needs a framework and {' or '.join(modules)} is not installed: pip install "
        f"{' or '.join(_INSTALL[module] for module in modules)}. Acting from a saved policy "
        "(load_policy) needs none"
    )


def package_of(framework: str) -> str:
    """The sub-package of rl_policy, "torch" or "tf", that a resolved framework runs in."""
    return "torch" if framework == "torch" else "tf"
