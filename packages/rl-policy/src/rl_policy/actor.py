"""What runs in a worker: observations to actions, sampled rows to rows to learn on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rl_policy.action_map import make_action_map
from rl_policy.filters import apply_filter, filter_delta
from rl_policy.hooks import whole_fragment
from rl_policy.layout import subtree
from rl_policy.spaces import find_images, identity, make_encoder, space_columns
from rl_policy.xp import numpy_xp
from rl_sample import SampleBatch, add_advantages, flatten_nested, unflatten_nested
from rl_sample.protocols import (
    Acted,
    AgentID,
    Arrays,
    EpisodeRecord,
    Needs,
    PolicyID,
    Snapshot,
)

if TYPE_CHECKING:
    from rl_policy.spec import NetActorSpec

State = tuple[np.ndarray, ...]
Others = Mapping[AgentID, tuple[PolicyID, SampleBatch]]
PostprocessFn = Callable[[Any, SampleBatch, Any, Any], SampleBatch]

_CHUNK, _IMAGES = 4096, 256
"""Rows of one pass in `values`, so that all images of a fragment need not be floats at once."""


class Net(Protocol):
    """What an actor asks of a network; NumPy in, NumPy out."""

    model: Any
    """What hooks get as `model`."""

    def forward(self, input_dict: Mapping[str, Any], state: State) -> tuple[np.ndarray, State]: ...

    def values(self, input_dict: Mapping[str, Any], state: State) -> np.ndarray | None: ...

    def load(self, weights: Arrays) -> None: ...

    def native(self, tree: Any) -> Any:
        """NumPy arrays as the framework's (nested dicts and tuples keep their form)."""

    def numpy(self, tree: Any) -> Any: ...

    def inference(self) -> AbstractContextManager[Any]:
        """The framework's mode without gradients."""


class NetActor:
    """`rl_sample.protocols.Actor` over any `Net`; also what hooks get as `policy`.

    One call of `act` is: encode, filter, network, mask, distribution, sample, map to the
    environment. Log-probabilities and values are left to postprocessing, which makes them for
    whole fragments at once.
    """

    def __init__(self, spec: NetActorSpec, net: Net) -> None:
        """Weights come with `load`."""
        self.needs: Needs = spec.needs
        self.version = -1
        self.config: Mapping[str, Any] = MappingProxyType(dict(spec.config))
        self.observation_space = spec.observation_space
        self.action_space = spec.action_space
        self.dist_class = spec.dist
        self.net = net
        self.model = net.model
        self.inputs = InputEncoder(spec)
        self._hooks = spec.hooks if spec.hooks.any_acting or spec.dist.reads_model else None
        self._can_mask = spec.dist.mask_size is not None
        images = find_images(spec.observation_space, spec.model.image_order)
        self._chunk = _IMAGES if images else _CHUNK
        self._mask_in_obs = "obs/action_mask" in space_columns("obs", spec.observation_space)
        self._make_dist: Callable[..., Any] = spec.dist.make
        self._noise_name = spec.dist.noise_name
        self._to_env = spec.dist.to_env or make_action_map(
            spec.action_space, self.config["normalize_actions"], self.config["clip_actions"]
        )

    def act(
        self, inputs: Arrays, state: State, noise: Arrays, *, explore: bool, step: int
    ) -> Acted:
        """Decide for `B` rows.

        Args:
            inputs: [B, …] raw observations (`obs`, or `obs/…` if nested), what `needs.act` names
                and, where there is one, `action_mask` [B, mask size].
            state: recurrent state, [B, …] each.
            noise: what `needs.noise` names, [B, …] each; not read if `explore` is False.
            explore: sample; False: the distribution's deterministic action.
            step: lifetime environment steps.

        Raises:
            ValueError: a row of the action mask allows no action.
        """
        input_dict = self.inputs.encode(inputs)
        if self._hooks is not None:
            return self._act_by_hooks(input_dict, state, noise, explore, step)
        dist_inputs, state = self.net.forward(input_dict, state)
        if self._can_mask:
            mask = inputs.get("action_mask")
            if mask is None and self._mask_in_obs:
                mask = inputs["obs/action_mask"]
            if mask is not None:
                dist_inputs = self.dist_class.mask(dist_inputs, self.dist_class.checked_mask(mask))
        elif "action_mask" in inputs and not self._mask_in_obs:
            raise ValueError(
                f"an action mask was given, but {self.dist_class.name} over {self.action_space} "
                "has no choices that could be masked: leave the mask (infos['action_mask']) out"
            )
        dist = self._make_dist(dist_inputs)
        if not explore:
            actions = dist.deterministic_sample()
        elif self._noise_name is not None:
            actions = dist.sample(noise[self._noise_name])
        else:
            actions = dist.sample(self.dist_class.select_noise(noise))
        to_env = self._to_env
        env_actions = actions if to_env is identity else to_env(actions)
        return Acted(actions, env_actions, state, {"action_dist_inputs": dist_inputs})

    def values(self, inputs: Arrays, state: State) -> np.ndarray | None:
        """Value estimates [B] float32 of raw observations; None without a value output."""
        rows = len(next(iter(inputs.values())))
        if rows <= self._chunk:
            return self.net.values(self.inputs.encode(inputs), state)
        chunks = []
        for start in range(0, rows, self._chunk):
            part = slice(start, start + self._chunk)
            columns = {name: column[part] for name, column in inputs.items()}
            values = self.values(columns, tuple(array[part] for array in state))
            if values is None:
                return None
            chunks.append(values)
        return np.concatenate(chunks)

    def load(self, snapshot: Snapshot) -> None:
        """Take the weights and filter statistics of `snapshot`."""
        self.net.load(subtree(snapshot.arrays, "net"))
        self.inputs.set_filter(subtree(snapshot.arrays, "filter"))
        self.version = snapshot.version

    def filter_delta(self, inputs: Arrays) -> Arrays:
        """What these raw observations add to the filter's statistics."""
        return self.inputs.filter_delta(inputs)

    def _act_by_hooks(
        self, input_dict: dict[str, Any], state: State, noise: Arrays, explore: bool, step: int
    ) -> Acted:
        hooks, net, model = self._hooks, self.net, self.model
        assert hooks is not None
        columns: dict[str, Any] = {}
        with net.inference():
            native, states = net.native(self.inputs.nested(input_dict)), net.native(state)
            drawn = net.native(dict(noise))
            make_dist, dist = self._make_dist, None
            if hooks.action_sampler_fn is not None:
                out = hooks.action_sampler_fn(self, model, native, states, explore, step, drawn)
                actions, logp, *rest = out
                state = net.numpy(rest[0]) if rest else state
                columns["action_logp"] = logp
            else:
                if hooks.action_distribution_fn is not None:
                    dist_inputs, make_dist, states = hooks.action_distribution_fn(
                        self, model, native, states, explore, step, drawn
                    )
                    state = net.numpy(states)
                else:
                    out, state = net.forward(input_dict, state)
                    dist_inputs = net.native(out)
                mask = action_mask(input_dict)
                if self._can_mask and mask is not None:
                    checked = net.native(self.dist_class.checked_mask(mask))
                    dist_inputs = self.dist_class.mask(dist_inputs, checked)
                dist = make_dist(dist_inputs, model)
                chosen = self.dist_class.select_noise(drawn) if explore else None
                actions = dist.sample(chosen) if explore else dist.deterministic_sample()
                columns |= {"action_dist_inputs": dist_inputs, "action_logp": dist.logp(actions)}
            if hooks.extra_action_out_fn is not None:
                columns |= hooks.extra_action_out_fn(self, native, states, model, dist, drawn)
            actions, columns = net.numpy(actions), net.numpy(columns)
        return Acted(actions, self._to_env(actions), tuple(state), columns)


