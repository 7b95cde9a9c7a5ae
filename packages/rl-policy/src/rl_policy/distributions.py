"""Action distributions: what a network's outputs say about actions, written once on `xp`.

`inputs` [B, I] are a network's raw outputs. Sampling draws nothing: it maps `noise` to actions, so
the same noise gives the same actions on every backend. Letters: `B` rows, `A` choices, `D` numbers
of a vector action.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np

from rl_policy.xp import NAMESPACES, array_namespace

Array: TypeAlias = Any


class ActionDistribution:
    """What every distribution has; `sample` to `kl` are for subclasses to give."""

    def __init__(self, inputs: Array, model: Any = None) -> None:
        """Read `inputs` [B, I], a network's outputs; `model` is whatever the loss was given.

        The namespace's cache is read in place: one Python frame less for each step of acting.
        """
        self.inputs = inputs
        self.model = model
        self.xp = NAMESPACES.get(type(inputs)) or array_namespace(inputs)

    def sample(self, noise: Array) -> Array:
        """Map `noise` [B, …], uniform in (0, 1) or normal, to actions [B, …]."""
        raise NotImplementedError(f"{type(self).__name__} gives no sample(noise)")

    def deterministic_sample(self) -> Array:
        """Give the most likely action (a Gaussian's mean), [B, …]."""
        raise NotImplementedError(f"{type(self).__name__} gives no deterministic_sample()")

    def logp(self, actions: Array) -> Array:
        """Give the log probability (density) of `actions` [B, …], [B]."""
        raise NotImplementedError(f"{type(self).__name__} gives no logp(actions)")

    def entropy(self) -> Array:
        """Give the (differential) entropy in nats, [B]."""
        raise NotImplementedError(f"{type(self).__name__} gives no entropy()")

    def kl(self, other: Any) -> Array:
        """Give the Kullback-Leibler divergence KL(self || other) in nats, [B]."""
        raise NotImplementedError(f"{type(self).__name__} gives no kl(other)")

    def sample_with_logp(self, noise: Array) -> tuple[Array, Array]:
        """Give actions as `sample` does, and their log probability."""
        actions = self.sample(noise)
        return actions, self.logp(actions)


class Categorical(ActionDistribution):
    """One of A choices; `inputs` [..., A] are logits, actions [...] int64.

    Takes one uniform per action. A masked choice has `xp.float_min` as its logit (see
    `ActionDist.mask`): its probability is exactly 0, and it adds 0 to entropy and divergence.
    """

    def sample(self, noise: Array) -> Array:
        """Take the first choice at which the running sum of weights passes `noise` of the total.

        That is as many choices on as do not pass it. A choice of weight 0 never does, for it adds
        nothing, and the largest uniform below 1 times the total rounds below the total, so a legal
        choice is always found. Softmax is written out and left unnormalised: this runs once per
        environment step.
        """
        xp, logits = self.xp, self.inputs
        if logits.shape[-1] == 2:  # a coin; its first side has probability sigmoid(difference)
            first = 0.5 + 0.5 * xp.tanh(0.5 * (logits[..., 0] - logits[..., 1]))
            return xp.astype(first <= noise, "int64")
        weights = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
        sums = xp.cumsum(weights, axis=-1)
        return xp.sum(sums <= sums[..., -1:] * noise[..., None], axis=-1)

    def deterministic_sample(self) -> Array:
        """Give the most likely choice, the first of equals."""
        return self.xp.argmax(self.inputs, axis=-1)

    @cached_property
    def log_probs(self) -> Array:
        """Log probabilities of all choices, [..., A]."""
        return self.xp.log_softmax(self.inputs, axis=-1)

    def logp(self, actions: Array) -> Array:
        """Give the log probability of `actions` [...] (integers, or floats holding them)."""
        index = self.xp.astype(actions, "int64")[..., None]
        return self.xp.take_along_axis(self.log_probs, index, axis=-1)[..., 0]

    def entropy(self) -> Array:
        """Compute -Σ p log p."""
        return -self.xp.sum(self.xp.exp(self.log_probs) * self.log_probs, axis=-1)

    def kl(self, other: Categorical) -> Array:
        """Compute Σ p (log p - log q)."""
        difference = self.log_probs - other.log_probs
        return self.xp.sum(self.xp.exp(self.log_probs) * difference, axis=-1)


class MultiCategorical(ActionDistribution):
    """Several independent choices; `inputs` [B, Σ nvec] are their logits side by side.

    All choices are laid out as one `Categorical` [B, n, max(nvec)], the shorter ones filled up with
    impossible choices, so that the cost hardly grows with their number n.
    """

    def __init__(
        self,
        inputs: Array,
        model: Any = None,
        *,
        nvec: Sequence[int],
        shape: tuple[int, ...] | None = None,
    ) -> None:
        """Read logits for choices of sizes `nvec` (flat); `shape` of one action, by default [n]."""
        super().__init__(inputs, model)
        xp, (columns, exists) = self.xp, _choice_table(tuple(nvec))
        if exists.all():
            table = xp.reshape(inputs, (-1, *exists.shape))
        else:
            index = xp.asarray(columns.ravel(), inputs, dtype="int64")
            table = xp.reshape(xp.take(inputs, index, axis=-1), (-1, *exists.shape))
            table = xp.where(xp.asarray(exists, inputs, dtype="bool"), table, xp.float_min(inputs))
        self.choices = Categorical(table, model)
        self.shape = exists.shape[:1] if shape is None else shape

    def sample(self, noise: Array) -> Array:
        """Map uniforms [B, *shape] to choices [B, *shape] int64."""
        return shaped(
            self.xp, self.choices.sample(flat_rows(self.xp, noise, self.shape)), self.shape
        )

    def deterministic_sample(self) -> Array:
        """Give the most likely choice of each."""
        return shaped(self.xp, self.choices.deterministic_sample(), self.shape)

    def logp(self, actions: Array) -> Array:
        """Add up the choices' log probabilities."""
        return self.xp.sum(self.choices.logp(flat_rows(self.xp, actions, self.shape)), axis=-1)

    def entropy(self) -> Array:
        """Add up the choices' entropies."""
        return self.xp.sum(self.choices.entropy(), axis=-1)

    def kl(self, other: MultiCategorical) -> Array:
        """Add up the choices' divergences."""
        return self.xp.sum(self.choices.kl(other.choices), axis=-1)


class Bernoulli(ActionDistribution):
    """Independent bits; `inputs` [B, n] are the logits of being 1, actions [B, *shape] int8."""

    def __init__(
        self, inputs: Array, model: Any = None, *, shape: tuple[int, ...] | None = None
    ) -> None:
        """Read logits of bits; `shape` of one action, by default [n]."""
        super().__init__(inputs, model)
        self.shape = tuple(inputs.shape[-1:]) if shape is None else shape

    def sample(self, noise: Array) -> Array:
        """Set the bits whose probability is above `noise` [B, *shape], uniform."""
        bits = flat_rows(self.xp, noise, self.shape) < self.xp.sigmoid(self.inputs)
        return shaped(self.xp, self.xp.astype(bits, "int8"), self.shape)

    def deterministic_sample(self) -> Array:
        """Set the bits that are more likely than not."""
        return shaped(self.xp, self.xp.astype(self.inputs > 0, "int8"), self.shape)

    def logp(self, actions: Array) -> Array:
        """Add up log sigmoid(±logit)."""
        xp, logits = self.xp, self.inputs
        against = xp.where(flat_rows(xp, actions, self.shape) > 0, -logits, logits)
        return -xp.sum(xp.softplus(against), axis=-1)

    def entropy(self) -> Array:
        """Compute Σ softplus(l) - l sigmoid(l)."""
        xp, logits = self.xp, self.inputs
        return xp.sum(xp.softplus(logits) - logits * xp.sigmoid(logits), axis=-1)

    def kl(self, other: Bernoulli) -> Array:
        """Compute Σ p (l - l') + softplus(l') - softplus(l)."""
        xp, logits, others = self.xp, self.inputs, other.inputs
        gain = xp.sigmoid(logits) * (logits - others)
        return xp.sum(gain + xp.softplus(others) - xp.softplus(logits), axis=-1)


class DiagGaussian(ActionDistribution):
    """Independent normals; `inputs` [B, 2 D] are the means, then the log standard deviations."""

    def __init__(
        self, inputs: Array, model: Any = None, *, shape: tuple[int, ...] | None = None
    ) -> None:
        """Read means and log standard deviations; `shape` of one action, by default [D]."""
        super().__init__(inputs, model)
        size = inputs.shape[-1] // 2
        self.mean = inputs[..., :size]
        self.log_std = inputs[..., size:]
        self.shape = (size,) if shape is None else shape

    def sample(self, noise: Array) -> Array:
        """Compute mean + std · noise; `noise` [B, *shape] is standard normal."""
        xp = self.xp
        values = self.mean + xp.exp(self.log_std) * flat_rows(xp, noise, self.shape)
        return shaped(xp, values, self.shape)

    def deterministic_sample(self) -> Array:
        """Give the mean."""
        return shaped(self.xp, self.mean, self.shape)

    def logp(self, actions: Array) -> Array:
        """Compute -½ Σ (z² + 2 log std + log 2π)."""
        xp = self.xp
        z = (flat_rows(xp, actions, self.shape) - self.mean) * xp.exp(-self.log_std)
        return -0.5 * xp.sum(z * z + 2.0 * self.log_std + math.log(2 * math.pi), axis=-1)

    def entropy(self) -> Array:
        """Compute Σ log std + ½ log 2πe."""
        return self.xp.sum(self.log_std + 0.5 * math.log(2 * math.pi * math.e), axis=-1)

    def kl(self, other: DiagGaussian) -> Array:
        """Compute Σ log(s'/s) + (s² + (m - m')²) / 2s'² - ½."""
        xp = self.xp
        inverse = xp.exp(-other.log_std)
        ratio, shift = xp.exp(self.log_std) * inverse, (self.mean - other.mean) * inverse
        terms = other.log_std - self.log_std + 0.5 * (ratio * ratio + shift * shift) - 0.5
        return xp.sum(terms, axis=-1)


class Deterministic(ActionDistribution):
    """The inputs are the action; for policies whose noise is added by exploration (DDPG, TD3)."""

    def __init__(
        self, inputs: Array, model: Any = None, *, shape: tuple[int, ...] | None = None
    ) -> None:
        """Read actions [B, D]; `shape` of one action, by default [D]."""
        super().__init__(inputs, model)
        self.shape = tuple(inputs.shape[-1:]) if shape is None else shape

    def sample(self, noise: Array = None) -> Array:
        """Give the inputs; takes no noise."""
        return shaped(self.xp, self.inputs, self.shape)

    def deterministic_sample(self) -> Array:
        """Give the inputs."""
        return shaped(self.xp, self.inputs, self.shape)

    def logp(self, actions: Array) -> Array:
        """Give 0: what was done is taken to have been certain."""
        return self.entropy()

    def entropy(self) -> Array:
        """Give 0."""
        return self.xp.zeros_like(self.inputs[..., 0])

    def kl(self, other: Any) -> Array:
        """Refuse.

        Raises:
            TypeError: two certain actions have no divergence.
        """
        raise TypeError(
            "a Deterministic action has no KL divergence; leave the KL term out of this loss or "
            "use DiagGaussian or SquashedGaussian"
        )


@lru_cache(maxsize=128)
def _choice_table(nvec: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Give, for choices laid out as [n, max(nvec)], their columns in the inputs and if they exist.

    Cached, for it depends on the action space alone and acting asks for it at every step.
    """
    sizes = np.asarray(nvec, dtype=np.int64)[:, None]
    choice = np.arange(sizes.max())
    exists = choice < sizes
    return np.where(exists, np.cumsum(sizes)[:, None] - sizes + choice, 0), exists


def flat_rows(xp: Any, values: Array, shape: tuple[int, ...]) -> Array:
    """Flatten values [B, *shape] to [B, D]."""
    return values if len(shape) == 1 else xp.reshape(values, (-1, math.prod(shape)))


def shaped(xp: Any, values: Array, shape: tuple[int, ...]) -> Array:
    """Bring values [B, D] to [B, *shape]."""
    return values if len(shape) == 1 else xp.reshape(values, (-1, *shape))
