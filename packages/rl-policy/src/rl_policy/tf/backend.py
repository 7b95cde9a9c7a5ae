"""The learner's half in TensorFlow: loss, gradients, optimiser step, target, weights by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from rl_policy.build import build_model, build_optimizers, check_optimizer_state
from rl_policy.tf import optim
from rl_policy.tf.coeffs import Coefficients
from rl_policy.tf.model import TFModel
from rl_policy.tf.optim import Optimizer
from rl_policy.tf.traced import TracedUpdates
from rl_policy.tf.weights import (
    array_to_tensor,
    check_variables,
    model_arrays,
    named_variables,
    set_weights,
)
from rl_policy.train_batch import LoadedBatch, Meter, TrainBatch, not_finite, read_loss
from rl_policy.xp import tf_xp
from rl_sample.protocols import Arrays


def find_device(name: str) -> str:
    """The device that `config["device"]` names, "cuda" being TensorFlow's "GPU"."""
    kind, _, number = name.partition(":")
    return f"{'GPU' if kind == 'cuda' else kind.upper()}:{number or 0}"


class Differentiated(NamedTuple):
    """What became of one minibatch; the gradients are in the optimisers."""

    stats: dict[str, Any]
    sometimes: dict[str, str]
    """Statistics that belong to an optimiser which does not step at each update: its name."""
    checked: dict[str, tuple[Any, str]]
    """What must be finite before anything steps, and the optimiser of a gradient, which counts only
    if that is due; "" of a loss."""
    norms: dict[str, Any]
    """Gradient norm of each optimiser."""
    rows: Mapping[str, Any]


