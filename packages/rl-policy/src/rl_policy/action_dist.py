"""Which distribution for which action space, and how many inputs and how much noise it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from typing import Any, Literal, TypeAlias

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

from rl_policy.action_map import raw_action_space
from rl_policy.distributions import (
    ActionDistribution,
    Bernoulli,
    Categorical,
    Deterministic,
    DiagGaussian,
    MultiCategorical,
    SquashedGaussian,
)
from rl_policy.space_tree import Path, leaf_spaces, nest, pick
from rl_sample.protocols import Arrays, NoiseSpec

Array: TypeAlias = Any
ActionDistFactory: TypeAlias = "Callable[[Space[Any]], ActionDist]"


@dataclass(frozen=True)
class ActionDist:
    """How actions of one space are distributed: the `dist_class` that losses are given.

    `dist(inputs, model)` makes an `ActionDistribution`; `dist.make(inputs)` does so with one
    Python frame less.
    """

    name: str
    make: Callable[..., ActionDistribution]
    input_size: int
    """Numbers a network has to put out per row."""
    noise: NoiseSpec
    """What `sample` takes, per row: `{"action": (kind, shape)}`, composites `action/<path>`."""
    raw_space: Space[Any]
    """The space of raw actions, as stored and as `logp` takes them."""
    mask_parts: tuple[tuple[int, int], ...] = ()
    """(inputs, mask entries) of consecutive pieces of the inputs; 0 entries: not maskable."""

    def __call__(self, inputs: Array, model: Any = None) -> ActionDistribution:
        """Make the distribution for `inputs` [B, input_size]."""
        return self.make(inputs, model)

    @property
    def mask_size(self) -> int | None:
        """Entries of an action mask, one per choice (bit); None: no choice can be masked."""
        return sum(entries for _, entries in self.mask_parts) or None

    @property
    def noise_name(self) -> str | None:
        """`"action"` where `sample` takes that one array, None for composites and without noise."""
        return "action" if "action" in self.noise else None

    def select_noise(self, noise: Arrays) -> Any:
        """Give what `sample` takes: one array, for composites all of them, or None."""
        return noise["action"] if "action" in self.noise else (noise if self.noise else None)

    def mask(self, inputs: Array, action_mask: Array) -> Array:
        """Make choices impossible: those whose entry of `action_mask` [B, mask_size] is 0.

        Raises:
            ValueError: this distribution has nothing to mask, or the mask's size is wrong.
        """
        if action_mask.shape[-1] != self.mask_size:
            raise ValueError(
                f"an action mask for {self.name} over {self.raw_space} has "
                f"{self.mask_size or 'no'} entries per row, got shape {tuple(action_mask.shape)}"
            )
        xp = ActionDistribution(inputs).xp
        legal = xp.not_equal(action_mask, 0)
        if len(self.mask_parts) > 1:
            masks = iter(xp.split(legal, [m for _, m in self.mask_parts if m], axis=-1))
            pieces = xp.split(inputs, [size for size, _ in self.mask_parts], axis=-1)
            legal = xp.concat(
                [
                    next(masks) if entries else xp.astype(xp.ones_like(piece), "bool")
                    for piece, (_, entries) in zip(pieces, self.mask_parts, strict=True)
                ],
                axis=-1,
            )
        return xp.where(legal, inputs, xp.float_min(inputs))


class Composite(ActionDistribution):
    """Independent distributions of the leaves of a Dict or Tuple space; their inputs side by side.

    Actions are nested as the space; noise is a mapping from `action/<path>`.
    """

    def __init__(
        self,
        inputs: Array,
        model: Any = None,
        *,
        space: Space[Any],
        parts: Mapping[Path, ActionDist],
    ) -> None:
        """Give each leaf its share of `inputs`; `parts` are in the order of the space's leaves."""
        super().__init__(inputs, model)
        pieces = self.xp.split(inputs, [part.input_size for part in parts.values()], axis=-1)
        self.space = space
        self.parts = {
            path: part.make(piece, model)
            for (path, part), piece in zip(parts.items(), pieces, strict=True)
        }

    def sample(self, noise: Arrays) -> Any:
        """Map the arrays `action/<path>` of `noise` to nested actions."""
        return nest(
            self.space, iter([d.sample(noise.get(_name(p))) for p, d in self.parts.items()])
        )

    def deterministic_sample(self) -> Any:
        """Give each leaf's most likely action, nested."""
        return nest(self.space, iter([d.deterministic_sample() for d in self.parts.values()]))

    def logp(self, actions: Any) -> Array:
        """Add up the leaves' log probabilities of nested `actions`."""
        return _total([d.logp(pick(actions, path)) for path, d in self.parts.items()])

    def sample_with_logp(self, noise: Arrays) -> tuple[Any, Array]:
        """Give nested actions and their log probability, exact where the leaves' are."""
        both = [d.sample_with_logp(noise.get(_name(p))) for p, d in self.parts.items()]
        return nest(self.space, iter([a for a, _ in both])), _total([logp for _, logp in both])

    def entropy(self) -> Array:
        """Add up the leaves' entropies."""
        return _total([d.entropy() for d in self.parts.values()])

    def kl(self, other: Composite) -> Array:
        """Add up the leaves' divergences."""
        return _total([d.kl(other.parts[path]) for path, d in self.parts.items()])


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
    noise = {_name(path): spec for path, part in parts.items() for spec in part.noise.values()}
    return ActionDist(
        "Composite",
        partial(Composite, space=space, parts=parts),
        sum(part.input_size for part in parts.values()),
        noise,
        raw_action_space(space),
        tuple(pair for part in parts.values() for pair in part.mask_parts),
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
    size = sum(nvec)
    noise: NoiseSpec = {"action": ("uniform", raw.shape)}
    return ActionDist("MultiCategorical", make, size, noise, raw, ((size, size),))


def _bernoulli(space: Space[Any]) -> ActionDist:
    raw = raw_action_space(space)
    if not isinstance(raw, MultiBinary):
        raise _misfit("Bernoulli", "MultiBinary", space)
    size = math.prod(raw.shape)
    make = partial(Bernoulli, shape=raw.shape)
    noise: NoiseSpec = {"action": ("uniform", raw.shape)}
    return ActionDist("Bernoulli", make, size, noise, raw, ((size, size),))


def _gaussian(name: str, kind: Any, space: Space[Any], inputs: int = 2) -> ActionDist:
    """Describe a distribution over vectors that takes `inputs` numbers per action number."""
    raw = raw_action_space(space)
    if not isinstance(raw, Box):
        raise _misfit(name, "Box of floats", space)
    size = inputs * math.prod(raw.shape)
    normal: Literal["normal"] = "normal"
    noise: NoiseSpec = {} if kind is Deterministic else {"action": (normal, raw.shape)}
    return ActionDist(name, partial(kind, shape=raw.shape), size, noise, raw, ((size, 0),))


def _misfit(name: str, wanted: str, space: Space[Any]) -> TypeError:
    return TypeError(
        f"{name} is a distribution over a {wanted} space, the action space is {space}; "
        "leave the name out to have one chosen"
    )


def _name(path: Path) -> str:
    return "/".join(["action", *map(str, path)])


def _total(terms: Sequence[Array]) -> Array:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


_REGISTERED: dict[str, ActionDistFactory] = {}
_BUILT_IN: dict[str, ActionDistFactory] = {
    "Categorical": _categorical,
    "MultiCategorical": _multi_categorical,
    "Bernoulli": _bernoulli,
    "DiagGaussian": partial(_gaussian, "DiagGaussian", DiagGaussian),
    "SquashedGaussian": partial(_gaussian, "SquashedGaussian", SquashedGaussian),
    "Deterministic": partial(_gaussian, "Deterministic", Deterministic, inputs=1),
}
