"""From a config to a torch model, its optimisers and what workers need to act alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rl_policy.action_dist import ActionDist, make_action_dist
from rl_policy.hooks import ActingHooks
from rl_policy.layout import initial_weights
from rl_policy.model_config import ModelConfig, did_you_mean, find_custom_model
from rl_policy.spec import NetActorSpec, catalogue_spec, net_layout
from rl_policy.torch.model import FeedForward, Recurrent, TorchModel
from rl_policy.torch.optim import SGD, Adam, Optimizer, RMSprop, Wrapped
from rl_policy.torch.weights import set_weights
from rl_sample.protocols import Needs


def build_model(
    policy: Any, hooks: ActingHooks, dist: ActionDist | None, seed: int
) -> tuple[TorchModel, ActionDist]:
    """The model and the action distribution that config and hooks ask for.

    Args:
        policy: has `config`, `observation_space` and `action_space`; hooks get it.
        hooks: of the policy's definition.
        dist: known already; None: as the config says.
        seed: of the first weights; torch's own generator is left as it was.
    """
    config, spaces = policy.config, (policy.observation_space, policy.action_space)
    model_config = ModelConfig.from_mapping(config["model"])
    if dist is None:
        dist = make_action_dist(policy.action_space, model_config.custom_action_dist)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if hooks.make_model_and_action_dist is not None:
            model, dist = hooks.make_model_and_action_dist(policy, *spaces, config)
        elif hooks.make_model is not None:
            model = hooks.make_model(policy, *spaces, config)
        elif model_config.custom_model is not None:
            model_class = find_custom_model(model_config.custom_model)
            options = dict(model_config.custom_model_config)
            model = model_class(
                *spaces, dist.input_size, model_config, model_class.__name__, **options
            )
        else:
            model = catalogue_model(*spaces, dist, model_config, seed)
    if not isinstance(model, TorchModel) or not isinstance(dist, ActionDist):
        raise TypeError(
            "a torch policy needs a model that is a rl_policy.torch.TorchModel and a dist_class "
            f"made by make_action_dist, got {type(model).__name__} and {type(dist).__name__}"
        )
    if dist.mask_size is not None:
        model.mask_outputs = dist.mask
    return model, dist


def catalogue_model(
    observation_space: Any, action_space: Any, dist: ActionDist, config: ModelConfig, seed: int
) -> TorchModel:
    """The network that `config` describes, with the weights that `seed` draws."""
    layout = net_layout(observation_space, dist, config)
    model_class = Recurrent if config.use_lstm else FeedForward
    model = model_class(observation_space, action_space, layout, "catalogue")
    set_weights(model, initial_weights(layout, seed))
    return model


def build_optimizers(policy: Any) -> dict[str, Optimizer]:
    """The optimisers that the definition or the config asks for, by name.

    Raises:
        ValueError: unknown `config["optimizer"]`.
    """
    config, make = policy.config, policy.definition.optimizer_fn
    params = [p for p in policy.model.parameters() if p.requires_grad]
    if make is None:
        made = {"default": _by_config(config, params)} if params else {}
    else:
        made = make(policy, config)
        made = made if isinstance(made, Mapping) else {"default": made}
    rate = "lr" if config["lr_schedule"] is not None else math.nan
    return {
        name: Wrapped(o, rate) if isinstance(o, torch.optim.Optimizer) else o
        for name, o in made.items()
    }


def _by_config(config: Mapping[str, Any], params: list[nn.Parameter]) -> Optimizer:
    name, epsilon = config["optimizer"], config["adam_epsilon"]
    if name == "adam":
        return Adam(params, epsilon=epsilon)
    if name == "rmsprop":
        return RMSprop(params, epsilon=epsilon)
    if name == "sgd":
        return SGD(params)
    known = ("adam", "rmsprop", "sgd")
    raise ValueError(f"unknown optimizer {name!r}{did_you_mean(str(name), known)}")


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
        framework="torch",
    )
    if model_config.custom_model is None and not hooks.any_model:
        return spec
    needs = model_needs(policy.model, policy.dist_class, policy.definition.asked_needs())
    if model_config.custom_model is not None:  # workers know nothing of this process's registry
        model_class = find_custom_model(model_config.custom_model)
        model_config = replace(model_config, custom_model=model_class)
    as_given = {**config, "model": model_config.to_mapping()}
    return replace(spec, model=model_config, config=as_given, needs=needs)


def model_needs(model: TorchModel, dist: ActionDist, asked: Needs) -> Needs:
    """What a custom model and the definition (`asked`) ask of the sampler together.

    Raises:
        ValueError: the model's initial state is not zero.
    """
    initial = [s.detach().cpu().numpy() for s in model.get_initial_state()]
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
