"""What losses and actors are given as `dist_class`: a distribution fitted to one action space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from gymnasium.spaces import Space

from rl_policy.distributions import ActionDistribution
from rl_policy.space_tree import Path, nest, pick
from rl_sample.protocols import Arrays, NoiseSpec

Array: TypeAlias = Any


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
    choices: tuple[tuple[int, int], ...] | None = None
    """The mask's entries start:stop of each choice, of which one has to stay legal (a bit may
    always stay 0); None: they are all one choice."""
    to_env: Callable[[Any], Any] | None = None
    """From raw actions [B, …] to the environment's (NumPy), in place of `make_action_map`'s."""
    to_raw: Callable[[Any], Any] | None = None
    """The way back, in place of `make_raw_map`'s."""
    reads_model: bool = False
    """`make` needs the model beside its outputs: acting runs in the framework."""

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
        self._check_size(action_mask)
        xp = ActionDistribution(inputs).xp
        legal = xp.astype(action_mask, "bool")
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

    def checked_mask(self, action_mask: Any) -> np.ndarray:
        """Give a mask [B, mask_size] as bool, if every choice of every row has a legal action.

        Without one there is no distribution: all that is masked would count as equally likely.

        Raises:
            ValueError: the mask's size is wrong, or a row allows nothing; the message names it.
        """
        legal = np.asarray(action_mask).astype(bool, copy=False)
        self._check_size(legal)
        for start, stop in ((0, legal.shape[1]),) if self.choices is None else self.choices:
            some = legal[:, start:stop].any(axis=1)
            if not some.all():
                row, whole = np.flatnonzero(~some)[0], stop - start == legal.shape[1]
                entries = (
                    f"all {stop - start} entries" if whole else f"entries {start} to {stop - 1}"
                )
                raise ValueError(
                    f"the action mask of row {row} allows no action ({entries} are 0); an "
                    "environment must leave at least one action legal until the episode ends"
                )
        return legal

    def _check_size(self, action_mask: Any) -> None:
        shape = action_mask.shape
        if len(shape) < 2 or shape[-1] != self.mask_size:
            raise ValueError(
                f"an action mask for {self.name} over {self.raw_space} has "
                f"{self.mask_size or 'no'} entries per row, got shape {tuple(shape)}"
            )


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
            self.space, iter([d.sample(noise.get(noise_name(p))) for p, d in self.parts.items()])
        )

    def deterministic_sample(self) -> Any:
        """Give each leaf's most likely action, nested."""
        return nest(self.space, iter([d.deterministic_sample() for d in self.parts.values()]))

    def logp(self, actions: Any) -> Array:
        """Add up the leaves' log probabilities of nested `actions`."""
        return _total([d.logp(pick(actions, path)) for path, d in self.parts.items()])

    def sample_with_logp(self, noise: Arrays) -> tuple[Any, Array]:
        """Give nested actions and their log probability, exact where the leaves' are."""
        both = [d.sample_with_logp(noise.get(noise_name(p))) for p, d in self.parts.items()]
        return nest(self.space, iter([a for a, _ in both])), _total([logp for _, logp in both])

    def entropy(self) -> Array:
        """Add up the leaves' entropies."""
        return _total([d.entropy() for d in self.parts.values()])

    def kl(self, other: Composite) -> Array:
        """Add up the leaves' divergences."""
        return _total([d.kl(other.parts[path]) for path, d in self.parts.items()])


def noise_name(path: Path) -> str:
    """Name the noise of the leaf at `path` of a nested action space: `action/<path>`."""
    return "/".join(["action", *map(str, path)])


def _total(terms: Sequence[Array]) -> Array:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
