"""The learner's half in torch: loss, gradients, optimiser step, target, weights by name."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from rl_policy.build import build_optimizers, check_optimizer_state
from rl_policy.torch import optim
from rl_policy.torch.model import TorchModel
from rl_policy.torch.optim import FlatParameters, Optimizer
from rl_policy.torch.weights import model_arrays, set_weights
from rl_policy.train_batch import LoadedBatch, Meter, TrainBatch, not_finite, read_loss
from rl_policy.xp import torch_xp
from rl_sample.protocols import Arrays


def find_device(name: str) -> torch.device:
    """The device that `config["device"]` names."""
    return torch.device(name)


class Backend:
    """`rl_policy.net_policy.Backend` in torch."""

    xp, pads_fully = torch_xp, False

    def __init__(self, policy: Any) -> None:
        """Optimisers of `policy.model`, whose parameters become views of their vectors."""
        self._policy, self._definition = policy, policy.definition
        self._model: Any = policy.model.to(policy.device)
        params = [p for p in self._model.parameters() if p.requires_grad]
        float_dtype = torch.float64 if _is_double(params) else torch.float32
        self.to_tensor = partial(to_tensor, device=policy.device, float_dtype=float_dtype)
        self._make_dist = policy.dist_class.make
        self._adds_loss = type(self._model).custom_loss is not TorchModel.custom_loss
        self.coeffs = policy.coeffs
        self.optimizers: dict[str, Optimizer] = build_optimizers(policy, params, optim)
        self.target_model = copy.deepcopy(self._model) if policy.config["target_model"] else None
        self._names = {p: n.replace(".", "/") for n, p in self._model.named_parameters()}
        self.updates = 0

    # ---------------------------------------------------------------- learning

    def learn(self, loaded: LoadedBatch, step: int, meter: Meter) -> None:
        """One epoch of updates."""
        for train_batch in loaded.minibatches(step):
            self._step(self._differentiate(train_batch, meter))

    def gradients(self, loaded: LoadedBatch, meter: Meter) -> dict[str, np.ndarray]:
        """Gradients of the whole batch by name."""
        named: dict[str, np.ndarray] = {}
        for name in self._differentiate(TrainBatch(loaded, 0, loaded.units), meter):
            named |= self._split(name, self.optimizers[name].flat.grad)
        return named

    def apply(self, grads: Arrays) -> None:
        """One step along gradients by name.

        Raises:
            ValueError: an unknown name, or an optimiser with only some of its gradients.
        """
        norms: dict[str, float] = {}
        left = set(grads)
        for name, optimizer in self.optimizers.items():
            names = [self._names[p] for p in optimizer.flat.params]
            if left.isdisjoint(names):
                continue
            if missing := sorted(set(names) - left):
                raise ValueError(f"gradients for optimizer {name!r} lack {missing}")
            _bind(optimizer.flat, [self.to_tensor(np.asarray(grads[n])) for n in names])
            norms[name] = optimizer.flat.grad.norm().item()
            left -= set(names)
        if left:
            raise ValueError(f"gradients for weights that are not there: {sorted(left)}")
        self._step(norms)

    def _differentiate(self, train_batch: TrainBatch, meter: Meter) -> dict[str, float]:
        """Bind the gradients of one minibatch; gives the gradient norm of each optimiser due."""
        d, policy, model = self._definition, self._policy, self._model
        result = d.loss_fn(policy, model, self._make_dist, train_batch)
        losses, given, rows = read_loss(
            policy.name, result, self.optimizers, torch.Tensor, "torch.mean"
        )
        stats = dict(given)
        if d.stats_fn is not None:
            stats |= d.stats_fn(policy, train_batch)
        norms: dict[str, float] = {}
        last = next(reversed(losses))
        for name, loss in losses.items():
            optimizer, suffix = self.optimizers[name], "" if len(losses) == 1 else f"/{name}"
            if self._adds_loss:
                loss = model.custom_loss(loss, train_batch)
            value = stats[f"total_loss{suffix}"] = loss.item()
            if not math.isfinite(value):
                raise not_finite(policy, f"the loss{suffix}", value, train_batch.loaded)
            if self.updates % optimizer.every:
                continue
            flat = optimizer.flat
            _bind(flat, self._gradient(optimizer, loss, keep=name != last))
            if d.extra_grad_process_fn is not None:
                stats |= d.extra_grad_process_fn(policy, optimizer.face, loss) or {}
                flat.gather_grad()
            norm = torch.linalg.vector_norm(flat.grad).item()
            if not math.isfinite(norm):
                raise not_finite(policy, f"the gradient{suffix}", norm, train_batch.loaded)
            stats[f"grad_gnorm{suffix}"] = norms[name] = norm
            if d.grad_stats_fn is not None:
                stats |= d.grad_stats_fn(policy, train_batch, [p.grad for p in flat.params])
        meter.add({n: v.detach() if torch.is_tensor(v) else v for n, v in stats.items()})
        if rows:
            arrays = {name: torch_xp.to_numpy(array) for name, array in rows.items()}
            meter.add_rows(train_batch.start, train_batch.stop, arrays)
        return norms

    def _gradient(
        self, optimizer: Optimizer, loss: torch.Tensor, *, keep: bool
    ) -> Sequence[torch.Tensor | None]:
        """One gradient for each of the optimiser's parameters; `keep` the graph for more losses."""
        compute = self._definition.compute_gradients_fn
        if compute is not None:
            return [gradient for gradient, _ in compute(self._policy, optimizer.face, loss)]
        params = optimizer.flat.params
        return torch.autograd.grad(loss, params, retain_graph=keep, allow_unused=True)

    def _step(self, norms: Mapping[str, float]) -> None:
        """One step of each optimiser that has a gradient."""
        self.updates += 1
        clip, apply = self._policy.config["grad_clip"], self._definition.apply_gradients_fn
        for name, norm in norms.items():
            optimizer = self.optimizers[name]
            flat = optimizer.flat
            if clip is not None and norm > clip:
                flat.grad.mul_(clip / norm)
            if apply is not None:
                apply(self._policy, optimizer.face, [(p.grad, p) for p in flat.params])
            else:
                lr = optimizer.lr
                optimizer.step(self.coeffs[lr] if isinstance(lr, str) else lr)

    def metrics(self) -> dict[str, Any]:
        """What the model has to report."""
        metrics: dict[str, Any] = self._model.metrics()
        return metrics

    def update_target(self, tau: float) -> None:
        """`target += tau * (weights - target)`."""
        assert self.target_model is not None
        with torch.no_grad():
            pairs = zip(self.target_model.parameters(), self._model.parameters(), strict=True)
            for target, source in pairs:
                target.lerp_(source, tau)

    # ----------------------------------------------------------------- weights

    def weights(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers; one copy for each optimiser's flat vector."""
        named: dict[str, np.ndarray] = {}
        for name, optimizer in self.optimizers.items():
            named |= self._split(name, optimizer.flat.values)
        return model_arrays(self._model, but=named) | named

    def set_weights(self, weights: Arrays) -> None:
        """Take weights; ValueError if they belong to another model."""
        set_weights(self._model, weights)

    def target_weights(self) -> dict[str, np.ndarray]:
        """Copies of the target's weights."""
        assert self.target_model is not None
        return model_arrays(self.target_model)

    def set_target_weights(self, weights: Arrays) -> None:
        """Take the target's weights."""
        assert self.target_model is not None
        set_weights(self.target_model, weights)

    def optimizer_state(self) -> dict[str, dict[str, np.ndarray]]:
        """By optimiser: moments as `<moment>/<parameter>`, counters as they are."""
        states: dict[str, dict[str, np.ndarray]] = {}
        for name, optimizer in self.optimizers.items():
            state = states[name] = {}
            for key, tensor in optimizer.state().items():
                if tensor.shape == optimizer.flat.values.shape:
                    moments = self._split(name, tensor)
                    state |= {f"{key}/{param}": moment for param, moment in moments.items()}
                else:
                    state[key] = tensor.detach().cpu().numpy().copy()
        return states

    def load_optimizer_state(self, states: Mapping[str, Arrays]) -> None:
        """Continue from `optimizer_state()`."""
        own = self.optimizer_state()
        for name, optimizer in self.optimizers.items():
            if not isinstance(optimizer, optim.Wrapped):  # torch's have no state before they step
                check_optimizer_state(name, own[name], states.get(name, {}))
            tensors = {k: torch.from_numpy(np.array(v)) for k, v in states[name].items()}
            params = [self._names[p] for p in optimizer.flat.params]
            for key in [k.split("/")[0] for k in tensors if k.partition("/")[2] == params[0]]:
                parts = [tensors.pop(f"{key}/{param}").reshape(-1) for param in params]
                tensors[key] = torch.cat(parts)
            optimizer.load_state(tensors)

    def _split(self, optimizer: str, vector: torch.Tensor) -> dict[str, np.ndarray]:
        flat = self.optimizers[optimizer].flat
        views = flat.split(vector.detach().to("cpu", copy=True))
        return {self._names[p]: view.numpy() for p, view in zip(flat.params, views, strict=True)}


def _bind(flat: FlatParameters, grads: Sequence[torch.Tensor | None]) -> None:
    """Fill `flat.grad` with these gradients, one per parameter; None means zero."""
    pieces = [
        torch.zeros_like(p).view(-1) if g is None else g.reshape(-1)
        for p, g in zip(flat.params, grads, strict=True)
    ]
    torch.cat(pieces, out=flat.grad)


def _is_double(params: Iterable[torch.Tensor]) -> bool:
    return any(p.dtype == torch.float64 for p in params)


def to_tensor(
    array: np.ndarray, device: torch.device, float_dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """A tensor of `array`, floats as `float_dtype`; shares memory on the CPU where it may."""
    if array.dtype in _WIDENED:
        array = array.astype(_WIDENED[array.dtype])
    if not array.flags.writeable:  # Ray's arrays: torch would warn, and could write into them
        array = array.copy()
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if tensor.dtype in (torch.float32, torch.float64):
        tensor = tensor.to(float_dtype)
    return tensor.to(device)


_WIDENED = {
    np.dtype(np.uint16): np.int32,
    np.dtype(np.uint32): np.int64,
    np.dtype(np.uint64): np.int64,
}
