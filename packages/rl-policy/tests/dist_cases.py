"""Every distribution, and what SciPy and torch.distributions say of the same inputs."""

from __future__ import annotations

from functools import partial
from importlib import import_module

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from scipy import special, stats

from rl_policy.action_dist import gumbel_softmax, make_action_dist
from rl_policy.bounded_dists import LOG_STD_RANGE

NESTED = Dict({"go": Box(-1, 1, (2,)), "do": Tuple([Discrete(3), MultiBinary(2)])})

DISTS = {
    "coin": make_action_dist(Discrete(2)),
    "Categorical": make_action_dist(Discrete(5)),
    "MultiCategorical": make_action_dist(MultiDiscrete([3, 2, 4])),
    "Bernoulli": make_action_dist(MultiBinary(3)),
    "DiagGaussian": make_action_dist(Box(-1, 1, (3,))),
    "SquashedGaussian": make_action_dist(Box(-1, 1, (3,)), "SquashedGaussian"),
    "Beta": make_action_dist(Box(-1, 1, (3,)), "Beta"),
    "Dirichlet": make_action_dist(Box(0, 1, (4,)), "Dirichlet"),
    "GumbelSoftmax": make_action_dist(Discrete(4), partial(gumbel_softmax, temperature=0.7)),
    "Composite": make_action_dist(NESTED),
}
SIMPLE = [name for name in DISTS if name != "Composite"]


