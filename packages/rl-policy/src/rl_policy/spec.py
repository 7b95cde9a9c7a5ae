"""What travels to a worker so that it can act: plain data, no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np

from rl_policy.action_dist import ActionDist, make_action_dist
from rl_policy.actor import FragmentPostprocess, NetActor
from rl_policy.config import package_of, resolve_framework
from rl_policy.filters import check_filter_name
from rl_policy.hooks import ActingHooks
from rl_policy.layout import NetLayout
from rl_policy.model_config import ModelConfig, did_you_mean
from rl_policy.numpy_net import NumpyNet
from rl_policy.spaces import encoded_shape, find_images
from rl_sample.protocols import Needs


@dataclass(frozen=True)
class NetActorSpec:
    """How to build the actor of a policy with a network."""

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    config: Mapping[str, Any]
    """The policy's flat config, a plain dict."""
    model: ModelConfig
    dist: ActionDist
    needs: Needs
    framework: str | None = None
    """What the "framework" engine is; None: the one that is installed."""
    hooks: ActingHooks = field(default_factory=ActingHooks)
    engine: str = "numpy"
    engine_reason: str = ""

    def build(
        self, engine: str = "auto", *, worker_index: int = 0, num_workers: int = 0
    ) -> tuple[NetActor, FragmentPostprocess]:
        """Make the actor; it can act once it was given a snapshot (`load`).

        Args:
            engine: "auto" (what the policy chose), "numpy" or "framework".
            worker_index: 0 in the driver, 1… in workers.
            num_workers: how many workers there are.

        Raises:
            ValueError: `engine="numpy"` for a policy that needs its framework.
            ImportError: the framework is needed and not installed.
        """
        engine = self.engine if engine == "auto" else engine
        if engine == "numpy":
            reason = numpy_obstacle(self.layout, self.model, self.dist, self.hooks)
            if reason is not None:
                raise ValueError(f"inference='numpy' is impossible: {reason}")
            actor = NetActor(self, NumpyNet(self.layout))
        else:
            framework = self._find_framework()
            build_net = import_module(f"rl_policy.{package_of(framework)}.net").build_net
            actor = NetActor(self, build_net(self))
        return actor, FragmentPostprocess(actor, self.hooks.postprocess_fn)

    def _find_framework(self) -> str:
        """Its own, or, as all draw the catalogue's nets alike, of these any that is installed."""
        portable = self.model.custom_model is None and self.hooks.framework_reason() is None
        try:
            return resolve_framework(self.framework or "auto")
        except ImportError:
            if portable:
                return resolve_framework("auto")
            raise

    @property
    def layout(self) -> NetLayout:
        """The catalogue network that these spaces and this model config ask for."""
        return net_layout(self.observation_space, self.dist, self.model)


def catalogue_spec(
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    config: Mapping[str, Any],
    *,
    dist: ActionDist | None = None,
    needs: Needs | None = None,
    hooks: ActingHooks | None = None,
    framework: str | None = None,
) -> NetActorSpec:
    """The spec of a policy whose network is as `config["model"]` says.

    Args:
        observation_space: of one agent.
        action_space: of one agent.
        config: a policy's flat config (see `resolve_config`).
        dist: distribution of actions; None: as the config says.
        needs: what the policy's author asks of the sampler beside what the network needs.
        hooks: acting hooks.
        framework: of the "framework" engine.

    Raises:
        ValueError: a config value that does not exist or does not fit the spaces.
    """
    model, hooks = ModelConfig.from_mapping(config["model"]), hooks or ActingHooks()
    check_filter(observation_space, config["observation_filter"], model)
    dist = dist or make_action_dist(action_space, model.custom_action_dist)
    layout = net_layout(observation_space, dist, model)
    engine, reason = choose_engine(config["inference"], numpy_obstacle(layout, model, dist, hooks))
    return NetActorSpec(
        observation_space=observation_space,
        action_space=action_space,
        config={**config, "model": model.to_mapping()},
        model=model,
        dist=dist,
        needs=catalogue_needs(layout, model, dist, needs or Needs()),
        framework=framework,
        hooks=hooks,
        engine=engine,
        engine_reason=reason,
    )


