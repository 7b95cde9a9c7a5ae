"""Flat columns of one batch: whose part one is, whether all fit together, what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def belongs(column: str, name: str) -> bool:
    """Whether the flat column is `name` or a part of it."""
    return column == name or column.startswith(name + "/")


def top_names(arrays: Mapping[str, Any]) -> list[str]:
    """Names of the columns, a nested one once."""
    return list(dict.fromkeys(name.split("/", 1)[0] for name in arrays))


def is_per_sequence(name: str) -> bool:
    """Whether the column of a batch with seq_lens has a row for each sequence, not each step."""
    return name.startswith("state_in_")


def check_rows(arrays: Mapping[str, np.ndarray], rows: int | None, sequences: int | None) -> None:
    """Refuse columns of unequal length.

    Args:
        arrays: flat columns.
        rows: what seq_lens (padding included) or segments add up to, or None without them.
        sequences: number of seq_lens, or None without them.
    """
    whose = "its sequences or segments add up to"
    for name, array in arrays.items():
        if array.ndim == 0:
            raise ValueError(
                f"column {name!r} has no rows, it is the single value {array.item()!r}: a column "
                "is an array or list [B, …] (a tuple or dict makes a nested column of arrays)"
            )
        if sequences is not None and is_per_sequence(name):
            if len(array) != sequences:
                raise ValueError(
                    f"column {name!r} has {len(array)} rows, but there are {sequences} sequences: "
                    "with seq_lens a state column holds the state at each sequence's start"
                )
        elif rows is None:
            rows, whose = len(array), f"{name!r} has"
        elif len(array) != rows:
            raise ValueError(
                f"column {name!r} has {len(array)} rows, but {whose} {rows}: all columns of a "
                "batch have the same number of rows"
            )


class MissingColumn(KeyError):
    """A column that is neither stored nor derivable."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would quote and escape the sentence


def missing_column(arrays: Mapping[str, np.ndarray], name: str) -> MissingColumn:
    """The error for a missing column; it names the nearest one, or what would derive it."""
    if name == "new_obs":
        return MissingColumn(
            "no column 'new_obs', and it cannot be derived: that takes 'obs' and segments (which "
            "shuffling, taking rows and padding drop); store it before these, with "
            'batch["new_obs"] = batch["new_obs"]'
        )
    if name == "dones":
        return MissingColumn(
            "no column 'dones': it is derived from 'terminateds', which is missing too"
        )
    from difflib import get_close_matches

    names = top_names(arrays)
    near = get_close_matches(name, [*names, *arrays], n=1)
    hint = f", did you mean {near[0]!r}?" if near else "."
    return MissingColumn(f"no column {name!r}{hint} The columns are {names}")


def derived_dones(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """[B] bool: either flag."""
    terminated = arrays["terminateds"].astype(bool, copy=False)
    truncated = arrays.get("truncateds")
    return terminated if truncated is None else terminated | truncated.astype(bool, copy=False)


def flags_of_dones(arrays: Mapping[str, np.ndarray], value: Any) -> dict[str, np.ndarray]:
    """The flag columns that `dones` stands for: terminated, unless the flags are there already."""
    dones = np.asarray(value, bool)
    flags = {name: arrays[name] for name in ("terminateds", "truncateds") if name in arrays}
    if not flags:
        return {"terminateds": dones, "truncateds": np.zeros(dones.shape, bool)}
    if "terminateds" not in flags or not np.array_equal(dones, derived_dones(flags)):
        raise ValueError(
            "dones disagree with terminateds and truncateds: dones are derived from these two, so "
            "set them instead"
        )
    return flags