class InputEncoder:
    """Raw columns to what networks read: `obs_flat`, encoded and filtered, and `prev_flat`.

    Images are left as they are: an observation that is one image is its own `obs_flat`, images
    among others are read from the raw columns (`obs/eye`), and networks cast and scale them.
    """

    def __init__(self, spec: NetActorSpec) -> None:
        """Without statistics (`set_filter`) a filter changes nothing."""
        self._encode_obs = make_encoder(spec.observation_space, spec.model.image_order)
        self._encode_action = make_encoder(spec.dist.raw_space, "flat")
        self._filters = spec.config["observation_filter"] != "NoFilter"
        self._filter: tuple[np.ndarray, np.ndarray] | None = None
        self._tiled = np.empty(0), np.empty(0)
        """The filter's [D] as [B, …] for the last B: NumPy broadcasts short rows slowly."""
        self._raw_is_flat = self._encode_obs is identity and not self._filters
        self.dist_class = spec.dist
        model, recurrent = spec.model, spec.model.cell is not None
        self._prev_action = recurrent and model.lstm_use_prev_action
        self._prev_reward = recurrent and model.lstm_use_prev_reward

    def encode(self, inputs: Arrays) -> dict[str, Any]:
        """`inputs` with `obs_flat` (and `prev_flat` [B, P] float32) added.

        `obs_flat` is [B, D] float32, D = 0 for nothing but images in a nested observation; of an
        observation that is one image it is that image, raw.
        """
        flat = inputs["obs"] if self._raw_is_flat else self.flat("obs", inputs)
        input_dict: dict[str, Any] = {**inputs, "obs_flat": flat}
        if self._prev_action or self._prev_reward:
            input_dict["prev_flat"] = self._prev(inputs)
        return input_dict

    def flat(self, name: str, inputs: Arrays, *, filtered: bool = True) -> np.ndarray:
        """The column `name` (`obs` or `new_obs`) encoded and filtered, as `encode` says."""
        raw = inputs[name] if name in inputs else unflatten_nested(name, inputs)
        encode = self._encode_obs
        encoded: np.ndarray = raw if encode is identity else encode(raw)
        if filtered and self._filter is not None:
            if len(self._tiled[0]) != len(encoded):
                self._tiled = _tile(self._filter, len(encoded))
            encoded = apply_filter(numpy_xp, encoded, *self._tiled)
        return encoded

    def filter_delta(self, inputs: Arrays) -> Arrays:
        """Count, mean and M2 of the encoded observations; {} without a filter."""
        return filter_delta(self.flat("obs", inputs, filtered=False)) if self._filters else {}

    def set_filter(self, statistics: Arrays) -> None:
        """Take `mean` and `inv_std` [D] float32, or nothing."""
        self._filter = (statistics["mean"], statistics["inv_std"]) if statistics else None
        if self._filter is not None:
            self._tiled = _tile(self._filter, 1)

    def nested(self, input_dict: Mapping[str, Any]) -> dict[str, Any]:
        """The same with `obs` and `prev_actions` in their nested form."""
        roots = dict.fromkeys(name.split("/")[0] for name in input_dict)
        return {root: unflatten_nested(root, input_dict) for root in roots}

    def _prev(self, inputs: Arrays) -> np.ndarray:
        parts = []
        if self._prev_action:
            parts.append(self._encode_action(unflatten_nested("prev_actions", inputs)))
        if self._prev_reward:
            parts.append(np.asarray(inputs["prev_rewards"], np.float32).reshape(-1, 1))
        return np.concatenate(parts, axis=1)


