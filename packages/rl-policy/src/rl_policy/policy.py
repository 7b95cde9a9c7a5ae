"""The policy a user holds: it acts, learns, postprocesses and is saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from rl_policy.action_dist import ActionDist, make_action_dist
from rl_policy.config import resolve_config
from rl_policy.plain import PlainActorSpec
from rl_policy.schedules import coefficient_schedules
from rl_policy.spaces import batch_obs, check_obs, space_columns
from rl_sample import SampleBatch, draw_noise, flatten_nested, noise_keys
from rl_sample.protocols import Acted, ActorSpec, Arrays, Learned, Needs, Snapshot

State = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class PolicySpec:
    """One policy of a multi-agent run; what is None is inferred by whoever builds it."""

    policy_class: Callable[..., Policy] | None = None
    observation_space: gym.Space[Any] | None = None
    action_space: gym.Space[Any] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """Laid over the run's policy config."""


class Policy:
    """Base of every policy. `rl_sample.protocols.Actor` and `Learner`, and the user's face.

    Subclass it to write a policy in plain NumPy: implement `act`, and to train it `learn_on_batch`,
    `get_weights` and `set_weights`. `build_policy` makes policies with networks.
    """

    name: ClassVar[str] = "Policy"
    default_config: ClassVar[Mapping[str, Any]] = {}
    """Config keys of this class beside `DEFAULT_POLICY_CONFIG`, with their defaults."""

    needs: Needs = Needs()

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """`config` is flat; an unknown key is a ValueError that names the nearest one."""
        self.observation_space = observation_space
        self.action_space = action_space
        self.config = resolve_config(self.default_config, config)
        self.seed = _seed(self.config["seed"])
        self.version = 0
        """Rises by one with every change of the weights."""
        self.global_step = 0
        """Lifetime env steps, as last told to `learn_on_batch`."""
        names = ("lr", *self.config["coeffs"])
        self.coeffs: MutableMapping[str, float] = {n: float(self.config[n]) for n in names}
        self._schedules = coefficient_schedules(self.config, names)
        self._acts = 0
        self.follow_schedules(0)

    # ------------------------------------------------------------------ acting

    def act(
        self, inputs: Arrays, state: State, noise: Arrays, *, explore: bool, step: int
    ) -> Acted:
        """Decide for `B` rows; see `rl_sample.protocols.Actor`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement act()")

    def values(self, inputs: Arrays, state: State) -> np.ndarray | None:
        """Value estimates [B] float32 of raw observations; None without a value output."""
        return None

    def load(self, snapshot: Snapshot) -> None:
        """Take the weights of a snapshot."""
        start = len("net/")
        net = {k[start:]: v for k, v in snapshot.arrays.items() if k.startswith("net/")}
        self.set_weights(net)
        self.version, self.global_step = snapshot.version, snapshot.step

    def filter_delta(self, inputs: Arrays) -> Arrays:
        """What raw observations add to the filter's statistics; {} without a filter."""
        return {}

    def compute_actions(
        self,
        obs_batch: Any,
        state_batches: Sequence[np.ndarray] | None = None,
        *,
        prev_action_batch: Any = None,
        prev_reward_batch: Any = None,
        action_mask: Any = None,
        explore: bool | None = None,
        noise: Arrays | None = None,
    ) -> tuple[Any, State, dict[str, np.ndarray]]:
        """Actions for a batch of observations.

        Args:
            obs_batch: [B, …] observations in the space's nested form, or a list of B observations.
            state_batches: recurrent state, [B, …] each; None: the initial state.
            prev_action_batch: [B, …] raw previous actions, for policies that read them; None: zero.
            prev_reward_batch: [B] previous rewards; None: zero.
            action_mask: [B, mask size], 1 where an action is legal.
            explore: sample; False: the deterministic action; None: as `config["explore"]`.
            noise: what `needs.noise` names, [B, …] each; None: drawn from `config["seed"]`.

        Returns:
            Actions in the environment's space [B, …], recurrent state after the step, and columns
            [B, …]: `actions` (raw), `action_dist_inputs`, `action_logp`, ….

        Raises:
            ValueError: observations outside the space's shape or dtype.
        """
        inputs = self._observed(obs_batch)
        count = len(next(iter(inputs.values())))
        inputs |= self.history_inputs(count, prev_action_batch, prev_reward_batch)
        if action_mask is not None:
            inputs["action_mask"] = np.asarray(action_mask)
        if state_batches is None or len(state_batches) == 0:
            state_batches = [np.zeros((count, *shape), t) for shape, t in self.needs.state]
        explore = self.config["explore"] if explore is None else explore
        noise = self._draw(count) if noise is None and explore else noise
        acted = self.act(
            inputs, tuple(state_batches), noise or {}, explore=explore, step=self.global_step
        )
        columns = {**acted.columns, **flatten_nested("actions", acted.actions)}
        if "action_logp" not in columns and "action_dist_inputs" in columns:
            dist = self.dist_class(columns["action_dist_inputs"])
            columns["action_logp"] = dist.logp(acted.actions)
        return acted.env_actions, acted.state, columns

    def compute_single_action(
        self,
        obs: Any,
        state: Sequence[np.ndarray] | None = None,
        *,
        prev_action: Any = None,
        prev_reward: float | None = None,
        action_mask: Any = None,
        explore: bool | None = None,
    ) -> tuple[Any, State, dict[str, np.ndarray]]:
        """`compute_actions` for one observation: nothing has a leading axis."""
        actions, state_out, columns = self.compute_actions(
            [obs],
            None if not state else [np.asarray(s)[None] for s in state],
            prev_action_batch=None if prev_action is None else _map(_lift, prev_action),
            prev_reward_batch=None if prev_reward is None else [prev_reward],
            action_mask=None if action_mask is None else np.asarray(action_mask)[None],
            explore=explore,
        )
        first = {name: column[0] for name, column in columns.items()}
        return _map(lambda a: a[0], actions), tuple(s[0] for s in state_out), first

    def compute_log_likelihoods(
        self, actions: Any, obs_batch: Any, state_batches: Sequence[np.ndarray] | None = None,
        **history: Any,
    ) -> np.ndarray:  # fmt: skip
        """Log-probabilities [B] float32 of raw `actions` [B, …] under the current policy."""
        columns = self.compute_actions(obs_batch, state_batches, explore=False, **history)[2]
        return np.asarray(self.dist_class(columns["action_dist_inputs"]).logp(actions))

    @property
    def dist_class(self) -> ActionDist:
        """How actions are distributed; `dist_class(inputs)` makes a distribution."""
        return make_action_dist(self.action_space)

    def is_recurrent(self) -> bool:
        """It carries state from step to step."""
        return bool(self.needs.state)

    def get_initial_state(self) -> list[np.ndarray]:
        """The state of one row at an episode's start (zeros); [] if not recurrent."""
        return [np.zeros(shape, dtype) for shape, dtype in self.needs.state]

    # ---------------------------------------------------------------- learning

    def postprocess_trajectory(
        self, sample_batch: SampleBatch, other_agent_batches: Any = None, episode: Any = None
    ) -> SampleBatch:
        """What happens to sampled rows before they are learned on; default: nothing.

        Called in the worker, once per trajectory piece of one agent. `other_agent_batches` maps
        the other agents of that episode to (policy id, batch).
        """
        return sample_batch

    def learn_on_batch(
        self,
        batch: SampleBatch,
        *,
        step: int | None = None,
        epochs: int = 1,
        minibatch_size: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> Learned:
        """Improve the weights; see `rl_sample.protocols.Learner`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement learn_on_batch()")

    def gradients(self, batch: SampleBatch, *, step: int | None = None) -> tuple[Arrays, Learned]:
        """Gradients of the loss by weight name, nothing applied."""
        raise NotImplementedError(f"{type(self).__name__} does not implement gradients()")

    def apply(self, grads: Arrays) -> None:
        """One optimiser step along `grads`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement apply()")

    def update_target(self, tau: float = 1.0) -> None:
        """Move the target weights towards the weights by `tau`; nothing without a target."""

    def merge_filters(self, deltas: Sequence[Arrays]) -> None:
        """Take up what workers' observations add to the filter, in the order given."""

    def follow_schedules(self, step: int | None) -> None:
        """Set the coefficients that have a schedule to their value at `step` env steps."""
        if step is None:
            return
        self.global_step = step
        for name, schedule in self._schedules.items():
            self.coeffs[name] = float(schedule(step))

    # ----------------------------------------------------------------- weights

    def get_weights(self) -> dict[str, np.ndarray]:
        """Copies of the weights by name."""
        return {}

    def set_weights(self, weights: Arrays) -> None:
        """Take weights by name."""

    def snapshot(self) -> Snapshot:
        """All that acting needs of the weights, copied."""
        net = {f"net/{name}": array for name, array in self.get_weights().items()}
        return Snapshot(self.version, self.global_step, net)

    def actor_spec(self) -> ActorSpec:
        """How a worker builds this policy's actor."""
        return PlainActorSpec(
            type(self), self.observation_space, self.action_space, dict(self.config)
        )

    def state_dict(self) -> dict[str, Any]:
        """All that continuing needs: JSON-able values and arrays, nested in dicts."""
        return {
            "version": self.version,
            "step": self.global_step,
            "seed": self.seed,
            "acts": self._acts,
            "coeffs": dict(self.coeffs),
            "weights": self.get_weights(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.set_weights(state["weights"])
        self.version, self.global_step = state["version"], state["step"]
        self.seed = state.get("seed", self.seed)
        self._acts = state["acts"]
        self.coeffs.update(state["coeffs"])

    def save(self, directory: str | Path) -> Path:
        """Write what acting needs into a new `directory`; `rl_policy.load_policy` reads it.

        Raises:
            ArtifactError: the policy has no network that could be saved.
            FileExistsError: `directory` exists and holds something else.
        """
        from rl_policy.artifact import write_policy
        from rl_policy.artifact_files import ArtifactError
        from rl_policy.spec import NetActorSpec

        spec = self.actor_spec()
        if not isinstance(spec, NetActorSpec):
            raise ArtifactError(
                f"{type(self).__name__} has no network made by build_policy, so there is nothing "
                "that load_policy could rebuild; save its state_dict() instead"
            )
        return write_policy(self.name, spec, self.snapshot(), directory)

    # ----------------------------------------------------------------- helpers

    def history_inputs(self, count: int, actions: Any, rewards: Any) -> dict[str, np.ndarray]:
        """`prev_actions` and `prev_rewards` of `count` rows, as far as `needs.act` asks for them.

        None for either stands for an episode's start: zeros.
        """
        columns: dict[str, np.ndarray] = {}
        if "prev_rewards" in self.needs.act:
            given = np.zeros(count) if rewards is None else rewards
            columns["prev_rewards"] = np.asarray(given, np.float32)
        if "prev_actions" in self.needs.act:
            if actions is None:
                specs = space_columns("prev_actions", self.dist_class.raw_space)
                columns |= {k: np.zeros((count, *s), dtype) for k, (s, dtype) in specs.items()}
            else:
                columns |= flatten_nested("prev_actions", actions)
        return columns

    def _observed(self, obs_batch: Any) -> dict[str, np.ndarray]:
        """Checked columns in the dtypes that the sampler stores, so that they act as it does."""
        space = self.observation_space
        if isinstance(obs_batch, list):
            for i, obs in enumerate(obs_batch):
                check_obs(space, obs, name=f"obs_batch[{i}]")
            return batch_obs(space, obs_batch)
        inputs = flatten_nested("obs", obs_batch)
        first = next(iter(inputs.values()))
        if first.ndim == 0:
            raise ValueError("obs_batch has no leading axis; compute_single_action takes one obs")
        check_obs(space, obs_batch, name="obs_batch", batch_size=len(first))
        specs = space_columns("obs", space)
        return {name: np.asarray(array, specs[name][1]) for name, array in inputs.items()}

    def _draw(self, count: int) -> Arrays:
        """Noise of this policy's next call: a function of its seed and of how often it acted."""
        keys = noise_keys(self.seed, 0, np.arange(count))
        drawn = draw_noise(self.needs.noise, keys, np.full(count, self._acts), 1)
        self._acts += 1
        return {name: array[:, 0] for name, array in drawn.items()}


def _seed(seed: int | None) -> int:
    return int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)


def _lift(value: Any) -> np.ndarray:
    return np.asarray(value)[None]


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _map(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_map(function, value) for value in tree)
    return function(tree)
