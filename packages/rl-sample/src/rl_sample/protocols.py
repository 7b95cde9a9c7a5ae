"""Where the packages meet: the data that passes between them and the interfaces they call.

Typing and NumPy only. Everything here is structural: a class satisfies a protocol by having its
methods, never by inheriting. Letters: `B` rows, `T` time, `S` slots, `K` segments, `O` observation,
`A` action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from rl_sample.batch import SampleBatch
    from rl_sample.multi_agent import MultiAgentBatch

Arrays: TypeAlias = Mapping[str, np.ndarray]
"""Columns by name; nested spaces flatten to names such as `obs/position/x`."""

AgentID: TypeAlias = Any
PolicyID: TypeAlias = str
Shape: TypeAlias = tuple[int, ...]
NoiseSpec: TypeAlias = Mapping[str, tuple[Literal["uniform", "normal"], Shape]]

DEFAULT_POLICY_ID = "default_policy"


class Segments(NamedTuple):
    """Where the trajectory pieces of a batch end, and what came after each of them.

    Rows `ends[k-1]:ends[k]` are one piece: consecutive steps of one agent in one episode.
    """

    ends: np.ndarray
    """[K] int64, the row after each piece's last one; rising, the last equals the row count."""
    last_obs: Arrays
    """{name: [K, …]} the true observation after each piece's last row."""
    last_state: tuple[np.ndarray, ...] = ()
    """[K, …] each, the recurrent state after each piece's last row."""
    bootstrap: np.ndarray | None = None
    """[K] float32 value of `last_obs` where a piece did not terminate, else 0; None: not asked."""


class Needs(NamedTuple):
    """What a policy asks of the sampler; declared, never probed with dummy batches."""

    act: Mapping[str, tuple[str, tuple[int, ...]]] = {}
    """{input: (column, offsets)}: `{"prev_actions": ("actions", (-1,))}`; `obs` always comes."""
    learn: frozenset[str] = frozenset()
    """Columns the loss wants beside those always collected: `new_obs`, `infos`."""
    state: tuple[tuple[Shape, Any], ...] = ()
    """(shape, dtype) of each recurrent state array of one row; zero at an episode's start."""
    max_seq_len: int | None = None
    """Longest sequence a recurrent policy learns on; None: it is not recurrent."""
    noise: NoiseSpec = {}
    """Noise that `act` takes, per row."""
    learn_noise: NoiseSpec = {}
    """Noise that the learner puts into columns `noise/<name>` before each loss."""


class Snapshot(NamedTuple):
    """All that acting needs to know of a policy's parameters, one unit, copied."""

    version: int
    step: int
    """Lifetime environment steps at publication."""
    arrays: Arrays
    """Net weights (`net/…`) and filter statistics (`filter/…`)."""


class Acted(NamedTuple):
    """What an actor decided for `B` rows."""

    actions: Any
    """[B, A] raw actions, for the loss; a nested dict/tuple of arrays for nested spaces."""
    env_actions: Any
    """The same, mapped into the environment's action space."""
    state: tuple[np.ndarray, ...]
    """Recurrent state after this step, [B, …] each."""
    columns: Arrays
    """What else the batch stores, [B, …] each, e.g. `action_dist_inputs`."""


class Learned(NamedTuple):
    """What one call to a learner gave."""

    stats: dict[str, float]
    rows: Arrays = {}
    """Per-row arrays in batch order, [B, …] each, e.g. `td_error`."""


class EpisodeRecord(NamedTuple):
    """One finished episode."""

    eps_id: int
    env_id: int
    worker: int
    length: int
    """Environment steps."""
    returns: Mapping[AgentID, float]
    """Undiscounted sum of raw rewards per agent; a single agent is called `"agent"`."""
    policies: Mapping[AgentID, PolicyID] = {}
    custom: Mapping[str, float] = {}
    terminated: bool = True
    """False: the episode was truncated."""


class Fragment(NamedTuple):
    """What a worker hands over in one piece."""

    batch: SampleBatch | MultiAgentBatch
    episodes: list[EpisodeRecord]
    filter_deltas: Mapping[PolicyID, Arrays]
    timings: dict[str, float]
    """Seconds spent in `env`, `inference`, `write` and `wait` for this fragment."""
    worker: int


class Actor(Protocol):
    """All that a sampler or a policy server may call."""

    needs: Needs
    version: int

    def act(
        self,
        inputs: Arrays,
        state: tuple[np.ndarray, ...],
        noise: Arrays,
        *,
        explore: bool,
        step: int,
    ) -> Acted:
        """Decide for `B` rows: `inputs` [B, …] raw observations and what `needs.act` names."""

    def values(self, inputs: Arrays, state: tuple[np.ndarray, ...]) -> np.ndarray | None:
        """Value estimates, [B] float32, for bootstrapping; None without a value output."""

    def load(self, snapshot: Snapshot) -> None:
        """Take new parameters; only ever called between fragments."""

    def filter_delta(self, inputs: Arrays) -> Arrays:
        """What these raw observations add to the filter's statistics; pure, {} without a filter."""


class Postprocess(Protocol):
    """Turns sampled rows into rows to learn on, in the worker."""

    per_trajectory: bool
    """True: called once per trajectory piece; False: once per fragment and policy (vectorised)."""

    def __call__(
        self,
        batch: SampleBatch,
        others: Mapping[AgentID, tuple[PolicyID, SampleBatch]],
        episode: EpisodeRecord | None,
    ) -> SampleBatch: ...


class ActorSpec(Protocol):
    """How to build an actor elsewhere; plain data that travels to Ray workers and servers."""

    def build(
        self, engine: str = "auto", *, worker_index: int = 0, num_workers: int = 0
    ) -> tuple[Actor, Postprocess]: ...


class PolicyTable(NamedTuple):
    """Which policies there are, and which agent plays which."""

    revision: int
    specs: Mapping[PolicyID, ActorSpec]
    mapping_fn: Callable[..., PolicyID]
    """`mapping_fn(agent_id, eps_id, worker_index)`, asked once per agent and episode."""
    to_train: frozenset[PolicyID]


class Learner(Protocol):
    """What flow's train operators and rl-algos call."""

    needs: Needs
    version: int
    coeffs: MutableMapping[str, float]

    def learn_on_batch(
        self,
        batch: SampleBatch,
        *,
        step: int | None = None,
        epochs: int = 1,
        minibatch_size: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> Learned: ...

    def gradients(
        self, batch: SampleBatch, *, step: int | None = None
    ) -> tuple[Arrays, Learned]: ...

    def apply(self, grads: Arrays) -> None: ...

    def update_target(self, tau: float = 1.0) -> None: ...

    def merge_filters(self, deltas: Sequence[Arrays]) -> None: ...

    def snapshot(self) -> Snapshot: ...

    def actor_spec(self) -> ActorSpec: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class InputReader(Protocol):
    """A source of experience: a sampler, a dataset file, a policy server."""

    def next(self, timeout_s: float | None = None) -> Fragment | None: ...

    def publish(self, snapshots: Mapping[PolicyID, Snapshot]) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """Where it is between two fragments: nested dicts and lists of JSON values and arrays."""

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Go on where `state` was taken; a line for each open episode that cannot."""

    def committed(self, step: int) -> None: ...

    def close(self) -> None: ...
