"""`ParallelIterator`: the same operators on several Ray actors, gathered into one local stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle
from operator import attrgetter, methodcaller
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from uuid import uuid4

from rl_workers.flow import iterators
from rl_workers.flow.iterators import END, NOT_READY, LocalIterator, Stage, append_stage, blame

T = TypeVar("T")
U = TypeVar("U")


class Request(NamedTuple):
    """How to ask one actor for its next item."""

    name: str
    """Whom to name in errors, e.g. `worker 2`."""
    send: Callable[[], Any]
    """Makes one remote call and returns its Ray reference."""


class Shard(NamedTuple):
    """A Ray actor, how to get items from it, and what it does to each of them."""

    name: str
    actor: Any
    source: Callable[[Any], Callable[..., Any]]
    """`source(actor)` is called inside the actor and returns what gives the next item."""
    arguments: Callable[[], tuple[Any, ...]] = tuple
    """What that is called with; asked on the caller's side, once for each request."""
    stages: tuple[Stage, ...] = ()

    def request(self) -> Request:
        """Begin a run over the shard's items, with the actor's own copy of the operators."""
        import ray

        run, plan = uuid4().hex, ray.put((self.source, self.stages))

        def send() -> Any:
            return self.actor.__ray_call__.remote(_next_in_actor, run, [plan], *self.arguments())

        return Request(self.name, send)


class ParallelIterator(Generic[T]):
    """Shards of items, each on a Ray actor; operators run inside the actors.

    Lazy: nothing is asked for before a gathered iterator is. Each gather has its own copies of the
    operators.
    """

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._shards = tuple(shards)
        if not self._shards:
            raise ValueError("a ParallelIterator needs at least one shard, none was given")

    def for_each(self, operator: Callable[[T], U]) -> ParallelIterator[U]:
        """Replace each item by `operator(item)`."""
        return self._append("for_each", operator)

    def filter(self, predicate: Callable[[T], bool]) -> ParallelIterator[T]:
        """Keep the items for which `predicate(item)` holds."""
        return self._append("filter", predicate)

    def combine(self, operator: Callable[[T], Iterable[U]]) -> ParallelIterator[U]:
        """Replace each item by those of `operator(item)`: none, one or many."""
        return self._append("combine", operator)

    def batch(self, n: int) -> ParallelIterator[list[T]]:
        """Lists of `n` items of the same shard."""
        return self._append("combine", iterators.Batch(n))

    def flatten(self) -> ParallelIterator[Any]:
        """Each element of each item."""
        return self._append("combine", iterators.flatten)

    def union(self, *others: ParallelIterator[Any]) -> ParallelIterator[Any]:
        """The shards of all iterators, each with its own operators."""
        return ParallelIterator(s for iterator in (self, *others) for s in iterator._shards)

    def num_shards(self) -> int:
        """How many shards there are."""
        return len(self._shards)

    def shards(self) -> list[LocalIterator[T]]:
        """One local iterator for each shard."""
        return [LocalIterator(InRounds([shard.request()])).flatten() for shard in self._shards]

    def batch_across_shards(self) -> LocalIterator[list[T]]:
        """Lists with one item of every shard that has not ended, in shard order."""
        return LocalIterator(InRounds([shard.request() for shard in self._shards]))

    def gather_sync(self) -> LocalIterator[T]:
        """One item of every shard in shard order, then the next round: deterministic."""
        return self.batch_across_shards().flatten()

    def gather_async(self, num_async: int = 1) -> LocalIterator[T]:
        """Items as they come, with `num_async` requests in flight to each shard."""
        return LocalIterator(AsReady([shard.request() for shard in self._shards], num_async))

    def take(self, n: int) -> list[T]:
        """The first `n` items of a new `gather_sync()`."""
        return self.gather_sync().take(n)

    def show(self, n: int = 20) -> None:
        """Print the first `n` items of a new `gather_sync()`."""
        self.gather_sync().show(n)

    def describe(self) -> str:
        """The plan as a picture: each shard and below it the operators that run on it."""
        lines = []
        for shard in self._shards:
            lines += [shard.name, *(f"├─ {stage}" for stage in shard.stages)]
        return "\n".join(lines)

    __str__ = __repr__ = describe

    def _append(
        self, kind: Literal["for_each", "filter", "combine"], operator: Any
    ) -> ParallelIterator[Any]:
        return ParallelIterator[Any](
            shard._replace(stages=append_stage(shard.stages, kind, operator))
            for shard in self._shards
        )