class Backend:
    """`rl_policy.net_policy.Backend` in TensorFlow, eager or traced."""

    xp = tf_xp

    def __init__(self, policy: Any) -> None:
        """Optimisers of `policy.model`, and its target."""
        self.policy, self._definition, self._model = policy, policy.definition, policy.model
        self._make_dist = policy.dist_class.make
        self._adds_loss = type(policy.model).custom_loss is not TFModel.custom_loss
        self._variables = named_variables(policy.model)
        params = [v for v in self._variables.values() if v.trainable]
        double = any(p.dtype == tf.float64 for p in params)
        self.float_dtype = tf.float64 if double else tf.float32
        self.to_tensor = partial(
            array_to_tensor, device=policy.device, float_dtype=self.float_dtype
        )
        with tf.device(policy.device):
            self.coeffs = Coefficients(policy.coeffs, self.float_dtype)
            self.optimizers: dict[str, Optimizer] = build_optimizers(policy, params, optim)
            self.counter = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.target_model = self._copy() if policy.config["target_model"] else None
        self._names = {id(v): name for name, v in self._variables.items()}
        is_traced = policy.framework == "tf" or policy.config["eager_tracing"]
        self._traced = TracedUpdates(self) if is_traced else None
        self.pads_fully = is_traced

    @property
    def updates(self) -> int:
        """Updates so far."""
        return int(self.counter.numpy())

    @updates.setter
    def updates(self, count: int) -> None:
        self.counter.assign(count)

    # ---------------------------------------------------------------- learning

    def learn(self, loaded: LoadedBatch, step: int, meter: Meter) -> None:
        """One epoch of updates."""
        if self._traced is not None:
            self._traced.epoch(loaded, step, meter)
            return
        for train_batch in loaded.minibatches(step):
            done = self._eagerly(train_batch, meter)
            self.step(done.norms, {name: self._is_due(name) for name in done.norms})
            self.counter.assign_add(1)

    def gradients(self, loaded: LoadedBatch, meter: Meter) -> dict[str, np.ndarray]:
        """Gradients of the whole batch by name."""
        if self._traced is not None:
            grads = self._traced.gradients(loaded, meter)
        else:
            self._eagerly(TrainBatch(loaded, 0, loaded.units), meter)
            grads = {name: optimizer.grads for name, optimizer in self.optimizers.items()}
        return {
            self._names[id(param)]: grad.numpy()
            for name, optimizer in self.optimizers.items()
            if self._is_due(name)
            for param, grad in zip(optimizer.params, grads[name], strict=True)
        }

    def apply(self, grads: Arrays) -> None:
        """One step along gradients by name.

        Raises:
            ValueError: an unknown name, or an optimiser with only some of its gradients.
        """
        norms: dict[str, Any] = {}
        left = set(grads)
        for name, optimizer in self.optimizers.items():
            names = [self._names[id(p)] for p in optimizer.params]
            if left.isdisjoint(names):
                continue
            if missing := sorted(set(names) - left):
                raise ValueError(f"gradients for optimizer {name!r} lack {missing}")
            optimizer.grads = [self.to_tensor(np.asarray(grads[n])) for n in names]
            norms[name] = tf.linalg.global_norm(optimizer.grads)
            left -= set(names)
        if left:
            raise ValueError(f"gradients for weights that are not there: {sorted(left)}")
        self.step(norms, dict.fromkeys(norms, True))
        self.counter.assign_add(1)

    def _is_due(self, name: str) -> bool:
        return self.updates % self.optimizers[name].every == 0

    def _eagerly(self, train_batch: TrainBatch, meter: Meter) -> Differentiated:
        done = self.differentiate(train_batch)
        for what, (scalar, name) in done.checked.items():
            value = float(scalar)
            if not math.isfinite(value) and (not name or self._is_due(name)):
                raise not_finite(self.policy, what, value, train_batch.loaded)
        skipped = {stat for stat, name in done.sometimes.items() if not self._is_due(name)}
        meter.add({name: v for name, v in done.stats.items() if name not in skipped})
        rows = {name: np.asarray(array) for name, array in done.rows.items()}
        meter.add_rows(train_batch.start, train_batch.stop, rows)
        return done

    def differentiate(self, train_batch: TrainBatch) -> Differentiated:
        """Put the gradients of one minibatch into the optimisers; eager, or while tracing."""
        d, policy, model = self._definition, self.policy, self._model
        with tf.device(policy.device), tf.GradientTape(persistent=True) as tape:
            result = d.loss_fn(policy, model, self._make_dist, train_batch)
            losses, given, rows = read_loss(
                policy.name, result, self.optimizers, tf.Tensor, "tf.reduce_mean"
            )
            if self._adds_loss:
                losses = {n: model.custom_loss(loss, train_batch) for n, loss in losses.items()}
            losses = {name: tf.reshape(loss, ()) for name, loss in losses.items()}
        check_variables(model, self._variables)
        done = Differentiated(dict(given), {}, {}, {}, rows)
        stats = done.stats
        if d.stats_fn is not None:
            stats |= d.stats_fn(policy, train_batch)
        for name, loss in losses.items():
            optimizer, suffix = self.optimizers[name], "" if len(losses) == 1 else f"/{name}"
            stats[f"total_loss{suffix}"] = loss
            done.checked[f"the loss{suffix}"] = loss, ""
            optimizer.tape, optimizer.rate = tape, self._rate(optimizer)
            if d.compute_gradients_fn is not None:
                pairs = d.compute_gradients_fn(policy, optimizer.face, loss)
            else:
                pairs = optimizer.compute_gradients(loss)
            optimizer.grads = optimizer.in_order(pairs)
            ours: dict[str, Any] = {}
            if d.extra_grad_process_fn is not None:
                ours |= d.extra_grad_process_fn(policy, optimizer.face, loss) or {}
            norm = tf.linalg.global_norm(optimizer.grads)
            ours[f"grad_gnorm{suffix}"] = done.norms[name] = norm
            done.checked[f"the gradient{suffix}"] = norm, name
            if d.grad_stats_fn is not None:
                ours |= d.grad_stats_fn(policy, train_batch, optimizer.grads)
            stats |= ours
            if optimizer.every > 1:
                done.sometimes.update(dict.fromkeys(ours, name))
            optimizer.tape = None
        return done

    def step(self, norms: Mapping[str, Any], due: Mapping[str, Any]) -> None:
        """One step of each optimiser that is due, a bool or, while tracing, a scalar."""
        with tf.device(self.policy.device):
            for name, norm in norms.items():
                if due[name] is True:
                    self._step_one(self.optimizers[name], norm)
                elif due[name] is not False:
                    one = partial(self._step_one, self.optimizers[name], norm)
                    tf.cond(due[name], one, lambda: None)

    def _step_one(self, optimizer: Optimizer, norm: Any) -> None:
        clip, apply = self.policy.config["grad_clip"], self._definition.apply_gradients_fn
        grads = optimizer.grads
        if clip is not None:
            scale = tf.where(norm > clip, clip / norm, tf.ones_like(norm))
            grads = [grad * scale for grad in grads]
        optimizer.grads, optimizer.rate = grads, self._rate(optimizer)
        if apply is not None:
            apply(self.policy, optimizer.face, list(zip(grads, optimizer.params, strict=True)))
        else:
            optimizer.step(optimizer.rate)

    def _rate(self, optimizer: Optimizer) -> Any:
        return self.coeffs[optimizer.lr] if isinstance(optimizer.lr, str) else optimizer.lr

    def metrics(self) -> dict[str, Any]:
        """What the model has to report."""
        given: dict[str, Any] = self._model.metrics()
        if self._traced is None:
            return given
        return {name: self._traced.metrics.get(name, value) for name, value in given.items()}

    def update_target(self, tau: float) -> None:
        """`target += tau * (weights - target)`."""
        assert self.target_model is not None
        target = named_variables(self.target_model)
        for name, source in self._variables.items():
            if source.trainable:
                target[name].assign_add(tau * (source - target[name]))

    # ----------------------------------------------------------------- weights

    def weights(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers."""
        return {name: np.array(v.numpy()) for name, v in self._variables.items()}

    def set_weights(self, weights: Arrays) -> None:
        """Take weights; ValueError if they belong to another model."""
        set_weights(self._model, weights)

    def target_weights(self) -> dict[str, np.ndarray]:
        """Copies of the target's weights."""
        return model_arrays(self.target_model)

    def set_target_weights(self, weights: Arrays) -> None:
        """Take the target's weights."""
        set_weights(self.target_model, weights)

    def optimizer_state(self) -> dict[str, dict[str, np.ndarray]]:
        """By optimiser: moments as `<moment>/<parameter>`, counters as they are."""
        return {
            name: {key: np.array(v.numpy()) for key, v in self._state(optimizer).items()}
            for name, optimizer in self.optimizers.items()
        }

    def load_optimizer_state(self, states: Mapping[str, Arrays]) -> None:
        """Continue from `optimizer_state()`."""
        for name, optimizer in self.optimizers.items():
            own = self._state(optimizer)
            check_optimizer_state(name, own, states.get(name, {}))
            for key, variable in own.items():
                variable.assign(np.asarray(states[name][key], variable.dtype.as_numpy_dtype))

    def _state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The variables of an optimiser by neutral name."""
        named: dict[str, Any] = {}
        for key, value in optimizer.state().items():
            if isinstance(value, list):
                pairs = zip(optimizer.params, value, strict=True)
                named |= {f"{key}/{self._names[id(p)]}": moment for p, moment in pairs}
            else:
                named[key] = value
        return named

    def _copy(self) -> Any:
        """Another model with the same weights."""
        policy = self.policy
        hooks = self._definition.acting_hooks()
        dist, seed = policy.dist_class, policy.seed
        model, _ = build_model("tf", policy, hooks, dist, seed, policy.device)
        set_weights(model, self.weights())
        return model
