"""Optimisers on one flat vector of parameters, with one formula for all frameworks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class FlatParameters:
    """Parameters that are views into one vector, and their gradients likewise.

    The modules go on using their parameters as before; clipping and stepping work on `values` and
    `grad` [N] whole. On small nets this is what makes an update cheap: a dozen kernels of a few
    microseconds each become one.
    """

    def __init__(self, params: Iterable[nn.Parameter]) -> None:
        """Move the parameters' data into the vector.

        Raises:
            ValueError: no parameter, or they differ in dtype or device.
        """
        self.params = list(params)
        kinds = {(p.dtype, p.device) for p in self.params}
        if len(kinds) != 1:
            raise ValueError(
                "an optimiser needs parameters of one dtype on one device, got "
                f"{sorted(map(str, kinds)) or 'no parameter at all'}"
            )
        self.values = torch.cat([p.detach().reshape(-1) for p in self.params])
        self.grad = torch.zeros_like(self.values)
        for p, data, grad in zip(
            self.params, self.split(self.values), self.split(self.grad), strict=True
        ):
            p.data = data
            p.grad = grad

    def split(self, vector: torch.Tensor) -> list[torch.Tensor]:
        """Views of a vector [N], one per parameter and in its shape."""
        parts = torch.split(vector, [p.numel() for p in self.params])
        return [part.view(p.shape) for part, p in zip(parts, self.params, strict=True)]

    def gather_grad(self) -> None:
        """Take up gradients that somebody rebound: afterwards `p.grad` are views again."""
        views = self.split(self.grad)
        for p, view in zip(self.params, views, strict=True):
            if p.grad is None:
                view.zero_()
            elif p.grad.data_ptr() != view.data_ptr():
                view.copy_(p.grad)
            p.grad = view


class Optimizer:
    """What the learner asks of an optimiser; subclasses give `step` and what they remember."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: str | float = "lr", *, every: int = 1
    ) -> None:
        """`lr` is a rate or the coefficient that holds it; it steps at every k-th update only."""
        self.flat = FlatParameters(params)
        self.lr, self.every = lr, every

    @property
    def face(self) -> Any:
        """What hooks get as `optimizer`."""
        return self

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """As torch's optimisers have it, for hooks that clip gradients."""
        return [{"params": self.flat.params}]

    def step(self, lr: float) -> None:
        """Move `flat.values` against `flat.grad`."""
        raise NotImplementedError

    def state(self) -> dict[str, torch.Tensor]:
        """Moments [N] and counters [], by neutral names."""
        return {}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state()`."""


class Adam(Optimizer):
    """Kingma and Ba 2015: `θ -= lr · m̂ / (√v̂ + ε)`, with bias-corrected moments (as torch)."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: str | float = "lr",
        *,
        epsilon: float = 1e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        every: int = 1,
    ) -> None:
        """`lr` may name a coefficient in `policy.coeffs`."""
        super().__init__(params, lr, every=every)
        self.epsilon, self.betas = epsilon, betas
        self.m = torch.zeros_like(self.flat.values)
        self.v = torch.zeros_like(self.flat.values)
        self.steps = 0

    def step(self, lr: float) -> None:
        """One step."""
        self.steps += 1
        grad, (beta1, beta2) = self.flat.grad, self.betas
        self.m.lerp_(grad, 1.0 - beta1)
        self.v.mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
        root = self.v.sqrt().div_(math.sqrt(1.0 - beta2**self.steps)).add_(self.epsilon)
        self.flat.values.addcdiv_(self.m, root, value=-lr / (1.0 - beta1**self.steps))

    def state(self) -> dict[str, torch.Tensor]:
        """`m`, `v` [N] and `steps`."""
        return {"m": self.m, "v": self.v, "steps": torch.tensor(self.steps)}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state()`."""
        self.m.copy_(state["m"])
        self.v.copy_(state["v"])
        self.steps = int(state["steps"])


class RMSprop(Optimizer):
    """Hinton 2012: `θ -= lr · g / (√v + ε)`; ε outside the root (as torch)."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: str | float = "lr",
        *,
        epsilon: float = 1e-5,
        decay: float = 0.99,
        every: int = 1,
    ) -> None:
        """`lr` may name a coefficient in `policy.coeffs`."""
        super().__init__(params, lr, every=every)
        self.epsilon, self.decay = epsilon, decay
        self.v = torch.zeros_like(self.flat.values)

    def step(self, lr: float) -> None:
        """One step."""
        grad = self.flat.grad
        self.v.mul_(self.decay).addcmul_(grad, grad, value=1.0 - self.decay)
        self.flat.values.addcdiv_(grad, self.v.sqrt().add_(self.epsilon), value=-lr)

    def state(self) -> dict[str, torch.Tensor]:
        """`v` [N]."""
        return {"v": self.v}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state()`."""
        self.v.copy_(state["v"])


class SGD(Optimizer):
    """`θ -= lr · g`."""

    def step(self, lr: float) -> None:
        """One step."""
        self.flat.values.add_(self.flat.grad, alpha=-lr)


class Wrapped(Optimizer):
    """A `torch.optim.Optimizer` that a user made, on flat parameters; it keeps its own rate."""

    def __init__(self, optimizer: torch.optim.Optimizer, lr: str | float) -> None:
        """`lr` is the rate to impose, or NaN to leave the optimiser's own."""
        super().__init__((p for g in optimizer.param_groups for p in g["params"]), lr)
        self.optimizer = optimizer

    @property
    def face(self) -> torch.optim.Optimizer:
        """The user's own object."""
        return self.optimizer

    def step(self, lr: float) -> None:
        """One step."""
        if not math.isnan(lr):
            for group in self.optimizer.param_groups:
                group["lr"] = lr
        self.optimizer.step()

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors of `optimizer.state_dict()`, as `<parameter index>/<name>`."""
        return {
            f"{index}/{name}": value if torch.is_tensor(value) else torch.tensor(value)
            for index, entries in self.optimizer.state_dict()["state"].items()
            for name, value in entries.items()
            if value is not None
        }

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state()`."""
        nested: dict[int, dict[str, Any]] = {}
        for key, value in state.items():
            index, name = key.split("/", 1)
            nested.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": nested, "param_groups": groups})


def wrap(
    optimizer: Optimizer | torch.optim.Optimizer, lr: float | str, params: Iterable[nn.Parameter]
) -> Optimizer:
    """A user's optimiser as one of ours, with the rate to impose (see `Wrapped`); ours as it is.

    `params` of the model are not needed: torch's optimisers know theirs.
    """
    return Wrapped(optimizer, lr) if isinstance(optimizer, torch.optim.Optimizer) else optimizer
