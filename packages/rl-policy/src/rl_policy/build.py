"""From a config to a model, its optimisers and what workers need to act alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any

from rl_policy.action_dist import ActionDist, make_action_dist
from rl_policy.hooks import ActingHooks
from rl_policy.layout import initial_weights
from rl_policy.model_config import ModelConfig, did_you_mean, find_custom_model
from rl_policy.model_face import ModelFace
from rl_policy.spec import NetActorSpec, catalogue_spec, history_needs, net_layout
from rl_policy.trial import try_model
from rl_policy.xp import array_namespace
from rl_sample.protocols import Needs

# What a framework's package gives, for example `rl_policy.torch`:
#   build.MODEL            base class of its models
#   build.seeded(seed, device)      context in which a model's first weights are drawn
#   build.make_catalogue_model(observation_space, action_space, layout)      weights are zero
#   weights.set_weights(model, arrays)
#   optim.Adam, RMSprop, SGD        called with (parameters, …)
#   optim.wrap(optimizer, lr, params)       a user's optimiser as one of ours, ours as it is
#   backend.Backend, backend.find_device, net.build_net


def build_model(
    package: str, policy: Any, hooks: ActingHooks, dist: ActionDist | None, seed: int, device: Any
) -> tuple[Any, ActionDist]:
    """The model and the action distribution that config and hooks ask for.

    Args:
        package: "torch" or "tf".
        policy: has `config`, `observation_space` and `action_space`; hooks get it.
        hooks: of the policy's definition.
        dist: known already; None: as the config says.
        seed: of the first weights; the framework's own generator is left as it was.
        device: where the weights live.

    Raises:
        TypeError: a hook or the registry gave something else.
    """
    kit = import_module(f"rl_policy.{package}.build")
    config, spaces = policy.config, (policy.observation_space, policy.action_space)
    model_config = ModelConfig.from_mapping(config["model"])
    if dist is None:
        dist = make_action_dist(policy.action_space, model_config.custom_action_dist)
    with kit.seeded(seed, device):
        if hooks.make_model_and_action_dist is not None:
            model, dist = hooks.make_model_and_action_dist(policy, *spaces, config)
        elif hooks.make_model is not None:
            model = hooks.make_model(policy, *spaces, config)
        else:
            model = _configured_model(package, policy, model_config, dist, seed)
        _check_kind(package, kit.MODEL, model, dist)
        if hooks.any_model:
            try_model(package, model, policy, dist)
    if dist.mask_size is not None:
        model.mask_outputs = dist.mask
    return model, dist


def _configured_model(
    package: str, policy: Any, config: ModelConfig, dist: ActionDist, seed: int
) -> Any:
    """The custom model, the catalogue's, or an LSTM or GRU of the catalogue over the custom one.

    Raises:
        ValueError: the custom model has a recurrent state of its own beside `use_lstm`.
    """
    kit = import_module(f"rl_policy.{package}.build")
    weights = import_module(f"rl_policy.{package}.weights")
    spaces, base = (policy.observation_space, policy.action_space), None
    if config.custom_model is not None:
        model_class = find_custom_model(config.custom_model)
        size = dist.input_size if config.cell is None else config.lstm_cell_size
        options = dict(config.custom_model_config)
        base = model_class(*spaces, size, config, model_class.__name__, **options)
        _check_kind(package, kit.MODEL, base, dist)
        try_model(package, base, policy, dist)
        if config.cell is None:
            return base
        if len(base.get_initial_state()):
            raise ValueError(
                f"model: {model_class.__name__} has a recurrent state of its own "
                f"(get_initial_state), so use_{config.cell} cannot follow it; leave one of them out"
            )
    layout = net_layout(policy.observation_space, dist, config)
    model = kit.make_catalogue_model(*spaces, layout, base)
    first = initial_weights(layout, seed)
    weights.set_weights(model, weights.model_arrays(model) | first if base else first)
    if base is not None:
        model.needs = base.needs._replace(act={**base.needs.act, **history_needs(config)})
    return model


def _check_kind(package: str, kind: type, model: Any, dist: Any) -> None:
    if not isinstance(model, kind) or not isinstance(dist, ActionDist):
        hint = ""
        if isinstance(model, ModelFace) and not isinstance(model, kind):
            other = "tf" if package == "torch" else "torch"
            hint = f": that model is one for framework={other!r}; set this in the config"
        raise TypeError(
            f"a {package} policy needs a model that is a rl_policy.{package}.{kind.__name__} "
            "and a dist_class made by make_action_dist, got "
            f"{type(model).__name__} and {type(dist).__name__}{hint}"
        )


def build_optimizers(policy: Any, params: list[Any], optim: ModuleType) -> dict[str, Any]:
    """The optimisers that the definition or the config asks for, by name.

    Args:
        policy: the learner.
        params: the model's trainable parameters.
        optim: the framework's optimisers.

    Raises:
        ValueError: unknown `config["optimizer"]`.
    """
    config, make = policy.config, policy.definition.optimizer_fn
    if make is None:
        made = {"default": _by_config(config, params, optim)} if params else {}
    else:
        made = make(policy, config)
        made = made if isinstance(made, Mapping) else {"default": made}
    rate = "lr" if config["lr_schedule"] is not None else math.nan
    return {name: optim.wrap(optimizer, rate, params) for name, optimizer in made.items()}


def _by_config(config: Mapping[str, Any], params: list[Any], optim: ModuleType) -> Any:
    name, epsilon = config["optimizer"], config["adam_epsilon"]
    if name == "adam":
        return optim.Adam(params, epsilon=epsilon)
    if name == "rmsprop":
        return optim.RMSprop(params, epsilon=epsilon)
    if name == "sgd":
        return optim.SGD(params)
    known = ("adam", "rmsprop", "sgd")
    raise ValueError(f"unknown optimizer {name!r}{did_you_mean(str(name), known)}")


def check_optimizer_state(name: str, own: Iterable[str], given: Iterable[str]) -> None:
    """Raise ValueError if the state of an optimiser is that of another one."""
    missing, unknown = sorted(set(own) - set(given)), sorted(set(given) - set(own))
    if missing or unknown:
        raise ValueError(
            f"this state of optimizer {name!r} belongs to another one: missing {missing[:3]}, "
            f"unknown {unknown[:3]}; go on with the optimizer and model that it was saved from"
        )


def build_spec(policy: Any) -> NetActorSpec:
    """What travels to workers."""
    config, hooks = policy.config, policy.definition.acting_hooks()
    model_config = ModelConfig.from_mapping(config["model"])
    spec = catalogue_spec(
        policy.observation_space,
        policy.action_space,
        config,
        dist=policy.dist_class,
        needs=policy.definition.asked_needs(),
        hooks=hooks,
        framework=policy.framework,
    )
    if model_config.custom_model is None and not hooks.any_model:
        return spec
    needs = model_needs(policy.model, policy.dist_class, policy.definition.asked_needs())
    if model_config.custom_model is not None:  # workers know nothing of this process's registry
        model_class = find_custom_model(model_config.custom_model)
        model_config = replace(model_config, custom_model=model_class)
    as_given = {**config, "model": model_config.to_mapping()}
    return replace(spec, model=model_config, config=as_given, needs=needs)


def model_needs(model: Any, dist: ActionDist, asked: Needs) -> Needs:
    """What a custom model and the definition (`asked`) ask of the sampler together.

    Raises:
        ValueError: the model's initial state is not zero.
    """
    initial = [array_namespace(s).to_numpy(s) for s in model.get_initial_state()]
    if any(s.any() for s in initial):
        raise ValueError(
            f"{type(model).__name__}.get_initial_state() is not zero; recurrent state starts at "
            "zero: add a learned offset inside forward() instead"
        )
    return Needs(
        act={**model.needs.act, **asked.act},
        learn=model.needs.learn | asked.learn,
        state=tuple((s.shape, s.dtype) for s in initial),
        max_seq_len=model.model_config.max_seq_len if initial else None,
        noise={**dist.noise, **model.needs.noise, **asked.noise},
        learn_noise={**model.needs.learn_noise, **asked.learn_noise},
    )
