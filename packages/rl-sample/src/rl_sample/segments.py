"""What happens to a batch's segments when it is checked, cut, joined, or asked for `new_obs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rl_sample.columns import belongs
from rl_sample.nested import flatten_nested
from rl_sample.protocols import Segments


def normalized_segments(segments: Segments, count: int) -> Segments:
    """The segments with arrays of the documented types, or an error that says what is wrong."""
    ends = np.asarray(segments.ends, np.int64)
    if ends.ndim != 1 or (ends[-1] if len(ends) else 0) != count or (np.diff(ends) < 1).any():
        raise ValueError(
            f"segments.ends must rise strictly from at least 1 to the row count {count}, "
            f"but it is {ends.tolist()}"
        )
    if len(ends) and ends[0] < 1:
        raise ValueError(f"segments.ends starts with {ends[0]}: a segment has at least one row")
    last_obs: dict[str, np.ndarray] = {}
    for name, value in segments.last_obs.items():
        last_obs.update(flatten_nested(name, value))
    last_state = tuple(np.asarray(state) for state in segments.last_state)
    bootstrap = None if segments.bootstrap is None else np.asarray(segments.bootstrap, np.float32)
    parts = [(f"last_obs[{name!r}]", array) for name, array in last_obs.items()]
    parts += [(f"last_state[{i}]", array) for i, array in enumerate(last_state)]
    parts += [] if bootstrap is None else [("bootstrap", bootstrap)]
    for name, array in parts:
        if array.ndim == 0 or len(array) != len(ends):
            raise ValueError(
                f"segments.{name} has the shape {array.shape}, but there are {len(ends)} "
                "segments: it needs one entry for each"
            )
    return Segments(ends, last_obs, last_state, bootstrap)


def cut_segments(
    segments: Segments, arrays: Mapping[str, np.ndarray], start: int, stop: int, state_row: int
) -> Segments:
    """Segments of rows `start:stop`; a cut inside a segment makes a new end.

    What came after a new end is row `stop` itself: its obs, its `state_in_i` (at `state_row`) and
    its `vf_preds`. Without `vf_preds` no segment keeps its bootstrap value.
    """
    ends = segments.ends
    first = int(ends.searchsorted(start, "right"))
    last = int(ends.searchsorted(stop, "left")) if stop > start else first - 1
    if stop <= start or ends[last] == stop:
        whole = slice(first, last + 1)
        return Segments(
            ends[whole] - start,
            {name: array[whole] for name, array in segments.last_obs.items()},
            tuple(state[whole] for state in segments.last_state),
            None if segments.bootstrap is None else segments.bootstrap[whole],
        )

    def with_row(closed: np.ndarray, rows: np.ndarray, at: int) -> np.ndarray:
        return np.concatenate([closed[first:last], rows[at : at + 1].astype(closed.dtype)])

    states = [f"state_in_{i}" for i in range(len(segments.last_state))]
    has_values = segments.bootstrap is not None and "vf_preds" in arrays
    return Segments(
        np.minimum(ends[first : last + 1], stop) - start,
        {
            name: with_row(array, arrays[name], stop)
            for name, array in segments.last_obs.items()
            if name in arrays
        },
        tuple(
            with_row(state, arrays[name], state_row)
            for name, state in zip(states, segments.last_state, strict=True)
        )
        if all(name in arrays for name in states)
        else (),
        with_row(segments.bootstrap, arrays["vf_preds"], stop)
        if segments.bootstrap is not None and has_values
        else None,
    )


def copied_segments(segments: Segments) -> Segments:
    """The same segments in arrays of their own."""
    return Segments(
        segments.ends.copy(),
        {name: array.copy() for name, array in segments.last_obs.items()},
        tuple(state.copy() for state in segments.last_state),
        None if segments.bootstrap is None else segments.bootstrap.copy(),
    )


def concat_segments(parts: Sequence[Segments | None], counts: Sequence[int]) -> Segments | None:
    """Segments of concatenated batches; bootstrap values only if every part has them."""
    given = [part for part in parts if part is not None]
    if not given:
        return None
    if len(given) < len(parts):
        missing = next(i for i, part in enumerate(parts) if part is None)
        raise ValueError(
            f"batch {missing} has no segments but others have: concatenate batches that all have "
            "them, or drop them with `batch.segments = None`"
        )
    names, states = set(given[0].last_obs), len(given[0].last_state)
    for i, part in enumerate(given):
        if different := names ^ set(part.last_obs):
            raise ValueError(
                f"segments.last_obs of batch {i} and batch 0 differ in {min(different)!r}"
            )
        if len(part.last_state) != states:
            raise ValueError(
                f"segments.last_state of batch {i} has {len(part.last_state)} arrays, "
                f"that of batch 0 has {states}"
            )
    offsets = np.cumsum([0, *counts[:-1]])
    bootstraps = [part.bootstrap for part in given if part.bootstrap is not None]
    return Segments(
        np.concatenate([part.ends + at for part, at in zip(given, offsets, strict=True)]),
        {name: np.concatenate([p.last_obs[name] for p in given]) for name in given[0].last_obs},
        tuple(np.concatenate([part.last_state[i] for part in given]) for i in range(states)),
        np.concatenate(bootstraps) if len(bootstraps) == len(given) else None,
    )


def has_next_obs(segments: Segments, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether `new_obs` can be derived: there is an obs, and each part's last one is known."""
    names = [name for name in arrays if belongs(name, "obs")]
    return bool(names) and all(name in segments.last_obs for name in names)


def next_obs(segments: Segments, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Flat `new_obs` columns: the next row's obs, at segment ends the true last observation."""
    flat: dict[str, np.ndarray] = {}
    for name, rows in arrays.items():
        if belongs(name, "obs"):
            following = np.empty_like(rows)
            following[:-1] = rows[1:]
            following[segments.ends - 1] = segments.last_obs[name]
            flat["new_" + name] = following
    return flat