def draw_noise(dist, rows, seed=0):
    """What `sample` takes for so many rows, NumPy."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for name, (kind, shape) in dist.noise.items():
        size = (rows, *shape)
        uniform = (rng.integers(0, 2**23, size) + 0.5) * 2.0**-23
        drawn[name] = (uniform if kind == "uniform" else rng.standard_normal(size)).astype("f")
    return dist.select_noise(drawn)


def _split(inputs):
    return np.split(inputs, 2, axis=-1)


def _normals(inputs):
    mean, log_std = _split(inputs)
    return stats.norm(mean, np.exp(log_std))


def _betas(inputs):
    return stats.beta(*_split(1 + np.logaddexp(0, inputs)))


def _squashed(inputs):
    mean, log_std = _split(inputs)
    return np.concatenate([mean, np.clip(log_std, *LOG_STD_RANGE)], axis=-1)


def _kl_by_integral(ours, theirs):
    """Over (0, 1), in t = logit x: the trapezium rule is exact where both ends fall to 0."""
    t = np.linspace(-30, 30, 301).reshape(-1, 1, 1)
    x = special.expit(t)
    weight = ours.pdf(x) * x * special.expit(-t)
    logs = np.where(weight > 0, ours.logpdf(x) - theirs.logpdf(x), 0.0)
    return (weight * logs).sum(0).sum(-1) * (t[1, 0, 0] - t[0, 0, 0])


def _kl_of_normals(inputs, others):
    (m, s), (n, t) = _split(inputs), _split(others)
    return (t - s + (np.exp(2 * s) + (m - n) ** 2) / (2 * np.exp(2 * t)) - 0.5).sum(-1)


def _entropy_of_squashed(inputs):
    normal, z = _normals(_squashed(inputs)), np.linspace(-12, 12, 801)
    mean, log_std = _split(_squashed(inputs))
    u = mean[..., None] + np.exp(log_std)[..., None] * z
    slope = 2 * (np.log(2) - u - np.logaddexp(0, -2 * u))
    weight = stats.norm.pdf(z)
    return normal.entropy().sum(-1) + (weight * slope).sum(-1).sum(-1) / weight.sum()


def _choice_entropy(logits):
    return stats.entropy(special.softmax(logits, axis=-1), axis=-1)


def _choice_kl(logits, others):
    p, q = (special.softmax(x, axis=-1) for x in (logits, others))
    return stats.entropy(p, q, axis=-1)


def _choice_logp(logits, actions):
    each = special.log_softmax(logits, axis=-1)
    return np.take_along_axis(each, actions[..., None], axis=-1)[..., 0]


def _each(function, nvec=(3, 2, 4)):
    """Add up what `function` says of consecutive choices."""
    ends = np.cumsum(nvec)[:-1]

    def total(logits, *rest):
        pieces = [np.split(logits, ends, axis=-1)]
        for array in rest:
            few = array.shape[-1] == len(nvec)
            pieces.append([*np.moveaxis(array, -1, 0)] if few else np.split(array, ends, axis=-1))
        return sum(function(*piece) for piece in zip(*pieces, strict=True))

    return total


def _by_row(function):
    return lambda *arrays: np.array([function(*row) for row in zip(*arrays, strict=True)])


def _dirichlet_kl(a, b):
    def log_norm(x):
        return special.gammaln(x).sum(-1) - special.gammaln(x.sum(-1))

    slope = special.psi(a) - special.psi(a.sum(-1, keepdims=True))
    return log_norm(b) - log_norm(a) + ((a - b) * slope).sum(-1)


def _share(shares):
    """SciPy wants shares whose sum is 1 in float64."""
    return shares / shares.sum(-1, keepdims=True)


_CHOICE = (_choice_logp, _choice_entropy, _choice_kl)
_COIN = special.expit

SCIPY = {
    "coin": _CHOICE,
    "Categorical": _CHOICE,
    "MultiCategorical": tuple(_each(function) for function in _CHOICE),
    "Bernoulli": (
        lambda x, actions: stats.bernoulli.logpmf(actions, _COIN(x)).sum(-1),
        lambda x: stats.bernoulli(_COIN(x)).entropy().sum(-1),
        lambda x, y: (
            special.rel_entr(_COIN(x), _COIN(y)) + special.rel_entr(_COIN(-x), _COIN(-y))
        ).sum(-1),
    ),
    "DiagGaussian": (
        lambda x, actions: _normals(x).logpdf(actions).sum(-1),
        lambda x: _normals(x).entropy().sum(-1),
        _kl_of_normals,
    ),
    "SquashedGaussian": (
        lambda x, y: (
            _normals(_squashed(x)).logpdf(np.arctanh(y)) - np.log1p(-(y.astype(float) ** 2))
        ).sum(-1),
        _entropy_of_squashed,
        lambda x, y: _kl_of_normals(_squashed(x), _squashed(y)),
    ),
    "Beta": (
        lambda x, y: (_betas(x).logpdf((1 + y.astype(float)) / 2) - np.log(2)).sum(-1),
        lambda x: (_betas(x).entropy() + np.log(2)).sum(-1),
        lambda x, y: _kl_by_integral(_betas(x), _betas(y)),
    ),
    "Dirichlet": (
        _by_row(lambda x, y: stats.dirichlet.logpdf(_share(y.astype(float)), np.exp(x))),
        _by_row(lambda x: stats.dirichlet.entropy(np.exp(x))),
        lambda x, y: _dirichlet_kl(np.exp(x), np.exp(y)),
    ),
    "GumbelSoftmax": (None, _choice_entropy, _choice_kl),
}
"""Name -> (log probability, entropy, divergence) of float64 inputs; None: SciPy does not know."""


def torch_reference(name, inputs):
    """The torch.distributions of `inputs`, of which log probability and divergence are summed."""
    td, torch = import_module("torch.distributions"), import_module("torch")
    if name == "MultiCategorical":
        return [td.Categorical(logits=part) for part in inputs.split((3, 2, 4), -1)]
    if name == "Bernoulli":
        return td.Independent(td.Bernoulli(logits=inputs), 1)
    if name == "Dirichlet":
        return td.Dirichlet(inputs.exp())
    if name == "GumbelSoftmax":
        return td.RelaxedOneHotCategorical(torch.tensor(0.7, dtype=inputs.dtype), logits=inputs)
    if name in ("coin", "Categorical"):
        return td.Categorical(logits=inputs)
    first, second = inputs.chunk(2, dim=-1)
    if name == "Beta":
        softplus = torch.nn.functional.softplus
        return td.Independent(td.Beta(1 + softplus(first), 1 + softplus(second)), 1)
    if name == "SquashedGaussian":
        normal = td.Normal(first, second.clamp(*LOG_STD_RANGE).exp())
        return td.Independent(td.TransformedDistribution(normal, td.TanhTransform()), 1)
    return td.Independent(td.Normal(first, second.exp()), 1)
