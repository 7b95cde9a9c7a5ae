"""Advantages and returns: numbers to redo on paper, and references in plain loops."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_sample import (
    SampleBatch,
    add_advantages,
    compute_gae,
    discounted_returns,
    nstep_returns,
)
from rl_sample.protocols import Segments

UNIT = st.sampled_from([0.0, 0.5, 0.9, 1.0])


def block(seed: int, steps: int, slots: int) -> tuple[np.ndarray, ...]:
    """Rewards, values, bootstrap, terminateds, truncateds [T, S]; some rows have both flags."""
    rng = np.random.default_rng(seed)
    rewards, values, bootstrap = rng.normal(size=(3, steps, slots))
    terminated, truncated = rng.random((2, steps, slots)) < 0.25
    return rewards, values, bootstrap, terminated, truncated


def gae_in_loops(
    rewards: Any, values: Any, bootstrap: Any, terminated: Any, truncated: Any, gamma: float,
    lambda_: float,
) -> np.ndarray:  # fmt: skip
    steps, slots = rewards.shape
    advantages = np.zeros((steps, slots))
    for s in range(slots):
        following = 0.0
        for t in reversed(range(steps)):
            if terminated[t, s]:
                delta, following = rewards[t, s] - values[t, s], 0.0
            elif truncated[t, s] or t == steps - 1:
                delta, following = rewards[t, s] + gamma * bootstrap[t, s] - values[t, s], 0.0
            else:
                delta = rewards[t, s] + gamma * values[t + 1, s] - values[t, s]
            following = delta + gamma * lambda_ * following
            advantages[t, s] = following
    return advantages


def column(*values: float) -> np.ndarray:
    return np.array(values, float)[:, None]


def test_gae_on_paper() -> None:
    # Two steps and a cut: delta = [1 + 0.5*4 - 2, 3 + 0.5*8 - 4] = [1, 3]; A = [1 + 0.25*3, 3].
    no = np.zeros((2, 1), bool)
    advantages, targets = compute_gae(
        column(1, 3), column(2, 4), column(99, 8), no, no, gamma=0.5, lambda_=0.5
    )
    assert advantages[:, 0].tolist() == [1.75, 3.0]
    assert targets[:, 0].tolist() == [3.75, 7.0]


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        (False, False, [1 + 1 + 1 + 10 - 1, 1 + 1 + 10 - 1, 1 + 10 - 5]),
        (True, False, [1 + 1 - 1, 1 - 1, 1 + 10 - 5]),
        (False, True, [1 + 1 + 20 - 1, 1 + 20 - 1, 1 + 10 - 5]),
        (True, True, [1 + 1 - 1, 1 - 1, 1 + 10 - 5]),
    ],
)
def test_flags_on_paper(terminated: bool, truncated: bool, expected: list[float]) -> None:
    # gamma = lambda = 1: what comes in to the piece's end, minus the value. The flags are row 1's.
    terms, truncs = np.zeros((2, 3, 1), bool)
    terms[1], truncs[1] = terminated, truncated
    advantages, _ = compute_gae(
        column(1, 1, 1), column(1, 1, 5), column(99, 20, 10), terms, truncs, gamma=1.0, lambda_=1.0
    )
    assert advantages[:, 0].tolist() == expected


@given(st.integers(0, 999), st.integers(1, 40), st.integers(1, 4), UNIT, UNIT)
def test_gae_equals_plain_loops(
    seed: int, steps: int, slots: int, gamma: float, lambda_: float
) -> None:
    arrays = block(seed, steps, slots)
    advantages, targets = compute_gae(*arrays, gamma=gamma, lambda_=lambda_)
    expected = gae_in_loops(*arrays, gamma, lambda_)
    np.testing.assert_allclose(advantages, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(targets, expected + arrays[1], rtol=1e-9, atol=1e-9)


@given(st.integers(0, 999), st.integers(1, 40), st.integers(1, 4), UNIT)
def test_lambda_1_is_monte_carlo(seed: int, steps: int, slots: int, gamma: float) -> None:
    rewards, values, bootstrap, terminated, truncated = block(seed, steps, slots)
    _, targets = compute_gae(
        rewards, values, bootstrap, terminated, truncated, gamma=gamma, lambda_=1.0
    )
    for s in range(slots):
        for t in range(steps):
            total, k = 0.0, t
            while True:
                total += gamma ** (k - t) * rewards[k, s]
                if terminated[k, s]:
                    break
                if truncated[k, s] or k == steps - 1:
                    total += gamma ** (k - t + 1) * bootstrap[k, s]
                    break
                k += 1
            assert targets[t, s] == pytest.approx(total, rel=1e-9, abs=1e-9)
    returns = discounted_returns(rewards, bootstrap, terminated, truncated, gamma=gamma)
    np.testing.assert_allclose(returns, targets, rtol=1e-9, atol=1e-9)


def test_lambda_0_is_the_one_step_error() -> None:
    rewards, values, bootstrap, terminated, truncated = block(1, 6, 2)
    terminated[:], truncated[:] = False, False
    advantages, _ = compute_gae(
        rewards, values, bootstrap, terminated, truncated, gamma=0.9, lambda_=0.0
    )
    following = np.concatenate([values[1:], bootstrap[-1:]])
    np.testing.assert_allclose(advantages, rewards + 0.9 * following - values)


def test_returns_on_paper() -> None:
    terms, truncs = np.zeros((2, 5, 1), bool)
    terms[1], truncs[3] = True, True
    returns = discounted_returns(
        column(1, 2, 4, 8, 16), column(7, 7, 7, 4, 2), terms, truncs, gamma=0.5
    )
    assert returns[:, 0].tolist() == [2.0, 2.0, 4 + 0.5 * 10, 8 + 0.5 * 4, 17.0]


def test_float32_blocks_stay_float32_and_unwritten() -> None:
    ones = np.ones((3, 2), np.float32)
    ones.flags.writeable = False
    flags = np.zeros((3, 2), bool)
    flags.flags.writeable = False
    advantages, targets = compute_gae(ones, ones, ones, flags, flags, gamma=0.9, lambda_=0.9)
    assert advantages.dtype == targets.dtype == np.float32
    assert discounted_returns(ones, ones, flags, flags, gamma=1.0).dtype == np.float32


def test_value_of_cartpole_near_its_time_limit() -> None:
    # Reward 1 for ever is worth 1 / (1 - gamma) = 100; a time limit does not change that.
    steps, hundred = 20, np.full((20, 1), 100.0)
    truncated = np.zeros((steps, 1), bool)
    truncated[-1] = True
    advantages, _ = compute_gae(
        np.ones((steps, 1)), hundred, hundred, np.zeros((steps, 1), bool), truncated,
        gamma=0.99, lambda_=0.95,
    )  # fmt: skip
    np.testing.assert_allclose(advantages, 0.0, atol=1e-9)


def test_nstep_on_paper() -> None:
    # Row 2 terminates, row 4 is truncated, row 5 is the block's end.
    terms, truncs = np.zeros((2, 6, 1), bool)
    terms[2], truncs[4] = True, True
    returns, discounts, steps = nstep_returns(
        column(1, 2, 4, 8, 16, 32), terms, truncs, gamma=0.5, n=2
    )
    assert returns[:, 0].tolist() == [2.0, 4.0, 4.0, 16.0, 16.0, 32.0]
    assert discounts[:, 0].tolist() == [0.25, 0.0, 0.0, 0.25, 0.5, 0.5]
    assert steps[:, 0].tolist() == [2, 2, 1, 2, 1, 1]


@given(st.integers(0, 999), st.integers(1, 20), st.integers(1, 3), UNIT, st.integers(1, 25))
def test_nstep_equals_plain_loops(seed: int, steps: int, slots: int, gamma: float, n: int) -> None:
    rewards, _, _, terminated, truncated = block(seed, steps, slots)
    returns, discounts, lengths = nstep_returns(rewards, terminated, truncated, gamma=gamma, n=n)
    for s in range(slots):
        for t in range(steps):
            k, total = 0, 0.0
            while True:
                total += gamma**k * rewards[t + k, s]
                k += 1
                last = t + k - 1
                if terminated[last, s] or truncated[last, s] or k == n or t + k == steps:
                    break
            assert lengths[t, s] == k
            assert returns[t, s] == pytest.approx(total, rel=1e-9, abs=1e-9)
            assert discounts[t, s] == pytest.approx(0.0 if terminated[last, s] else gamma**k)


@given(st.integers(0, 999), st.lists(st.integers(1, 12), min_size=1, max_size=8), UNIT, UNIT)
def test_ragged_segments_equal_blocks_of_one_slot(
    seed: int, lengths: list[int], gamma: float, lambda_: float
) -> None:
    batch = ragged(seed, lengths)
    add_advantages(batch, gamma=gamma, lambda_=lambda_)
    assert batch.segments is not None
    assert batch.segments.bootstrap is not None
    for i, part in enumerate(slices_of(batch)):
        count = part.count
        expected = gae_in_loops(
            part["rewards"][:, None], part["vf_preds"][:, None],
            np.full((count, 1), batch.segments.bootstrap[i]),
            part["terminateds"][:, None], part["truncateds"][:, None], gamma, lambda_,
        )[:, 0]  # fmt: skip
        np.testing.assert_allclose(part["advantages"], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            part["value_targets"], expected + part["vf_preds"], rtol=1e-4, atol=1e-5
        )


def ragged(seed: int, lengths: list[int]) -> SampleBatch:
    """Segments of these lengths that end in any of the four combinations of flags."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(lengths)
    rows = int(ends[-1])
    terminated, truncated = np.zeros((2, rows), bool)
    terminated[ends - 1], truncated[ends - 1] = rng.random((2, len(ends))) < 0.4
    return SampleBatch(
        obs=np.zeros((rows, 1)), rewards=rng.normal(size=rows).astype(np.float32),
        vf_preds=rng.normal(size=rows).astype(np.float32),
        terminateds=terminated, truncateds=truncated,
        segments=Segments(
            ends, {"obs": np.zeros((len(ends), 1))}, (), rng.normal(size=len(ends))
        ),
    )  # fmt: skip


