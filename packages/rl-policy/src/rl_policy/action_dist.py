"""Which distribution for which action space, and how many inputs and how much noise it takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

from rl_policy.action_map import raw_action_space
from rl_policy.bounded_dists import Beta, SquashedGaussian
from rl_policy.dist_class import ActionDist, Composite, noise_name
from rl_policy.distributions import (
    Bernoulli,
    Categorical,
    Deterministic,
    DiagGaussian,
    MultiCategorical,
)
from rl_policy.gamma_draws import GAMMA_NOISE
from rl_policy.simplex_dists import Dirichlet, GumbelSoftmax
from rl_policy.space_tree import leaf_spaces
from rl_policy.spaces import identity
from rl_sample.protocols import NoiseSpec

__all__ = [
    "ActionDist",
    "ActionDistFactory",
    "Composite",
    "find_action_dist",
    "gumbel_softmax",
    "make_action_dist",
    "register_action_dist",
]

ActionDistFactory: TypeAlias = "Callable[[Space[Any]], ActionDist]"


def make_action_dist(
    action_space: Space[Any], name: str | ActionDistFactory | None = None
) -> ActionDist:
    """Choose how actions of a space are distributed.

    By default: Discrete → Categorical, MultiDiscrete and integer Box → MultiCategorical,
    MultiBinary → Bernoulli, Box → DiagGaussian, Dict and Tuple → Composite of these.

    Args:
        action_space: the environment's action space.
        name: a built-in or registered name, `"module:qualname"` of a factory, or the factory.

    Raises:
        ValueError: the name is unknown.
        TypeError: the distribution does not fit the space, or the space has none.
    """
    if name is None:
        return _default(action_space)
    dist = (name if callable(name) else find_action_dist(name))(action_space)
    if not isinstance(dist, ActionDist):
        raise TypeError(f"the factory of {name!r} has to give an ActionDist, got {dist!r}")
    return dist


def register_action_dist(name: str, factory: ActionDistFactory) -> None:
    """Make `factory(action_space) -> ActionDist` known as `name`, in this process.

    Workers import what they need: for them give `"module:qualname"` or the factory itself instead.
    """
    if name in _BUILT_IN or ":" in name:
        raise ValueError(f"{name!r} cannot be registered: it is built in or holds ':'")
    _REGISTERED[name] = factory


def find_action_dist(name: str) -> ActionDistFactory:
    """Look up a factory by name, or import it by `"module:qualname"`.

    Raises:
        ValueError: the name is unknown; the message gives the nearest one.
    """
    module, _, qualname = name.partition(":")
    if qualname:
        found: Any = import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
        return found  # type: ignore[no-any-return]
    known = {**_BUILT_IN, **_REGISTERED}
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}."
        raise ValueError(
            f"there is no action distribution {name!r}; {hint} "
            "Own ones are made known with register_action_dist"
        )
    return known[name]


def _default(space: Space[Any]) -> ActionDist:
    raw = raw_action_space(space)
    if isinstance(raw, (Dict, Tuple)):
        return _composite(space)
    if isinstance(raw, Discrete):
        return _categorical(space)
    if isinstance(raw, MultiDiscrete):
        return _multi_categorical(space)
    if isinstance(raw, MultiBinary):
        return _bernoulli(space)
    return _gaussian("DiagGaussian", DiagGaussian, space)


def _composite(space: Space[Any]) -> ActionDist:
    parts = {leaf.path: _default(leaf.space) for leaf in leaf_spaces(space, "action")}
    noise = {noise_name(path): spec for path, part in parts.items() for spec in part.noise.values()}
    choices: list[tuple[int, int]] = []
    entries = 0
    for part in parts.values():
        size = part.mask_size or 0
        own = ((0, size),) if part.choices is None and size else part.choices or ()
        choices += [(entries + start, entries + stop) for start, stop in own]
        entries += size
    return ActionDist(
        "Composite",
        partial(Composite, space=space, parts=parts),
        sum(part.input_size for part in parts.values()),
        noise,
        raw_action_space(space),
        tuple(pair for part in parts.values() for pair in part.mask_parts),
        tuple(choices),
    )


def _categorical(space: Space[Any]) -> ActionDist:
    raw = raw_action_space(space)
    if not isinstance(raw, Discrete):
        raise _misfit("Categorical", "Discrete", space)
    size = int(raw.n)
    return ActionDist(
        "Categorical", Categorical, size, {"action": ("uniform", ())}, raw, ((size, size),)
    )


def _multi_categorical(space: Space[Any]) -> ActionDist:
    raw = raw_action_space(space)
    if not isinstance(raw, MultiDiscrete):
        raise _misfit("MultiCategorical", "MultiDiscrete or integer Box", space)
    nvec = tuple(int(n) for n in np.ravel(raw.nvec))
    make = partial(MultiCategorical, nvec=nvec, shape=raw.shape)
    size, ends = sum(nvec), np.cumsum(nvec).tolist()
    choices = tuple(pairwise((0, *ends)))
    noise: NoiseSpec = {"action": ("uniform", raw.shape)}
    return ActionDist("MultiCategorical", make, size, noise, raw, ((size, size),), choices)


def _bernoulli(space: Space[Any]) -> ActionDist:
    raw = raw_action_space(space)
    if not isinstance(raw, MultiBinary):
        raise _misfit("Bernoulli", "MultiBinary", space)
    size = math.prod(raw.shape)
    make = partial(Bernoulli, shape=raw.shape)
    noise: NoiseSpec = {"action": ("uniform", raw.shape)}
    return ActionDist("Bernoulli", make, size, noise, raw, ((size, size),), choices=())


def _gaussian(name: str, kind: Any, space: Space[Any], inputs: int = 2) -> ActionDist:
    """Describe a distribution over vectors that takes `inputs` numbers per action number."""
    raw = raw_action_space(space)
    if not isinstance(raw, Box):
        raise _misfit(name, "Box of floats", space)
    size = inputs * math.prod(raw.shape)
    normal: Literal["normal"] = "normal"
    noise: NoiseSpec = {} if kind is Deterministic else {"action": (normal, raw.shape)}
    return ActionDist(name, partial(kind, shape=raw.shape), size, noise, raw, ((size, 0),))


def _beta(space: Space[Any]) -> ActionDist:
    raw = raw_action_space(space)
    if not isinstance(raw, Box) or not (isinstance(space, Box) and space.is_bounded("both")):
        raise _misfit("Beta", "Box of floats with finite bounds", space)
    noise: NoiseSpec = {"action": ("normal", (*raw.shape, 2 * GAMMA_NOISE))}
    size = 2 * math.prod(raw.shape)
    return ActionDist("Beta", partial(Beta, shape=raw.shape), size, noise, raw, ((size, 0),))


def _dirichlet(space: Space[Any]) -> ActionDist:
    raw = raw_action_space(space)
    if not (isinstance(space, Box) and isinstance(raw, Box) and _is_simplex(space)):
        raise _misfit("Dirichlet", "simplex, given as Box(0, 1, (n,)) with n of 2 or more,", space)
    size = space.shape[0]
    noise: NoiseSpec = {"action": ("normal", (size, GAMMA_NOISE))}
    # The shares are the environment's: scaled like other bounded numbers they would add up to less.
    to_env = identity if space.dtype == np.float32 else partial(np.asarray, dtype=space.dtype)
    to_raw = partial(np.asarray, dtype=np.float32)
    return ActionDist(
        "Dirichlet", Dirichlet, size, noise, raw, ((size, 0),), to_env=to_env, to_raw=to_raw
    )


def _is_simplex(space: Box) -> bool:
    """Whether shares that add up to 1 fit; Gymnasium has no space of its own for them."""
    fits = bool((space.low == 0).all() and (space.high == 1).all())
    return fits and len(space.shape) == 1 and space.shape[0] > 1


def gumbel_softmax(space: Space[Any], temperature: float = 1.0) -> ActionDist:
    """Describe relaxed one-hots of a Discrete space; the environment gets their largest entry.

    Args:
        space: Discrete.
        temperature: above 0. For another than 1 register a factory, for example
            `register_action_dist("Cold", partial(gumbel_softmax, temperature=0.5))`.

    Raises:
        TypeError: the space is not Discrete.
        ValueError: the temperature is not above 0.
    """
    if not isinstance(space, Discrete):
        raise _misfit("GumbelSoftmax", "Discrete", space)
    if not temperature > 0:
        raise ValueError(f"the temperature of GumbelSoftmax is {temperature}; it has to be above 0")
    size, start = int(space.n), int(space.start)
    return ActionDist(
        "GumbelSoftmax",
        partial(GumbelSoftmax, temperature=temperature),
        size,
        {"action": ("uniform", (size,))},
        Box(0.0, 1.0, (size,), np.float32),
        ((size, size),),
        to_env=partial(_choice, start=start, dtype=space.dtype),
        to_raw=partial(_relaxed, start=start, size=size),
    )


def _choice(relaxed: np.ndarray, *, start: int, dtype: Any) -> np.ndarray:
    """Map relaxed one-hots [B, A] to choices [B]."""
    return np.asarray(np.argmax(relaxed, axis=-1) + start, dtype=dtype)


def _relaxed(choice: np.ndarray, *, start: int, size: int) -> np.ndarray:
    """Map choices [B] to one-hots [B, A] float32."""
    hot = np.asarray(choice)[..., None] - start == np.arange(size)
    return np.asarray(hot, dtype=np.float32)


def _misfit(name: str, wanted: str, space: Space[Any]) -> TypeError:
    return TypeError(
        f"{name} is a distribution over a {wanted} space, the action space is {space}; "
        "leave the name out to have one chosen"
    )


_REGISTERED: dict[str, ActionDistFactory] = {}
_BUILT_IN: dict[str, ActionDistFactory] = {
    "Categorical": _categorical,
    "MultiCategorical": _multi_categorical,
    "Bernoulli": _bernoulli,
    "Beta": _beta,
    "Dirichlet": _dirichlet,
    "GumbelSoftmax": gumbel_softmax,
    "DiagGaussian": partial(_gaussian, "DiagGaussian", DiagGaussian),
    "SquashedGaussian": partial(_gaussian, "SquashedGaussian", SquashedGaussian),
    "Deterministic": partial(_gaussian, "Deterministic", Deterministic, inputs=1),
}
