"""A policy from functions: a loss and what else is needed, for any framework."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import gymnasium as gym

from rl_policy.config import DEFAULT_POLICY_CONFIG, package_of, resolve_framework
from rl_policy.hooks import ActingHooks
from rl_policy.model_config import did_you_mean
from rl_policy.net_policy import NetPolicy
from rl_policy.policy import Policy
from rl_sample.protocols import Needs

Hook = Callable[..., Any]


@dataclass(frozen=True)
class PolicyDefinition:
    """What `build_policy` was given; call it like a class to make a policy.

    `policy` is the learner in learning hooks and the actor in acting hooks and `postprocess_fn`;
    both have `config`, `observation_space`, `action_space`, `dist_class` and `model`. Acting hooks
    take what `Needs.noise` names as their last argument, `{name: [B, …]}`.
    """

    name: str
    framework: str | None = None
    """Fixed: "torch", "tf" (the config may say "tf2") or "tf2"; None: as the config says."""
    loss_fn: Hook | None = None
    """(policy, model, dist_class, train_batch) -> L | (L, stats) | (L, stats, rows)."""
    get_default_config: Callable[[], Mapping[str, Any]] | None = None
    """() -> config keys of this policy and other defaults of the common ones."""
    postprocess_fn: Hook | None = None
    """(policy, batch, other_agent_batches, episode) -> batch; see `whole_fragment`."""
    stats_fn: Hook | None = None
    """(policy, train_batch) -> {name: scalar}, after the loss."""
    grad_stats_fn: Hook | None = None
    """(policy, train_batch, grads) -> {name: scalar}."""
    optimizer_fn: Hook | None = None
    """(policy, config) -> optimiser | {name: optimiser}."""
    compute_gradients_fn: Hook | None = None
    """(policy, optimizer, loss) -> [(gradient, parameter), …]."""
    apply_gradients_fn: Hook | None = None
    """(policy, optimizer, [(gradient, parameter), …]) -> None."""
    extra_action_out_fn: Hook | None = None
    """(policy, input_dict, state_batches, model, action_dist, noise) -> {column: [B, …]}."""
    extra_grad_process_fn: Hook | None = None
    """(policy, optimizer, loss) -> {name: scalar}; may change the parameters' `.grad`, with
    TensorFlow the list `optimizer.grads`."""
    extra_learn_fetches_fn: Hook | None = None
    """(policy) -> {name: scalar}, once per `learn_on_batch`."""
    validate_spaces: Hook | None = None
    """(policy, observation_space, action_space, config), first of all."""
    before_init: Hook | None = None
    """(policy, observation_space, action_space, config), before the model is made."""
    before_loss_init: Hook | None = None
    """(policy, observation_space, action_space, config), model and optimisers are there."""
    after_init: Hook | None = None
    """(policy, observation_space, action_space, config), last of all."""
    make_model: Hook | None = None
    """(policy, observation_space, action_space, config) -> model."""
    make_model_and_action_dist: Hook | None = None
    """(policy, observation_space, action_space, config) -> (model, dist_class)."""
    action_sampler_fn: Hook | None = None
    """(policy, model, input_dict, state_batches, explore, timestep, noise) -> (actions, logp[,
    state])."""
    action_distribution_fn: Hook | None = None
    """(policy, model, input_dict, state_batches, explore, timestep, noise) -> (dist inputs,
    dist_class, state)."""
    mixins: tuple[type, ...] = ()
    """Classes that come first in the policy's method resolution order."""
    get_batch_divisibility_req: Hook | None = None
    """(policy) -> d: minibatches are made of blocks of d consecutive rows."""
    needs: Needs | Iterable[str] = ()
    """What is asked of the sampler: `new_obs` and `infos`, or a whole `Needs`."""

    def __call__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Mapping[str, Any] | None = None,
    ) -> Policy:
        """Make a policy.

        Raises:
            ImportError: its framework is not installed.
            ValueError: a config key or value that does not exist.
        """
        settings = {**DEFAULT_POLICY_CONFIG, **self.default_config(), **(config or {})}
        framework = self.resolve_framework(settings["framework"])
        if settings["eager_tracing"] and framework != "tf2":
            raise ValueError(
                f"eager_tracing=True is about framework='tf2', and this is {framework!r}: 'tf' is "
                "always traced, 'torch' never; leave eager_tracing out"
            )
        return self.policy_class(framework)(observation_space, action_space, config)

    def resolve_framework(self, wanted: str) -> str:
        """What learns where the config says `wanted`: "torch", "tf" or "tf2".

        Raises:
            ImportError: it is not installed.
            ValueError: there is no such framework, or this definition is for another one.
        """
        if self.framework is None:
            return resolve_framework(wanted)
        own = resolve_framework(self.framework)
        asked = own if wanted == "auto" else resolve_framework(wanted)
        if package_of(asked) != package_of(own):
            raise ValueError(
                f"policy {self.name!r} is defined for {own!r} and config['framework'] is "
                f"{wanted!r}: leave it 'auto', or define the policy with build_policy and a loss "
                "written on rl_policy.xp"
            )
        return own if self.framework == "tf2" else asked

    def policy_class(self, framework: str) -> type[Policy]:
        """The class behind this definition; its instances learn with `framework`."""
        body = {
            "definition": self,
            "framework": framework,
            "name": self.name,
            "default_config": self.default_config(),
        }
        return type(self.name, (*self.mixins, NetPolicy), body)

    def default_config(self) -> dict[str, Any]:
        """What `get_default_config` gives, `{}` without one."""
        return dict(self.get_default_config()) if self.get_default_config else {}

    def with_updates(self, **overrides: Any) -> PolicyDefinition:
        """A definition with some keywords replaced.

        Raises:
            TypeError: no such keyword (the nearest is named).
        """
        _check_keywords(overrides)
        return dataclasses.replace(self, **overrides)

    def acting_hooks(self) -> ActingHooks:
        """The part that workers need."""
        return ActingHooks(**{f.name: getattr(self, f.name) for f in fields(ActingHooks)})

    def asked_needs(self) -> Needs:
        """`needs` as a `Needs`.

        Raises:
            ValueError: a column that is not optional.
        """
        if isinstance(self.needs, Needs):
            return self.needs
        names = (self.needs,) if isinstance(self.needs, str) else tuple(self.needs)
        for name in names:
            if name not in ("new_obs", "infos"):
                raise ValueError(
                    f"needs={name!r}: only 'new_obs' and 'infos' are collected on demand; all "
                    "other columns always come"
                )
        return Needs(learn=frozenset(names))