def slices_of(batch: SampleBatch) -> list[SampleBatch]:
    assert batch.segments is not None
    bounds = [0, *batch.segments.ends.tolist()]
    return [batch[a:b] for a, b in pairwise(bounds)]


def small(**more: Any) -> SampleBatch:
    """Two segments, the first terminated: rewards 1, 2 | 4; values 1, 1 | 1; bootstrap 0 | 8."""
    columns: dict[str, Any] = {
        "rewards": np.float32([1, 2, 4]), "vf_preds": np.float32([1, 1, 1]),
        "terminateds": np.array([False, True, False]), "truncateds": np.zeros(3, bool),
    }  # fmt: skip
    segments = Segments(np.array([2, 3]), {}, (), np.float32([0, 8]))
    return SampleBatch({**columns, **more}, segments=segments)


@pytest.mark.parametrize(
    ("options", "advantages", "targets"),
    [
        ({"lambda_": 1.0}, [1.0, 1.0, 7.0], [2.0, 2.0, 8.0]),
        ({"lambda_": 0.0}, [0.5, 1.0, 7.0], [1.5, 2.0, 8.0]),
        ({"use_gae": False}, [1.0, 1.0, 7.0], [2.0, 2.0, 8.0]),
        ({"use_gae": False, "use_critic": False}, [2.0, 2.0, 8.0], [0.0, 0.0, 0.0]),
    ],
)
def test_add_advantages_on_paper(
    options: dict[str, Any], advantages: list[float], targets: list[float]
) -> None:
    batch = small()
    assert add_advantages(batch, gamma=0.5, **options) is batch
    assert batch["advantages"].dtype == batch["value_targets"].dtype == np.float32
    assert batch["advantages"].tolist() == advantages
    assert batch["value_targets"].tolist() == targets


