"""The policy with a network: acts, loads batches, learns in epochs of minibatches, keeps state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import gymnasium as gym
import numpy as np

from rl_policy.action_dist import ActionDist
from rl_policy.actor import FragmentPostprocess, InputEncoder, NetActor
from rl_policy.build import build_model, build_spec
from rl_policy.config import package_of
from rl_policy.filters import empty_stats, filter_arrays, merge_stats
from rl_policy.policy import Policy, State
from rl_policy.spaces import encoded_shape
from rl_policy.spec import NetActorSpec
from rl_policy.train_batch import Arrays as TensorArrays
from rl_policy.train_batch import LoadedBatch, Meter, load_batch
from rl_sample import SampleBatch, draw_noise, noise_keys
from rl_sample.protocols import Acted, Arrays, Learned, Snapshot

if TYPE_CHECKING:
    from rl_policy.definition import PolicyDefinition


class Backend(TensorArrays, Protocol):
    """One framework's half of a learner, `rl_policy.<package>.backend.Backend(policy)`.

    It finds `policy.model`, `policy.device` and the definition's hooks; arrays are by neutral
    names, so that what one framework's backend gives another's takes.
    """

    optimizers: Mapping[str, Any]
    target_model: Any
    coeffs: Any
    """`policy.coeffs`: a loss reads numbers or, in a traced graph, scalars that follow them."""
    updates: int
    """Updates so far, for optimisers that do not step at each."""

    def learn(self, loaded: LoadedBatch, step: int, meter: Meter) -> None:
        """One epoch: an update for each minibatch of `step` units, in the current order."""

    def gradients(self, loaded: LoadedBatch, meter: Meter) -> dict[str, np.ndarray]:
        """Gradients of the loss of the whole batch by weight name; nothing is applied."""

    def apply(self, grads: Arrays) -> None:
        """One step of the optimisers along gradients by weight name."""

    def metrics(self) -> dict[str, Any]:
        """What the model has to report of the last update."""

    def update_target(self, tau: float) -> None:
        """`target += tau * (weights - target)`."""

    def weights(self) -> dict[str, np.ndarray]:
        """Copies of the model's parameters and buffers."""

    def set_weights(self, weights: Arrays) -> None: ...

    def target_weights(self) -> dict[str, np.ndarray]: ...

    def set_target_weights(self, weights: Arrays) -> None: ...

    def optimizer_state(self) -> dict[str, dict[str, np.ndarray]]:
        """By optimiser: `m/<weight>`, `v/<weight>`, `steps`, …."""

    def load_optimizer_state(self, states: Mapping[str, Arrays]) -> None: ...


