"""The conformance kit: `check_policy` for anybody's policy, and experience to try one on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np

from rl_policy.config import package_of
from rl_policy.definition import PolicyDefinition
from rl_policy.policy import Policy
from rl_policy.saved import load_policy
from rl_policy.spaces import batch_obs
from rl_policy.spec import NetActorSpec
from rl_sample import (
    SampleBatch,
    SlotWriter,
    concat_samples,
    draw_noise,
    flatten_nested,
    noise_keys,
)
from rl_sample.protocols import Acted, Actor, Arrays

_ROWS = 6


def check_policy(
    make_policy: Callable[[], Policy], *, learns: bool = True, saves: bool = True
) -> None:
    """Check that a policy keeps the promises of `rl_sample.protocols`.

    Args:
        make_policy: makes a new policy at each call, always from the same config with a seed.
        learns: it implements `learn_on_batch`.
        saves: what it is made of can be imported by name, so that `load_policy` finds it again.

    Raises:
        AssertionError: says which promise is broken and what was seen.
    """
    policy = make_policy()
    actor, _ = policy.actor_spec().build()
    actor.load(policy.snapshot())
    _check_acting(policy, actor)
    _check_rows_are_independent(policy, actor)
    _check_same(_act(make_policy(), policy), _act(policy, policy), "two policies of one config act")
    _check_same(_act(actor, policy), _act(policy, policy), "a worker's actor and its policy act")
    if learns:
        _check_learning(make_policy)
        _check_state(make_policy)
    if saves and isinstance(policy.actor_spec(), NetActorSpec):
        with tempfile.TemporaryDirectory() as folder:
            saved = load_policy(policy.save(Path(folder) / "policy"))
        _check_same(_act(saved, policy), _act(policy, policy), "a saved policy and its source act")


def check_parity(
    definition: PolicyDefinition,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    config: Mapping[str, Any] | None = None,
    *,
    frameworks: Sequence[str] = ("torch", "tf", "tf2"),
    dtype: str = "float32",
    batch: SampleBatch | None = None,
) -> None:
    """Check that a policy's loss is the same in several frameworks.

    Equal weights and batch must give equal statistics (the loss among them), rows, gradients and,
    after one step, weights and state of the optimisers: relative to the largest entry of an array
    to 1e-4 in float32, to 1e-6 in float64 (statistics: or to a thousandth of that).

    Args:
        definition: of the policy; its networks must be drawn alike in all frameworks.
        observation_space: of one agent.
        action_space: of one agent.
        config: of the policy.
        frameworks: the first is what the others are compared with.
        dtype: "float32", or "float64" for weights and batches in double precision.
        batch: to learn on; None: a random fragment.

    Raises:
        AssertionError: says what differs, in which framework and by how much.
    """
    tolerance = {"float32": 1e-4, "float64": 1e-6}[dtype]
    found: dict[str, dict[str, Any]] = {}
    for framework in frameworks:
        with default_float(package_of(framework), dtype):
            given = {"seed": 0, **(config or {}), "framework": framework}
            policy = definition(observation_space, action_space, given)
        batch = random_fragment(policy) if batch is None else batch
        grads, learned = policy.gradients(batch)
        after = policy.learn_on_batch(batch)
        state = policy.state_dict()
        found[framework] = {
            **{f"gradient of {name}": array for name, array in grads.items()},
            **{f"statistic {name}": value for name, value in learned.stats.items()},
            **{f"statistic {name} of the step": value for name, value in after.stats.items()},
            **{f"row {name}": array for name, array in learned.rows.items()},
            **{f"stepped {name}": array for name, array in state["weights"].items()},
            **{
                f"state of {optimizer}: {name}": array
                for optimizer, arrays in state["optimizers"].items()
                for name, array in arrays.items()
            },
        }
    first, *others = frameworks
    for other in others:
        _check_close(found[first], found[other], tolerance, f"{other} against {first}, {dtype}")


def _check_close(
    expected: Mapping[str, Any], given: Mapping[str, Any], tolerance: float, where: str
) -> None:
    assert given.keys() == expected.keys(), (
        f"{where}: only one has {given.keys() ^ expected.keys()}"
    )
    for name, array in expected.items():
        one, other = np.asarray(array, np.float64), np.asarray(given[name], np.float64)
        assert one.shape == other.shape, f"{where}: {name} has shapes {one.shape}, {other.shape}"
        floor = 1e-3 if name.startswith("statistic") else 0.0  # differences of large numbers
        scale = max(np.abs(one).max(initial=0.0), floor)
        off = np.abs(one - other).max(initial=0.0)
        assert off <= tolerance * scale, f"{where}: {name} is off by {off}, its scale is {scale}"


@contextmanager
def default_float(package: str, dtype: str) -> Iterator[None]:
    """Make models in `dtype`, "float32" or "float64", by the framework's own default.

    Args:
        package: "torch" or "tf".
        dtype: a learner takes that of the weights it finds for all that it computes.
    """
    import_module(f"rl_policy.{package}")  # before the framework, which it prepares
    if package == "torch":
        torch = import_module("torch")
        before, use = torch.get_default_dtype(), torch.set_default_dtype
        given = getattr(torch, dtype)
    else:
        keras = import_module("keras").config
        before, use, given = keras.floatx(), keras.set_floatx, dtype
    use(given)
    try:
        yield
    finally:
        use(before)


def random_fragment(
    policy: Policy, *, slots: int = 4, rows: int = 8, seed: int = 0, end_every: int = 5
) -> SampleBatch:
    """What a worker would hand over: `policy` acting on random observations.

    Args:
        policy: acts with exploration and postprocesses.
        slots: trajectories side by side.
        rows: steps of each.
        seed: of observations, rewards and noise.
        end_every: each slot's episodes end after so many steps, terminated and truncated in turn.

    Returns:
        [slots * rows] rows with segments, postprocessed.
    """
    spec = policy.actor_spec()
    actor, postprocess = spec.build()
    actor.load(policy.snapshot())
    rng = np.random.default_rng(seed)
    writer, inputs = SlotWriter(slots, rows), random_inputs(policy, slots, seed)
    state: tuple[np.ndarray, ...] = initial_state(policy, slots)
    keys = noise_keys(seed, 0, np.arange(slots))
    noise = draw_noise(policy.needs.noise, keys, np.zeros(slots), rows)
    for t in range(rows):
        seen = {name: array[:, t] for name, array in noise.items()}
        acted = actor.act(inputs, state, seen, explore=True, step=0)
        rewards = rng.normal(size=slots).astype(np.float32)
        ended = (np.arange(slots) + t + 1) % end_every == 0
        terminated = ended & ((np.arange(slots) + t + 1) // end_every % 2 == 0)
        writer.put(
            {
                **inputs,
                **flatten_nested("actions", acted.actions),
                **acted.columns,
                **{f"state_in_{i}": array for i, array in enumerate(state)},
                "rewards": rewards,
                "terminateds": terminated,
                "truncateds": ended & ~terminated,
            },
            close=True,
        )
        state, inputs = acted.state, random_inputs(policy, slots, seed + t + 1)
        obs = {name: array for name, array in inputs.items() if name.split("/")[0] == "obs"}
        gone = np.flatnonzero(ended)
        if gone.size:
            last = {name: array[gone] for name, array in obs.items()}
            writer.end(gone, last, tuple(array[gone] for array in state))
            writer.eps_ids[gone] += slots
        inputs |= _history(policy, acted, rewards, ended)
        state = tuple(_cleared(array, ended) for array in state)
    return _postprocessed(writer.take(obs, state), postprocess)


def random_inputs(policy: Policy, rows: int, seed: int) -> dict[str, np.ndarray]:
    """Observations drawn from the policy's space, and zeros for the history it reads."""
    policy.observation_space.seed(seed)
    drawn = [policy.observation_space.sample() for _ in range(rows)]
    inputs = batch_obs(policy.observation_space, drawn)
    for name in list(inputs):
        if name.endswith("action_mask"):  # a random mask may allow nothing
            inputs[name] = inputs[name].copy()
            for start, _ in policy.dist_class.choices or ((0, 0),):
                inputs[name][:, start] = 1
    return inputs | policy.history_inputs(rows, None, None)


