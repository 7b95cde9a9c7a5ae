"""The learner in torch: loss, gradients, optimiser step, target, state."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch

from rl_policy.action_dist import ActionDist
from rl_policy.actor import FragmentPostprocess, InputEncoder, NetActor
from rl_policy.definition import PolicyDefinition
from rl_policy.filters import empty_stats, filter_arrays, merge_stats
from rl_policy.model_config import did_you_mean
from rl_policy.policy import Policy, State
from rl_policy.spaces import encoded_shape
from rl_policy.spec import NetActorSpec
from rl_policy.torch.batch import LoadedBatch, Meter, TrainBatch, load_batch
from rl_policy.torch.build import build_model, build_optimizers, build_spec
from rl_policy.torch.optim import Optimizer
from rl_policy.torch.weights import NamedWeights, model_arrays, set_weights
from rl_sample import SampleBatch, draw_noise, noise_keys
from rl_sample.protocols import Acted, Arrays, Learned, Snapshot


class TorchPolicy(Policy):
    """A `Policy` made of a `PolicyDefinition`, whose losses are torch's to differentiate."""

    definition: ClassVar[PolicyDefinition]

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Model, first weights (from `config["seed"]`) and optimisers."""
        super().__init__(observation_space, action_space, config)
        d, setup = self.definition, (self, observation_space, action_space, self.config)
        self.device = torch.device(self.config["device"])
        self.rng = np.random.default_rng(self.seed)
        """Shuffles minibatches where the caller brings no generator."""
        for hook in (d.validate_spaces, d.before_init):
            if hook is not None:
                hook(*setup)
        self.model, self._dist = build_model(self, d.acting_hooks(), None, self.seed)
        self.model.to(self.device)
        self.optimizers = build_optimizers(self)
        self.target_model = copy.deepcopy(self.model) if self.config["target_model"] else None
        self._named = NamedWeights(self.model, self.optimizers)
        self._spec = build_spec(self)
        self.needs = self._spec.needs
        self._actor: tuple[NetActor, FragmentPostprocess] | None = None
        self._actor_is_stale = True
        self._inputs = InputEncoder(self._spec)
        self._filters = self.config["observation_filter"] != "NoFilter"
        self._set_filter_stats(empty_stats(encoded_shape(observation_space)))
        self._updates = self._noise_rows = 0
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
            minibatch_size: rows of each update (padding included); None: the whole batch.
            rng: shuffles; None: the policy's own.

        Returns:
            Means of the statistics over all updates, and the last value of the loss's `rows`.

        Raises:
            FloatingPointError: a loss or gradient is not finite; weights are as before that update.
        """
        self._advance(step)
        loaded, valid = self._load(batch)
        meter = Meter(loaded, valid)
        for train_batch in loaded.minibatches(epochs, minibatch_size, rng or self.rng, self._renew):
            self._step(self._differentiate(train_batch, meter))
        self._changed()
        meter.add(self.model.metrics())
        if self.definition.extra_learn_fetches_fn is not None:
            meter.add(self.definition.extra_learn_fetches_fn(self))
        return meter.learned(cur_lr=self.coeffs["lr"])

    def gradients(self, batch: SampleBatch, *, step: int | None = None) -> tuple[Arrays, Learned]:
        """Gradients of the loss of one whole batch by weight name, not clipped, not applied."""
        self._advance(step)
        loaded, valid = self._load(batch)
        meter = Meter(loaded, valid)
        (train_batch,) = loaded.minibatches(1, None, self.rng, self._renew)
        due = self._differentiate(train_batch, meter)
        return self._named.gradients(due), meter.learned(cur_lr=self.coeffs["lr"])

    def apply(self, grads: Arrays) -> None:
        """One optimiser step along `grads`, clipped if the config says so."""
        self._step(self._named.set_gradients(grads))
        self._changed()

    def update_target(self, tau: float = 1.0) -> None:
        """`target += tau * (weights - target)`; 1.0 copies."""
        if self.target_model is None:
            return
        with torch.no_grad():
            pairs = zip(self.target_model.parameters(), self.model.parameters(), strict=True)
            for target, source in pairs:
                target.lerp_(source, tau)

    def merge_filters(self, deltas: Sequence[Arrays]) -> None:
        """Take up what workers' observations add to the filter, in the order given."""
        if self._filters and deltas:
            self._set_filter_stats(merge_stats(self._filter_stats, deltas))
            self._actor_is_stale = True

    def _advance(self, step: int | None) -> None:
        """Let the schedules give their coefficients at `step`, lifetime env steps."""
        if step is not None:
            self.global_step = step
            self.coeffs.update({name: float(at(step)) for name, at in self._schedules.items()})

    def _differentiate(self, train_batch: TrainBatch, meter: Meter) -> dict[str, float]:
        """Bind the gradients of one minibatch; gives the gradient norm of each optimiser due."""
        d, model = self.definition, self.model
        if d.loss_fn is None:
            raise ValueError(f"policy {self.name!r} has no loss_fn: it cannot learn")
        result = d.loss_fn(self, model, self._dist.make, train_batch)
        losses, given, rows = read_loss(self.name, result, self.optimizers)
        stats = dict(given)
        if d.stats_fn is not None:
            stats |= d.stats_fn(self, train_batch)
        norms: dict[str, float] = {}
        last = next(reversed(losses))
        for name, loss in losses.items():
            optimizer, suffix = self.optimizers[name], "" if len(losses) == 1 else f"/{name}"
            loss = model.custom_loss(loss, train_batch)
            value = loss.item()
            check_finite(self.name, f"the loss{suffix}", value, self.global_step, train_batch)
            stats[f"total_loss{suffix}"] = value
            if self._updates % optimizer.every:
                continue
            optimizer.flat.set_grad(self._gradient(optimizer, loss, keep=name != last))
            if d.extra_grad_process_fn is not None:
                stats |= d.extra_grad_process_fn(self, optimizer.face, loss) or {}
                optimizer.flat.gather_grad()
            norm = torch.linalg.vector_norm(optimizer.flat.grad).item()
            check_finite(self.name, f"the gradient{suffix}", norm, self.global_step, train_batch)
            stats[f"grad_gnorm{suffix}"] = norms[name] = norm
            if d.grad_stats_fn is not None:
                grads = [p.grad for p in optimizer.flat.params]
                stats |= d.grad_stats_fn(self, train_batch, grads)
        meter.add(stats)
        meter.add_rows(train_batch, rows)
        return norms

    def _gradient(
        self, optimizer: Optimizer, loss: torch.Tensor, *, keep: bool
    ) -> Sequence[torch.Tensor | None]:
        """One gradient for each of the optimiser's parameters; `keep` the graph for more losses."""
        if self.definition.compute_gradients_fn is not None:
            pairs = self.definition.compute_gradients_fn(self, optimizer.face, loss)
            return [gradient for gradient, _ in pairs]
        params = optimizer.flat.params
        return torch.autograd.grad(loss, params, retain_graph=keep, allow_unused=True)

    def _step(self, norms: Mapping[str, float]) -> None:
        """One step of each optimiser that has a gradient."""
        self._updates += 1
        clip = self.config["grad_clip"]
        for name, norm in norms.items():
            optimizer = self.optimizers[name]
            flat = optimizer.flat
            if clip is not None and norm > clip:
                flat.grad.mul_(clip / norm)
            if self.definition.apply_gradients_fn is not None:
                pairs = [(p.grad, p) for p in flat.params]
                self.definition.apply_gradients_fn(self, optimizer.face, pairs)
            else:
                lr = optimizer.lr
                optimizer.step(self.coeffs[lr] if isinstance(lr, str) else lr)

    def _load(self, batch: SampleBatch) -> tuple[LoadedBatch, np.ndarray | None]:
        req = self.definition.get_batch_divisibility_req
        block = 1 if req is None else int(req(self))
        return load_batch(batch, self._inputs, self.needs, block, self.device)

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
        return self._named.weights()

    def set_weights(self, weights: Arrays) -> None:
        """Take weights by name; ValueError if they belong to another model."""
        self._named.set_weights(weights)
        self._changed()

    def snapshot(self) -> Snapshot:
        """Weights and filter constants, copied."""
        arrays = {f"net/{name}": array for name, array in self.get_weights().items()}
        arrays |= {f"filter/{name}": array for name, array in self._filter_arrays.items()}
        return Snapshot(self.version, self.global_step, arrays)

    def state_dict(self) -> dict[str, Any]:
        """All that continuing needs: JSON-able values and arrays, nested in dicts."""
        target = self.target_model
        return {
            **super().state_dict(),
            "optimizers": self._named.optimizer_state(),
            "target": {} if target is None else model_arrays(target),
            "filter": dict(self._filter_stats),
            "rng": self.rng.bit_generator.state,
            "updates": self._updates,
            "noise_rows": self._noise_rows,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        super().load_state_dict(state)
        if self.target_model is not None:
            set_weights(self.target_model, state["target"])
        self._named.load_optimizer_state(state["optimizers"])
        self._set_filter_stats(state["filter"])
        self.rng.bit_generator.state = state["rng"]
        self._updates, self._noise_rows = state["updates"], state["noise_rows"]

    def _changed(self) -> None:
        self.version += 1
        self._actor_is_stale = True

    def _set_filter_stats(self, stats: Arrays) -> None:
        self._filter_stats = stats
        self._filter_arrays = filter_arrays(stats) if self._filters else {}
        self._inputs.set_filter(self._filter_arrays)


BASE = TorchPolicy
"""What `PolicyDefinition.policy_class` looks for in every framework."""

_FORMS = (
    "L, (L, stats) or (L, stats, rows), where L is a scalar tensor or {optimizer name: scalar "
    "tensor}, stats {name: scalar} and rows {name: [B, …]}"
)


def read_loss(
    policy: str, result: Any, optimizers: Collection[str]
) -> tuple[dict[str, torch.Tensor], Mapping[str, Any], Mapping[str, Any]]:
    """Bring what a loss returned to one form: (losses by optimiser, stats, rows).

    Raises:
        TypeError: none of the forms; says what came.
        ValueError: a loss with more than one element, or for an optimiser that does not exist.
    """
    loss, stats, rows = result, {}, {}
    if isinstance(result, tuple):
        loss, stats, rows = (*result, {}, {})[:3]
    losses = loss if isinstance(loss, Mapping) else dict.fromkeys(optimizers, loss)
    for name, value in losses.items():
        if name not in optimizers:
            raise ValueError(
                f"policy {policy!r}: the loss names optimizer {name!r}"
                f"{did_you_mean(name, optimizers)}"
            )
        if not isinstance(value, torch.Tensor) or not isinstance(stats, Mapping):
            given = type(result).__name__ if value is result else _describe(result)
            raise TypeError(f"policy {policy!r}: loss_fn returned {given}; expected {_FORMS}")
        if value.numel() != 1:
            raise ValueError(
                f"policy {policy!r}: the loss has shape {tuple(value.shape)}; reduce it to one "
                "number, for example with torch.mean"
            )
    if losses.keys() != set(optimizers):
        missing = sorted(set(optimizers) - losses.keys())
        raise ValueError(f"policy {policy!r}: the loss lacks optimizers {missing}")
    return dict(losses), stats, rows


def check_finite(policy: str, what: str, value: float, step: int, batch: TrainBatch) -> None:
    """Refuse a loss or gradient norm that is not finite, naming the columns that explain it.

    Raises:
        FloatingPointError: `value` is NaN or infinite.
    """
    if math.isfinite(value):
        return
    guilty = [
        name
        for name, source in batch.loaded.sources.items()
        if source.dtype.kind == "f" and not np.isfinite(source).all()
    ]
    hint = f"not finite in the batch: {', '.join(guilty)}" if guilty else "all columns are finite"
    raise FloatingPointError(
        f"policy {policy!r}: {what} is {value} at env step {step} ({hint}); this update was not "
        "applied and the weights are as before it"
    )


def _describe(result: Any) -> str:
    if isinstance(result, tuple):
        return f"({', '.join(type(part).__name__ for part in result)})"
    return type(result).__name__
