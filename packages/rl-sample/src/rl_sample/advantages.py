"""Advantages and returns with two flags: termination ends value, truncation only ends the data.

All functions rest on one recursion, y[t] = x[t] + decay[t] * y[t+1], which is evaluated for all
rows at once by doubling; a decay of 0 separates pieces, so ragged pieces may lie end to end.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rl_sample.batch import SampleBatch


def _suffix_sums(x: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """Solve y[t] = x[t] + decay[t] * y[t+1] with y[T] = 0 along the first axis; overwrites both.

    After the step of width k, `x[t]` holds the first 2k terms of y[t] and `decay[t]` the factor
    with which `y[t + 2k]` enters it. Ends as soon as no piece is longer.
    """
    width, decay[-1:] = 1, 0.0
    while width < len(x) and decay.any():
        x[:-width] += decay[:-width] * x[width:]
        decay[:-width] *= decay[width:]
        decay[-width:] = 0.0
        width *= 2
    return x


def _blocks(**arrays: Any) -> list[np.ndarray]:
    blocks = [np.asarray(array) for array in arrays.values()]
    shape = blocks[0].shape
    for name, block in zip(arrays, blocks, strict=True):
        if block.shape != shape or not shape:
            raise ValueError(
                f"{name} has the shape {block.shape}, but {next(iter(arrays))} has {shape}: all "
                "arrays are blocks [T, S] (or [T]) of one shape"
            )
    return blocks


def _check_unit(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}: it must lie in [0, 1]")


def _following(
    values: np.ndarray, bootstrap: np.ndarray, terminated: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Value of what follows each row: the next row's, `bootstrap` at ends, 0 after termination."""
    following = np.zeros(values.shape)
    following[:-1] = values[1:]
    following[ends] = bootstrap[ends]
    following[terminated] = 0.0
    return following


def _gae(
    rewards: np.ndarray, values: np.ndarray, following: np.ndarray, ends: np.ndarray, gamma: float,
    lambda_: float,
) -> np.ndarray:  # fmt: skip
    deltas: np.ndarray = gamma * following
    deltas += rewards
    deltas -= values
    return _suffix_sums(deltas, np.where(ends, 0.0, gamma * lambda_))


def _block_ends(terminated: np.ndarray, truncated: np.ndarray) -> np.ndarray:
    ends: np.ndarray = terminated | truncated
    ends[-1:] = True
    return ends