def initial_state(policy: Policy, rows: int) -> tuple[np.ndarray, ...]:
    """Recurrent state of `rows` rows at their episodes' start."""
    return tuple(np.zeros((rows, *shape), dtype) for shape, dtype in policy.needs.state)


def _history(
    policy: Policy, acted: Acted, rewards: np.ndarray, ended: np.ndarray
) -> dict[str, np.ndarray]:
    columns = policy.history_inputs(len(rewards), acted.actions, rewards)
    return {name: _cleared(array, ended) for name, array in columns.items()}


def _cleared(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    array = np.array(array)
    array[rows] = 0
    return array


def _postprocessed(batch: SampleBatch, postprocess: Any) -> SampleBatch:
    if not postprocess.per_trajectory:
        return cast(SampleBatch, postprocess(batch, {}, None))
    assert batch.segments is not None
    bounds = [0, *batch.segments.ends.tolist()]
    pieces = [postprocess(batch[a:b], {}, None) for a, b in pairwise(bounds)]
    return cast(SampleBatch, concat_samples(pieces))


def _act(actor: Actor, policy: Policy, rows: int = _ROWS, explore: bool = True) -> Acted:
    noise = draw_noise(policy.needs.noise, noise_keys(1, 0, np.arange(rows)), np.zeros(rows), 1)
    first = {name: array[:, 0] for name, array in noise.items()}
    inputs, state = random_inputs(policy, _ROWS, seed=7), initial_state(policy, rows)
    inputs = {name: array[:rows] for name, array in inputs.items()}
    return actor.act(inputs, state, first, explore=explore, step=0)


def _check_acting(policy: Policy, actor: Actor) -> None:
    for explore in (True, False):
        acted = _act(actor, policy, explore=explore)
        env_actions = [_row(acted.env_actions, i) for i in range(_ROWS)]
        for i, action in enumerate(env_actions):
            assert policy.action_space.contains(_as_space(policy.action_space, action)), (
                f"act(explore={explore}) gave row {i} the action {action!r}, which is outside "
                f"{policy.action_space}"
            )
        for name, column in acted.columns.items():
            assert len(column) == _ROWS, f"column {name} has {len(column)} rows for {_ROWS}"
        shapes = [(s.shape[1:], s.dtype) for s in acted.state]
        declared = [(tuple(shape), np.dtype(dtype)) for shape, dtype in policy.needs.state]
        assert shapes == declared, f"act gave state {shapes}, needs.state says {declared}"
    values = actor.values(random_inputs(policy, _ROWS, 7), initial_state(policy, _ROWS))
    if values is not None:
        assert values.shape == (_ROWS,), f"values gave shape {values.shape} for {_ROWS} rows"
        assert values.dtype == np.float32, f"values gave {values.dtype}, not float32"


def _check_rows_are_independent(policy: Policy, actor: Actor) -> None:
    whole, one = _act(actor, policy), _act(actor, policy, rows=1)
    first = Acted(
        _row(whole.actions, slice(0, 1)),
        None,
        tuple(s[:1] for s in whole.state),
        {name: column[:1] for name, column in whole.columns.items()},
    )
    _check_same(one._replace(env_actions=None), first, "one row alone and in a batch acts")


def _check_learning(make_policy: Callable[[], Policy]) -> None:
    policy = make_policy()
    batch = random_fragment(policy)
    before = {name: array.copy() for name, array in batch.arrays.items()}
    version = policy.version
    learned = policy.learn_on_batch(batch, step=32, epochs=2, minibatch_size=16)
    for name, value in learned.stats.items():
        assert np.isfinite(value), f"learn_on_batch gave {name} = {value}"
    for name, rows in learned.rows.items():
        assert len(rows) == batch.count, f"rows[{name!r}] has {len(rows)} rows for {batch.count}"
    assert policy.version > version, "learn_on_batch left policy.version as it was"
    assert policy.snapshot().step == 32, "snapshot().step is not the step of the last update"
    for name, array in before.items():
        kept = np.array_equal(batch.arrays[name], array, equal_nan=array.dtype.kind == "f")
        assert kept, f"learn_on_batch wrote into the batch's column {name!r}"


def _check_state(make_policy: Callable[[], Policy]) -> None:
    first, second = make_policy(), make_policy()
    batch = random_fragment(first)
    first.learn_on_batch(batch, step=32)
    second.load_state_dict(first.state_dict())
    _check_same(_act(first, first), _act(second, first), "after load_state_dict a policy acts")
    stats = [
        p.learn_on_batch(batch, step=64, epochs=2, minibatch_size=16).stats for p in (first, second)
    ]
    assert stats[0].keys() == stats[1].keys()
    for name, value in stats[0].items():
        np.testing.assert_allclose(
            value, stats[1][name], 1e-5, 1e-6, err_msg=f"{name} after load_state_dict"
        )
    third = make_policy()
    third.load(first.snapshot())
    _check_same(_act(first, first), _act(third, first), "after load(snapshot) a policy acts")


def _check_same(one: Acted, other: Acted, what: str) -> None:
    for field, a, b in zip(Acted._fields, one, other, strict=True):
        left, right = _flat(field, a), _flat(field, b)
        assert left.keys() == right.keys(), f"{what} differently: {field} has other parts"
        for name in left:
            np.testing.assert_allclose(
                left[name], right[name], 1e-4, 1e-5, err_msg=f"{what} differently: {name}"
            )


def _flat(name: str, tree: Any) -> Arrays:
    if tree is None or (isinstance(tree, tuple) and not tree):
        return {}
    if isinstance(tree, Mapping):
        parts = [_flat(f"{name}/{key}", value) for key, value in tree.items()]
        return {leaf: array for part in parts for leaf, array in part.items()}
    return flatten_nested(name, tree)


def _row(tree: Any, i: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _row(value, i) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_row(value, i) for value in tree)
    return tree[i]


def _as_space(space: Any, action: Any) -> Any:
    """NumPy scalars as the space's own samples are."""
    if isinstance(action, Mapping):
        return {key: _as_space(space[key], value) for key, value in action.items()}
    if isinstance(action, tuple):
        return tuple(_as_space(part, value) for part, value in zip(space, action, strict=True))
    return np.asarray(action, space.dtype)[()]