def from_actors(actors: Sequence[Any], method: str = "next") -> ParallelIterator[Any]:
    """Iterate over what Ray actors give.

    Args:
        actors: handles; each is a shard.
        method: name of the actors' method that returns the next item or raises StopIteration.
    """
    return ParallelIterator(
        Shard(f"shard {i} ({method}() of an actor)", actor, attrgetter(method))
        for i, actor in enumerate(actors)
    )


def from_items(
    items: Iterable[T], num_shards: int = 2, *, repeat: bool = False
) -> ParallelIterator[T]:
    """Deal items out to `num_shards` new Ray actors; `repeat` starts over without end."""
    import ray

    if num_shards < 1:
        raise ValueError(f"num_shards must be at least 1, not {num_shards}")
    everything = list(items)
    hands = [everything[i::num_shards] for i in range(num_shards)]
    make = ray.remote(_Items).options(num_cpus=0).remote
    return ParallelIterator(
        Shard(f"shard {i} ({len(hand)} items)", make(hand, repeat), methodcaller("start"))
        for i, hand in enumerate(hands)
    )


class InRounds:
    """Source of lists with one item of every actor that has not ended, in order.

    When an actor fails, what the others gave in this round is kept, and the next call asks only
    those that have not answered.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = tuple(requests)
        self._active = list(range(len(self.requests)))
        self._calls: dict[int, Any] = {}

    def __call__(self) -> Any:
        for i in self._active:
            if i not in self._calls:
                self._calls[i] = self.requests[i].send()
        items: dict[int, Any] = {}
        for i in self._active:
            try:
                items[i] = _get(self._calls[i], self.requests[i].name)
            except Exception:
                del self._calls[i]
                raise
        self._calls.clear()
        self._active = [i for i in self._active if items[i] is not END]
        if not self._active:
            raise StopIteration
        return [items[i] for i in self._active if items[i] is not NOT_READY] or NOT_READY

    def __repr__(self) -> str:
        return f"in rounds: {', '.join(request.name for request in self.requests)}"


class AsReady:
    """Source of items as they come, the same number of requests in flight to each actor.

    Items of one actor keep their order. An actor is asked again before its item is handed out, so
    that it need not idle meanwhile.
    """

    def __init__(self, requests: Sequence[Request], num_async: int = 1) -> None:
        if num_async < 1:
            raise ValueError(f"num_async is requests in flight per actor, at least 1: {num_async}")
        self.requests = tuple(requests)
        self.num_async = num_async
        self._active = list(range(len(self.requests)))
        """Actors that have not ended, those served last at the back."""
        self._calls: list[deque[Any]] = [deque() for _ in self.requests]
        """References in flight to each actor, the oldest first."""

    def __call__(self) -> Any:
        import ray

        while self._active:
            self._send()
            oldest = {self._calls[i][0]: i for i in self._active}
            (call,), _ = ray.wait(list(oldest), num_returns=1)
            i = oldest[call]
            self._calls[i].popleft()
            self._active.remove(i)
            self._active.append(i)
            item = _get(call, self.requests[i].name)
            if item is not END:
                self._send()
                return item
            self._active.remove(i)
        raise StopIteration

    def __repr__(self) -> str:
        names = ", ".join(request.name for request in self.requests)
        return f"as ready, {self.num_async} in flight each: {names}"

    def _send(self) -> None:
        for i in self._active:
            while len(self._calls[i]) < self.num_async:
                self._calls[i].append(self.requests[i].send())


class _Items:
    """The actor behind a shard of `from_items`."""

    def __init__(self, items: list[Any], repeat: bool) -> None:
        self.items = items
        self.repeat = repeat

    def start(self) -> Callable[[], Any]:
        return iter(cycle(self.items) if self.repeat else self.items).__next__


class _Run:
    """A shard's side of one gather; lives in its actor."""

    def __init__(self, pull: Callable[..., Any], stages: tuple[Stage, ...]) -> None:
        self.arguments: tuple[Any, ...] = ()
        self.iterator = LocalIterator[Any](lambda: pull(*self.arguments), stages)
        self.ended = False

    def next(self, arguments: tuple[Any, ...]) -> Any:
        self.arguments = arguments
        item = END if self.ended else next(self.iterator, END)
        self.ended = item is END
        return item


def _next_in_actor(actor: Any, run: str, plan: list[Any], *arguments: Any) -> Any:
    """Runs inside the actor; `plan`, a reference in a list, is fetched once per run."""
    import ray

    runs = actor.__dict__.setdefault("_flow_runs", {})
    if run not in runs:
        source, stages = ray.get(plan[0])
        runs[run] = _Run(source(actor), stages)
    return runs[run].next(arguments)


def _get(call: Any, name: str) -> Any:
    import ray

    try:
        return ray.get(call)
    except Exception as error:
        blame(error, f"from {name}")
        raise