def compute_gae(
    rewards: Any, values: Any, bootstrap: Any, terminateds: Any, truncateds: Any, *, gamma: float,
    lambda_: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Generalised advantage estimation (Schulman et al. 2016) over a block.

    delta[t] = r[t] + gamma * V(next of t) - V[t]; A[t] = delta[t] + gamma * lambda * A[t+1]. The
    recursion stops at either flag and at the block's last row. V(next of t) is `values[t+1]`
    inside a piece, 0 after termination (which wins when both flags are set), and `bootstrap[t]`
    at rows that end a piece without terminating.

    Args:
        rewards: [T, S] (or [T]) floats.
        values: [T, S] value of each row's observation.
        bootstrap: [T, S] value of the true last observation where a piece ends without
            terminating (truncation, last row); ignored elsewhere.
        terminateds: [T, S] bool.
        truncateds: [T, S] bool.
        gamma: discount, in [0, 1].
        lambda_: trace decay, in [0, 1]; 1 gives Monte Carlo returns minus values.

    Returns:
        (advantages, value_targets = advantages + values), float32 [T, S], or float64 if rewards
        or values are float64; summed in float64.

    Raises:
        ValueError: shapes differ, or gamma or lambda_ lies outside [0, 1].
    """
    _check_unit("gamma", gamma)
    _check_unit("lambda_", lambda_)
    rewards, values, bootstrap, terminateds, truncateds = _blocks(
        rewards=rewards, values=values, bootstrap=bootstrap, terminateds=terminateds,
        truncateds=truncateds,
    )  # fmt: skip
    terminated = terminateds.astype(bool)
    ends = _block_ends(terminated, truncateds.astype(bool))
    following = _following(values, bootstrap, terminated, ends)
    advantages = _gae(rewards, values, following, ends, gamma, lambda_)
    dtype = np.result_type(rewards, values, np.float32)
    return advantages.astype(dtype), (advantages + values).astype(dtype)


def discounted_returns(
    rewards: Any, bootstrap: Any, terminateds: Any, truncateds: Any, *, gamma: float
) -> np.ndarray:
    """Sum of discounted rewards to each piece's end, plus the discounted `bootstrap` there.

    Arguments, result and errors as in `compute_gae`: [T, S] blocks, termination adds no bootstrap.
    """
    _check_unit("gamma", gamma)
    rewards, bootstrap, terminateds, truncateds = _blocks(
        rewards=rewards, bootstrap=bootstrap, terminateds=terminateds, truncateds=truncateds
    )
    terminated = terminateds.astype(bool)
    ends = _block_ends(terminated, truncateds.astype(bool))
    sums = rewards + gamma * np.where(ends & ~terminated, bootstrap, 0.0).astype(np.float64)
    returns = _suffix_sums(sums, np.where(ends, 0.0, gamma))
    return returns.astype(np.result_type(rewards, np.float32))


def nstep_returns(
    rewards: Any, terminateds: Any, truncateds: Any, *, gamma: float, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n-step returns: R = r[t] + gamma * r[t+1] + ... over k <= n rows of one piece.

    A target is `returns + discounts * Q(new_obs of row t + steps - 1)`.

    Args:
        rewards: [T, S] (or [T]) floats.
        terminateds: [T, S] bool.
        truncateds: [T, S] bool.
        gamma: discount, in [0, 1].
        n: rows to sum at most, >= 1; fewer where a piece or the block ends.

    Returns:
        (returns, discounts, steps), each [T, S]: discounts float = gamma^k, 0 where the k rows
        end in termination; steps int64 = k.

    Raises:
        ValueError: shapes differ, gamma lies outside [0, 1], or n < 1.
    """
    _check_unit("gamma", gamma)
    if n < 1:
        raise ValueError(f"n is {n}: an n-step return sums at least 1 row")
    rewards, terminateds, truncateds = _blocks(
        rewards=rewards, terminateds=terminateds, truncateds=truncateds
    )
    terminated = terminateds.astype(bool)
    ends = _block_ends(terminated, truncateds.astype(bool))
    returns = rewards.astype(np.float64)
    steps = np.ones(rewards.shape, np.int64)
    open_rows = ~ends
    for k in range(1, min(n, len(rewards))):
        going_on = open_rows[:-k]
        returns[:-k] += np.where(going_on, gamma**k * rewards[k:], 0.0)
        steps[:-k] += going_on
        going_on &= ~ends[k:]
    last = np.arange(len(rewards)).reshape(-1, *[1] * (rewards.ndim - 1)) + steps - 1
    discounts = np.where(np.take_along_axis(terminated, last, axis=0), 0.0, gamma**steps)
    dtype = np.result_type(rewards, np.float32)
    return returns.astype(dtype), discounts.astype(dtype), steps


def add_advantages(
    batch: SampleBatch, *, gamma: float, lambda_: float = 1.0, use_gae: bool = True,
    use_critic: bool = True,
) -> SampleBatch:  # fmt: skip
    """Bind the columns `advantages` and `value_targets` ([B] float32) to a batch with segments.

    With `use_gae`: `compute_gae` over each segment. Else advantages are discounted returns, minus
    `vf_preds` with `use_critic`; value targets are the returns (zeros without a critic).

    Args:
        batch: columns `rewards`, `terminateds`, (`truncateds`,) `vf_preds`, and segments with
            bootstrap values; the latter two are not needed without a critic.
        gamma: discount, in [0, 1].
        lambda_: trace decay, in [0, 1].
        use_gae: needs `use_critic`.
        use_critic: subtract the value predictions.

    Returns:
        The same batch.

    Raises:
        ValueError: something of the above is missing, or a truncated row is not a segment's end.
    """
    _check_unit("gamma", gamma)
    _check_unit("lambda_", lambda_)
    if use_gae and not use_critic:
        raise ValueError("use_gae=True needs values: give use_critic=True, or use_gae=False")
    rewards, terminated, ends, bootstrap = _pieces(batch, needs_values=use_critic)
    if use_gae:
        values = batch["vf_preds"]
        following = _following(values, bootstrap, terminated, ends)
        advantages = _gae(rewards, values, following, ends, gamma, lambda_)
        targets = advantages + values
    else:
        sums = rewards + gamma * np.where(terminated, 0.0, bootstrap)
        targets = _suffix_sums(sums, np.where(ends, 0.0, gamma))
        advantages = targets - batch["vf_preds"] if use_critic else targets
        targets = targets if use_critic else np.zeros_like(targets)
    batch["advantages"] = advantages.astype(np.float32)
    batch["value_targets"] = targets.astype(np.float32)
    return batch


def _pieces(
    batch: SampleBatch, *, needs_values: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(rewards, terminated, ends, bootstrap) of each row; bootstrap is 0 off the ends."""
    segments = batch.segments
    required = ["rewards", "terminateds", *(["vf_preds"] if needs_values else [])]
    missing = [name for name in required if name not in batch.arrays]
    if missing or segments is None or (needs_values and segments.bootstrap is None):
        lacking = missing or ["segments" if segments is None else "segments.bootstrap"]
        raise ValueError(
            f"advantages cannot be computed: the batch lacks {', '.join(lacking)}. It needs "
            f"{', '.join(required)} and segments with the value of each segment's last "
            "observation; compute them before shuffling or padding, which drop the segments"
        )
    rewards = batch["rewards"]
    terminated = batch["terminateds"].astype(bool)
    ends = np.zeros(len(rewards), bool)
    ends[segments.ends - 1] = True
    truncated = batch.arrays.get("truncateds")
    if truncated is not None and (stray := truncated.astype(bool) & ~(ends | terminated)).any():
        raise ValueError(
            f"row {int(stray.argmax())} is truncated but no segment ends there: its last "
            "observation's value is unknown; end a segment at every truncation"
        )
    bootstrap = np.zeros(len(rewards))
    if segments.bootstrap is not None:
        bootstrap[segments.ends - 1] = segments.bootstrap
    ends |= terminated
    return rewards, terminated, ends, bootstrap