def test_without_a_critic_neither_values_nor_bootstrap_are_needed() -> None:
    batch = small()
    del batch["vf_preds"]
    assert batch.segments is not None
    batch.segments = batch.segments._replace(bootstrap=None)
    add_advantages(batch, gamma=0.5, use_gae=False, use_critic=False)
    assert batch["advantages"].tolist() == [2.0, 2.0, 4.0]


def test_a_cut_piece_gives_the_same_one_step_errors() -> None:
    whole = ragged(3, [12])
    expected = add_advantages(whole.copy(), gamma=0.9, lambda_=0.0)["advantages"]
    cut = [add_advantages(part, gamma=0.9, lambda_=0.0) for part in whole.timeslices(5)]
    np.testing.assert_allclose(np.concatenate([c["advantages"] for c in cut]), expected, atol=1e-6)


def test_add_advantages_says_what_is_missing() -> None:
    batch = small()
    del batch["vf_preds"], batch["rewards"]
    with pytest.raises(ValueError, match="lacks rewards, vf_preds. It needs .* before shuffling"):
        add_advantages(batch, gamma=0.9)
    batch = small()
    batch.segments = None
    with pytest.raises(ValueError, match="the batch lacks segments"):
        add_advantages(batch, gamma=0.9)
    batch.segments = Segments(np.array([3]), {})
    with pytest.raises(ValueError, match=r"the batch lacks segments\.bootstrap"):
        add_advantages(batch, gamma=0.9)
    with pytest.raises(ValueError, match="use_gae=True needs values: give use_critic=True"):
        add_advantages(small(), gamma=0.9, use_critic=False)
    stray = small(truncateds=np.array([True, False, False]))
    with pytest.raises(ValueError, match="row 0 is truncated but no segment ends there"):
        add_advantages(stray, gamma=0.9)


def test_blocks_are_checked() -> None:
    a, b = np.zeros((2, 1)), np.zeros((3, 1))
    with pytest.raises(ValueError, match=r"values has the shape \(3, 1\), but rewards has \(2, 1"):
        compute_gae(a, b, a, a, a, gamma=0.9, lambda_=0.9)
    with pytest.raises(ValueError, match=r"lambda_ is 1.5: it must lie in \[0, 1\]"):
        compute_gae(a, a, a, a, a, gamma=0.9, lambda_=1.5)
    with pytest.raises(ValueError, match="gamma is -1"):
        discounted_returns(a, a, a, a, gamma=-1)
    with pytest.raises(ValueError, match="n is 0: an n-step return sums at least 1 row"):
        nstep_returns(a, a, a, gamma=0.9, n=0)