def net_layout(
    observation_space: gym.Space[Any], dist: ActionDist, model: ModelConfig
) -> NetLayout:
    """The catalogue network for a pair of spaces.

    With a custom model it is what follows it, if that is an LSTM or GRU: the model's features
    (as many as the cell has units) are the vector.

    Raises:
        ValueError: `free_log_std` with a distribution that has no standard deviation,
            `conv_filters` without an image or too large for one.
    """
    if model.free_log_std and dist.name not in ("DiagGaussian", "SquashedGaussian"):
        raise ValueError(
            f"model: free_log_std=True needs a Gaussian action distribution, not {dist.name!r}"
        )
    prev_size = 0
    if model.cell is not None and model.lstm_use_prev_action:
        prev_size += encoded_shape(dist.raw_space, "flat")[0]
    if model.cell is not None and model.lstm_use_prev_reward:
        prev_size += 1
    if model.custom_model is not None:
        after = replace(model, fcnet_hiddens=(), post_fcnet_hiddens=())
        return NetLayout(after, model.lstm_cell_size, dist.input_size, prev_size)
    images = find_images(observation_space, model.image_order)
    if model.conv_filters is not None and not images:
        raise ValueError(
            f"model: conv_filters is set, and {observation_space} holds no image (a Box of rank 3 "
            "or 4, or of rank 2 with sides of 10 and more"
            + (", image_order='flat' rules them out" if model.image_order == "flat" else "")
            + "); leave conv_filters out, fcnet_hiddens sets the layers for vectors"
        )
    (size,) = encoded_shape(observation_space, model.image_order)
    return NetLayout(model, size, dist.input_size, prev_size, images)


def catalogue_needs(layout: NetLayout, model: ModelConfig, dist: ActionDist, asked: Needs) -> Needs:
    """What a catalogue network and its policy's author (`asked`) want of the sampler."""
    recurrent = model.cell is not None
    return asked._replace(
        act={**asked.act, **history_needs(model)},
        state=tuple((shape, np.float32) for shape in layout.state) if recurrent else asked.state,
        max_seq_len=model.max_seq_len if recurrent else asked.max_seq_len,
        noise={**dist.noise, **asked.noise},
    )


def history_needs(model: ModelConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """`Needs.act` of the LSTM or GRU that the config asks for."""
    act: dict[str, tuple[str, tuple[int, ...]]] = {}
    if model.cell is not None and model.lstm_use_prev_action:
        act["prev_actions"] = ("actions", (-1,))
    if model.cell is not None and model.lstm_use_prev_reward:
        act["prev_rewards"] = ("rewards", (-1,))
    return act


def check_filter(observation_space: gym.Space[Any], name: str, model: ModelConfig) -> None:
    """Refuse a filter that does not exist or has nothing to work on.

    Raises:
        ValueError: the former, naming the nearest; or the observations are images alone.
    """
    check_filter_name(name)
    if name != "NoFilter" and encoded_shape(observation_space, model.image_order) == (0,):
        raise ValueError(
            f"observation_filter={name!r} works on numbers and codes, and {observation_space} "
            "holds images only, which networks scale by themselves: set observation_filter="
            "'NoFilter', or model={'image_order': 'flat'} where these arrays are no images"
        )


def numpy_obstacle(
    layout: NetLayout, model: ModelConfig, dist: ActionDist, hooks: ActingHooks
) -> str | None:
    """Why NumPy alone cannot act, or None where it can."""
    if model.custom_model is not None:
        return "the custom model runs in its framework"
    if dist.reads_model:
        return f"the action distribution {dist.name} reads the model"
    return hooks.framework_reason()


def choose_engine(inference: str, obstacle: str | None) -> tuple[str, str]:
    """Which engine acts, and why.

    Args:
        inference: `config["inference"]`.
        obstacle: what `numpy_obstacle` said.

    Raises:
        ValueError: unknown name, or "numpy" where it is impossible.
    """
    if inference not in ("auto", "numpy", "framework"):
        choices = ("auto", "numpy", "framework")
        raise ValueError(f"unknown inference {inference!r}{did_you_mean(inference, choices)}")
    if inference == "framework":
        return "framework", "inference='framework' was asked for"
    if obstacle is None:
        return "numpy", "catalogue model on a CPU"
    if inference == "numpy":
        raise ValueError(f"inference='numpy' is impossible: {obstacle}")
    return "framework", obstacle