def build_policy(name: str, **keywords: Any) -> PolicyDefinition:
    """Define a policy that picks its framework from `config["framework"]`.

    Args:
        name: shown in errors and results.
        **keywords: fields of `PolicyDefinition`; `loss_fn` is all that most policies need.

    Raises:
        TypeError: no such keyword (the nearest is named).
    """
    _check_keywords(keywords)
    mixins = tuple(keywords.pop("mixins", None) or ())
    return PolicyDefinition(name=name, mixins=mixins, **keywords)


def build_torch_policy(name: str, **keywords: Any) -> PolicyDefinition:
    """Define a policy that learns with PyTorch; keywords as in `build_policy`."""
    return build_policy(name, **{**keywords, "framework": "torch"})


def build_tf_policy(name: str, **keywords: Any) -> PolicyDefinition:
    """Define a policy that learns with TensorFlow; keywords as in `build_policy`.

    `config["framework"]` may be "tf", which traces the loss into a graph (the default), or "tf2",
    which runs it eagerly. A traced loss sees its Python run once; numbers that change while
    training are `policy.coeffs`.
    """
    return build_policy(name, **{**keywords, "framework": "tf"})


_RENAMED = {
    "gradients_fn": "is called compute_gradients_fn",
    "extra_action_fetches_fn": "is called extra_action_out_fn",
    "_after_loss_init": "is called after_init",
    "obs_include_prev_action_reward": (
        "is gone: ask for history with needs=Needs(act={'prev_actions': ('actions', (-1,))}), or "
        "set lstm_use_prev_action and lstm_use_prev_reward in config['model']"
    ),
}
"""{RLlib's older keyword: what became of it}."""


def _check_keywords(given: Mapping[str, Any]) -> None:
    known = [f.name for f in fields(PolicyDefinition)]
    for keyword in given:
        if keyword in _RENAMED:
            raise TypeError(f"the policy keyword {keyword!r} {_RENAMED[keyword]}")
        if keyword not in known:
            raise TypeError(f"no policy keyword {keyword!r}{did_you_mean(keyword, known)}")