class NetPolicy(Policy):
    """A `Policy` made of a `PolicyDefinition`, whose losses a framework differentiates."""

    definition: ClassVar[PolicyDefinition]
    framework: ClassVar[str]
    """What learns: "torch", "tf" or "tf2"."""

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Model, first weights (from `config["seed"]`) and optimisers."""
        super().__init__(observation_space, action_space, config)
        d, setup = self.definition, (self, observation_space, action_space, self.config)
        package = package_of(self.framework)
        kit = import_module(f"rl_policy.{package}.backend")
        self.device = kit.find_device(self.config["device"])
        self.rng = np.random.default_rng(self.seed)
        """Shuffles minibatches where the caller brings no generator."""
        for hook in (d.validate_spaces, d.before_init):
            if hook is not None:
                hook(*setup)
        hooks = d.acting_hooks()
        self.model, self._dist = build_model(package, self, hooks, None, self.seed, self.device)
        self._backend: Backend = kit.Backend(self)
        self.coeffs = self._backend.coeffs
        self.optimizers = self._backend.optimizers
        self.target_model = self._backend.target_model
        self._spec = build_spec(self)
        self.needs = self._spec.needs
        self._actor: tuple[NetActor, FragmentPostprocess] | None = None
        self._actor_is_stale = True
        self._inputs = InputEncoder(self._spec)
        self._filters = self.config["observation_filter"] != "NoFilter"
        self._set_filter_stats(empty_stats(encoded_shape(observation_space)))
        self._noise_rows = 0
        for hook in (d.before_loss_init, d.after_init):
            if hook is not None:
                hook(*setup)

    # ------------------------------------------------------------------ acting

    @property
    def dist_class(self) -> ActionDist:
        """How actions are distributed; losses get its `make`, which is called without detours."""
        return self._dist

    @property
    def inference(self) -> tuple[str, str]:
        """Which engine acts, "numpy" or "framework", and why."""
        return self._spec.engine, self._spec.engine_reason

    def act(
        self, inputs: Arrays, state: State, noise: Arrays, *, explore: bool, step: int
    ) -> Acted:
        """As a worker would with these weights."""
        return self._acting()[0].act(inputs, state, noise, explore=explore, step=step)

    def values(self, inputs: Arrays, state: State) -> np.ndarray | None:
        """Value estimates [B] float32 of raw observations; None without a value output."""
        return self._acting()[0].values(inputs, state)

    def filter_delta(self, inputs: Arrays) -> Arrays:
        """What raw observations add to the filter's statistics; {} without a filter."""
        return self._inputs.filter_delta(inputs)

    def postprocess_trajectory(
        self, sample_batch: SampleBatch, other_agent_batches: Any = None, episode: Any = None
    ) -> SampleBatch:
        """Call the definition's `postprocess_fn` as a worker does."""
        return self._acting()[1](sample_batch, other_agent_batches or {}, episode)

    def actor_spec(self) -> NetActorSpec:
        """How a worker builds this policy's actor."""
        return self._spec

    def _acting(self) -> tuple[NetActor, FragmentPostprocess]:
        """This policy's own actor, with the newest weights."""
        if self._actor is None:
            self._actor = self._spec.build()
        if self._actor_is_stale:
            self._actor[0].load(self.snapshot())
            self._actor_is_stale = False
        return self._actor

    # ---------------------------------------------------------------- learning

    def learn_on_batch(
        self,
        batch: SampleBatch,
        *,
        step: int | None = None,
        epochs: int = 1,
        minibatch_size: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> Learned:
        """Load `batch` once, then update on shuffled minibatches of it.

        Args:
            batch: [B] rows with raw observations; a recurrent policy's are cut into sequences.
            step: lifetime env steps, for schedules.
            epochs: passes over the batch.
            minibatch_size: rows of each update, a sequence counting as `max_seq_len + burn_in`;
                None: the whole batch.
            rng: shuffles; None: the policy's own.

        Returns:
            Means of the statistics over all updates, and the last value of the loss's `rows`.

        Raises:
            FloatingPointError: a loss or gradient is not finite; weights are as before that update.
        """
        loaded, meter = self._load(batch, step)
        try:
            for units in loaded.epochs(epochs, minibatch_size, rng or self.rng, self._renew):
                self._backend.learn(loaded, units, meter)
        finally:  # an update that fails may come after some that did not
            self._changed()
        meter.add(self._backend.metrics())
        if self.definition.extra_learn_fetches_fn is not None:
            meter.add(self.definition.extra_learn_fetches_fn(self))
        return meter.learned(cur_lr=self.coeffs["lr"])

    def gradients(self, batch: SampleBatch, *, step: int | None = None) -> tuple[Arrays, Learned]:
        """Gradients of the loss of one whole batch by weight name, not clipped, not applied."""
        loaded, meter = self._load(batch, step)
        for _ in loaded.epochs(1, None, self.rng, self._renew):
            grads = self._backend.gradients(loaded, meter)
        return grads, meter.learned(cur_lr=self.coeffs["lr"])

    def apply(self, grads: Arrays) -> None:
        """One optimiser step along `grads`, clipped if the config says so."""
        self._backend.apply(grads)
        self._changed()

    def update_target(self, tau: float = 1.0) -> None:
        """`target += tau * (weights - target)`; 1.0 copies."""
        if self.target_model is not None:
            self._backend.update_target(tau)

    def merge_filters(self, deltas: Sequence[Arrays]) -> None:
        """Take up what workers' observations add to the filter, in the order given."""
        if self._filters and deltas:
            self._set_filter_stats(merge_stats(self._filter_stats, deltas))
            self._actor_is_stale = True

    def _load(self, batch: SampleBatch, step: int | None) -> tuple[LoadedBatch, Meter]:
        """Let the schedules give their coefficients at `step` env steps; the batch as columns."""
        if self.definition.loss_fn is None:
            raise ValueError(f"policy {self.name!r} has no loss_fn: it cannot learn")
        if step is not None:
            self.global_step = step
            self.coeffs.update({name: float(at(step)) for name, at in self._schedules.items()})
        req = self.definition.get_batch_divisibility_req
        loaded, valid = load_batch(
            batch,
            self._inputs,
            self.needs,
            self._backend,
            block=1 if req is None else int(req(self)),
            burn_in=self._spec.model.burn_in,
        )
        return loaded, Meter(loaded, valid)

    def _renew(self, rows: int) -> dict[str, np.ndarray]:
        """The columns `noise/<name>` of an epoch over `rows` rows."""
        if not self.needs.learn_noise:
            return {}
        keys = noise_keys(self.seed, -1, 0)  # no worker has this index
        drawn = draw_noise(self.needs.learn_noise, keys, np.array([self._noise_rows]), rows)
        self._noise_rows += rows
        return {f"noise/{name}": array[0] for name, array in drawn.items()}

    # ----------------------------------------------------------------- weights

    def get_weights(self) -> dict[str, np.ndarray]:
        """Copies of the model's parameters and buffers by name."""
        return self._backend.weights()

    def set_weights(self, weights: Arrays) -> None:
        """Take weights by name; ValueError if they belong to another model."""
        self._backend.set_weights(weights)
        self._changed()

    def snapshot(self) -> Snapshot:
        """Weights and filter constants, copied."""
        arrays = {f"net/{name}": array for name, array in self.get_weights().items()}
        arrays |= {f"filter/{name}": array for name, array in self._filter_arrays.items()}
        return Snapshot(self.version, self.global_step, arrays)

    def state_dict(self) -> dict[str, Any]:
        """All that continuing needs, in any framework: JSON-able values and arrays, nested."""
        return {
            **super().state_dict(),
            "optimizers": self._backend.optimizer_state(),
            "target": {} if self.target_model is None else self._backend.target_weights(),
            "filter": dict(self._filter_stats),
            "rng": self.rng.bit_generator.state,
            "updates": self._backend.updates,
            "noise_rows": self._noise_rows,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        super().load_state_dict(state)
        if self.target_model is not None:
            self._backend.set_target_weights(state["target"])
        self._backend.load_optimizer_state(state["optimizers"])
        self._set_filter_stats(state["filter"])
        self.rng.bit_generator.state = state["rng"]
        self._backend.updates, self._noise_rows = state["updates"], state["noise_rows"]

    def _changed(self) -> None:
        self.version += 1
        self._actor_is_stale = True

    def _set_filter_stats(self, stats: Arrays) -> None:
        self._filter_stats = stats
        self._filter_arrays = filter_arrays(stats) if self._filters else {}
        self._inputs.set_filter(self._filter_arrays)
