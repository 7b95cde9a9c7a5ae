"""Distributions over shares that add up to 1: Dirichlet, and the relaxed one-hots of a choice."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from rl_policy.distributions import ActionDistribution, Categorical
from rl_policy.gamma_draws import log_gamma_draw

Array: TypeAlias = Any

CONCENTRATION_RANGE = (0.1, 1e6)
"""`Dirichlet` keeps its concentrations inside."""
SMALLEST_SHARE = 1e-30
"""Samples hold no smaller share and densities read none, so that logarithms stay finite."""


class Dirichlet(ActionDistribution):
    """Shares of N parts: actions [B, N] from 0 to 1 that add up to 1.

    `inputs` [B, N] are the logarithms of the concentrations, which are kept within
    `CONCENTRATION_RANGE`; inputs of 0 make all shares equally likely. What is stored is what the
    environment gets. All is computed in float64 and given in the dtype of `inputs`. Samples carry
    no gradient. A share below `SMALLEST_SHARE` is drawn with a probability of about 1e-3 at the
    smallest concentration, 1e-15 at 0.5; it is raised to that.
    """

    def __init__(self, inputs: Array, model: Any = None) -> None:
        """Read log concentrations."""
        super().__init__(inputs, model)
        low, high = map(math.log, CONCENTRATION_RANGE)
        wide = self.xp.astype(inputs, "float64")
        self.concentration = self.xp.exp(self.xp.clip(wide, low, high))
        self.total = self.xp.sum(self.concentration, axis=-1)

    def sample(self, noise: Array) -> Array:
        """Map normals [B, N, GAMMA_NOISE] to shares, a gamma variate each, over their sum."""
        xp = self.xp
        draws = log_gamma_draw(xp, self.concentration, xp.astype(noise, "float64"))
        shares = xp.maximum(xp.softmax(draws, axis=-1), SMALLEST_SHARE)
        return xp.stop_gradient(xp.asarray(shares, self.inputs))

    def deterministic_sample(self) -> Array:
        """Give the mean."""
        return self.xp.asarray(self.concentration / self.total[..., None], self.inputs)

    def logp(self, actions: Array) -> Array:
        """Compute Σ (α - 1) log x - log B(α): the density in the first N - 1 shares."""
        xp = self.xp
        shares = xp.maximum(xp.astype(actions, "float64"), SMALLEST_SHARE)
        powers = xp.sum((self.concentration - 1) * xp.log(shares), axis=-1)
        return xp.asarray(powers - self._log_norm(), self.inputs)

    def entropy(self) -> Array:
        """Compute log B(α) + (Σα - N) ψ(Σα) - Σ (α - 1) ψ(α)."""
        xp, each = self.xp, self.concentration
        spread = xp.sum(each - 1, axis=-1) * xp.digamma(self.total)
        terms = spread - xp.sum((each - 1) * xp.digamma(each), axis=-1)
        return xp.asarray(self._log_norm() + terms, self.inputs)

    def kl(self, other: Dirichlet) -> Array:
        """Compute log B(α')/B(α) + Σ (α - α') (ψ(α) - ψ(Σα))."""
        xp, each = self.xp, self.concentration
        slope = xp.digamma(each) - xp.digamma(self.total)[..., None]
        terms = xp.sum((each - other.concentration) * slope, axis=-1)
        return xp.asarray(other._log_norm() - self._log_norm() + terms, self.inputs)

    def _log_norm(self) -> Array:
        return self.xp.sum(self.xp.lgamma(self.concentration), axis=-1) - self.xp.lgamma(self.total)


class GumbelSoftmax(ActionDistribution):
    """One of A choices as a relaxed one-hot [B, A], whose largest entry is the choice.

    `inputs` [B, A] are logits. Samples are differentiable in them; the lower the temperature, the
    closer to one-hots (Maddison et al. 2017, Jang et al. 2017). The choice itself is distributed
    as in `Categorical`, at any temperature. A masked choice has an entry of exactly 0.
    """

    def __init__(self, inputs: Array, model: Any = None, *, temperature: float = 1.0) -> None:
        """Read logits; `temperature` above 0."""
        super().__init__(inputs, model)
        xp = self.xp
        self.temperature = temperature
        self.choice = Categorical(inputs, model)
        self._logits = xp.astype(inputs, "float64")
        self._legal = inputs > 0.5 * xp.float_min(inputs)

    def sample(self, noise: Array) -> Array:
        """Compute softmax((logits - log(-log noise)) / temperature); `noise` [B, A] uniform."""
        xp = self.xp
        gumbel = -xp.log(-xp.log(xp.astype(noise, "float64")))
        relaxed = xp.softmax((self._logits + gumbel) / self.temperature, axis=-1)
        return xp.asarray(relaxed, self.inputs)

    def deterministic_sample(self) -> Array:
        """Give the one-hot of the most likely choice."""
        best = self.xp.one_hot(self.choice.deterministic_sample(), self.inputs.shape[-1])
        return self.xp.asarray(best, self.inputs)

    def logp(self, actions: Array) -> Array:
        """Give the log density of relaxed one-hots (Maddison et al. 2017, definition 1).

        log (n-1)! + (n-1) log τ + Σ (l - (τ+1) log y) - n log Σ exp(l - τ log y), over the n
        choices that are not masked; entries are taken as at least `SMALLEST_SHARE`.
        """
        xp, logits, legal, heat = self.xp, self._logits, self._legal, self.temperature
        logs = xp.log(xp.maximum(xp.astype(actions, "float64"), SMALLEST_SHARE))
        count = xp.astype(xp.sum(legal, axis=-1), "float64")
        scores = xp.where(legal, logits - heat * logs, xp.float_min(logits))
        each = xp.sum(xp.where(legal, logits - (heat + 1) * logs, 0.0), axis=-1)
        constant = xp.lgamma(count) + (count - 1) * math.log(heat)
        return xp.asarray(constant + each - count * xp.logsumexp(scores, axis=-1), self.inputs)

    def entropy(self) -> Array:
        """Give the entropy of the choice; that of the relaxed one-hots has no closed form."""
        return self.choice.entropy()

    def kl(self, other: GumbelSoftmax) -> Array:
        """Give the divergence of the choices, which that of the relaxed one-hots never is below."""
        return self.choice.kl(other.choice)