def _tile(pair: tuple[np.ndarray, np.ndarray], rows: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = (np.repeat(value[None], rows, axis=0) for value in pair)
    return first, second


class FragmentPostprocess:
    """`rl_sample.protocols.Postprocess`: fills `action_logp`, then calls a `postprocess_fn`."""

    def __init__(self, policy: Any, postprocess_fn: PostprocessFn | None) -> None:
        """`policy` is what the function gets: an actor with config, spaces, values."""
        self._policy = policy
        self._function = postprocess_fn
        self.per_trajectory = postprocess_fn is not None and not getattr(
            postprocess_fn, "whole_fragment", False
        )

    def __call__(
        self, batch: SampleBatch, others: Others, episode: EpisodeRecord | None
    ) -> SampleBatch:
        """`batch` is one trajectory piece if `per_trajectory`, else a whole fragment."""
        columns = batch.arrays
        if "action_logp" not in columns and "action_dist_inputs" in columns:
            dist = self._policy.dist_class.make(columns["action_dist_inputs"])
            batch["action_logp"] = dist.logp(batch["actions"])
        if self._function is None:
            return batch
        return self._function(self._policy, batch, others, episode)


@whole_fragment
def gae(policy: Any, batch: SampleBatch, others: Any = None, episode: Any = None) -> SampleBatch:
    """Generalised advantage estimation (Schulman et al. 2016) for all pieces of a fragment at once.

    Adds `vf_preds`, `advantages` and `value_targets` [B] float32; every piece that did not
    terminate bootstraps with the value of its true last observation. Reads `gamma`, `lambda`,
    `use_gae` and `use_critic` from `policy.config`.

    Raises:
        ValueError: the policy has no value output although the config asks for one.
    """
    config = policy.config
    if config["use_gae"] or config["use_critic"]:
        _add_values(policy, batch)
    return add_advantages(
        batch,
        gamma=config["gamma"],
        lambda_=config["lambda"],
        use_gae=config["use_gae"],
        use_critic=config["use_critic"],
    )


@whole_fragment
def discounted(
    policy: Any, batch: SampleBatch, others: Any = None, episode: Any = None
) -> SampleBatch:
    """Add `advantages` [B] float32: discounted returns of the rows that are there, no values."""
    gamma = policy.config["gamma"]
    return add_advantages(batch, gamma=gamma, use_gae=False, use_critic=False)


def _add_values(policy: Any, batch: SampleBatch) -> None:
    """Bind `vf_preds` [B] and the segments' bootstrap values, with one call for both."""
    segments, columns = batch.segments, batch.arrays
    if segments is None:
        raise ValueError(
            "advantages need to know where trajectories end: the batch has no segments (it was "
            "shuffled, or built without `segments=`)"
        )
    last = segments.ends - 1
    after = dict(segments.last_obs)
    for name, (column, _) in policy.needs.act.items():  # history: what came with the last row
        if name not in after:
            after |= _rename(name, column, columns, last)
    inputs = {name: np.concatenate([columns[name], rest]) for name, rest in after.items()}
    state = tuple(
        np.concatenate([columns[f"state_in_{i}"], rest])
        for i, rest in enumerate(segments.last_state)
    )
    values = policy.values(inputs, state)
    if values is None:
        raise ValueError(
            "use_gae and use_critic need value estimates, and this policy's model has none; give "
            "the model a value_function or set both to False"
        )
    batch["vf_preds"] = values[: batch.count]
    alive = ~columns["terminateds"][last]
    batch.segments = segments._replace(bootstrap=values[batch.count :] * alive)


def _rename(name: str, column: str, columns: Arrays, rows: np.ndarray) -> Arrays:
    nested = unflatten_nested(column, {k: v[rows] for k, v in columns.items()})
    return flatten_nested(name, nested)


def action_mask(columns: Mapping[str, Any]) -> Any | None:
    """The legal actions [B, mask size]: a column, or a key of Dict observations."""
    mask = columns.get("action_mask")
    return columns.get("obs/action_mask") if mask is None else mask
