"""`LocalIterator`: a source and a flat row of operators, one stack frame however long the row."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Generic, Literal, NamedTuple, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class _Signal(Enum):
    """Items that mean something to iterators; members keep their identity through pickling."""

    NOT_READY = "no value now, ask again"
    END = "there are no more values"

    def __repr__(self) -> str:
        return self.name


NOT_READY: Any = _Signal.NOT_READY
"""What an iterator yields when it has no value now; no operator is ever called with it."""
END: Any = _Signal.END
"""What a shard answers, across processes, when it has no more values."""


class Stage(NamedTuple):
    """One operator of a plan, and what becomes of what it returns."""

    kind: Literal["for_each", "filter", "combine"]
    operator: Callable[[Any], Any]

    def __str__(self) -> str:
        return f"{self.kind:<9} {describe_operator(self.operator)}"


class LocalIterator(Generic[T]):
    """Items of `source`, each sent through the same operators, one after the other.

    An item is worked on only when the next value is asked for, in a plain loop: `__next__` calls
    the source and then each operator directly, so that a debugger that steps into it sees the
    whole plan. After an exception the failed item is gone and the next call goes on.
    """

    def __init__(self, source: Callable[[], Any], stages: Iterable[Stage] = ()) -> None:
        """Iterate over what `source()` returns, until it raises StopIteration."""
        if not callable(source):
            raise TypeError(
                f"a LocalIterator's source is called for each item, {type(source).__name__} is not "
                "callable; for the items of a collection use LocalIterator.from_items(items)"
            )
        self.source = source
        self.stages = tuple(stages)
        self._waiting: list[tuple[int, Any]] = []
        """(number of stages passed, item), the next one last: what `combine` gave in surplus."""

    @classmethod
    def from_items(cls, items: Iterable[T]) -> LocalIterator[T]:
        """Iterate over a collection."""
        return LocalIterator(iter(items).__next__)

    def for_each(self, operator: Callable[[T], U]) -> LocalIterator[U]:
        """Replace each item by `operator(item)`."""
        return self._append("for_each", operator)

    def filter(self, predicate: Callable[[T], bool]) -> LocalIterator[T]:
        """Keep the items for which `predicate(item)` holds."""
        return self._append("filter", predicate)

    def combine(self, operator: Callable[[T], Iterable[U]]) -> LocalIterator[U]:
        """Replace each item by those of `operator(item)`: none, one or many."""
        return self._append("combine", operator)

    def batch(self, n: int) -> LocalIterator[list[T]]:
        """Lists of `n` items."""
        return self._append("combine", Batch(n))

    def flatten(self) -> LocalIterator[Any]:
        """Each element of each item."""
        return self._append("combine", flatten)

    def union(self, *others: LocalIterator[Any]) -> LocalIterator[Any]:
        """Items of all iterators in turn; those that are not ready or have ended are passed by."""
        return LocalIterator(RoundRobin([self, *others]))

    def __iter__(self) -> LocalIterator[T]:
        return self

    def __next__(self) -> T:
        stages, waiting = self.stages, self._waiting
        while True:
            position, item = waiting.pop() if waiting else (0, self.source())
            while position < len(stages) and item is not NOT_READY:
                kind, operator = stages[position]
                position += 1
                try:
                    result = operator(item)
                    pieces = list(result) if kind == "combine" else ()
                except StopIteration as error:
                    raise RuntimeError(f"{describe_operator(operator)} raised {error!r}") from error
                except Exception as error:
                    blame(error, f"in operator {position}: {describe_operator(operator)}")
                    raise
                if kind == "for_each":
                    item = result
                elif kind == "combine":
                    waiting.extend([(position, piece) for piece in reversed(pieces)])
                    break
                elif not result:
                    break
            else:
                return item  # type: ignore[no-any-return]

    def take(self, n: int) -> list[T]:
        """The next `n` items, fewer if the source ends."""
        taken: list[T] = []
        while len(taken) < n:
            item = next(self, END)
            if item is END:
                break
            if item is not NOT_READY:
                taken.append(item)
        return taken

    def show(self, n: int = 20) -> None:
        """Print the next `n` items."""
        for item in self.take(n):
            print(item)

    def describe(self) -> str:
        """The plan as a picture: the source, and below it each operator in order."""
        lines = describe_operator(self.source).splitlines()
        lines += [f"├─ {stage}" for stage in self.stages[:-1]]
        lines += [f"└─ {stage}" for stage in self.stages[-1:]]
        return "\n".join(lines)

    __str__ = __repr__ = describe

    def state_dict(self) -> dict[str, Any]:
        """State of the source and of the operators that have one, and the items still waiting."""
        parts = {name: part.state_dict() for name, part in self._stateful().items()}
        return {"parts": parts, "waiting": list(self._waiting)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken.

        Raises:
            ValueError: the state is that of a plan with other operators.
        """
        stateful = self._stateful()
        if stateful.keys() != state["parts"].keys():
            raise ValueError(
                f"the state is that of another plan: it has {sorted(state['parts'])}, "
                f"this plan has {sorted(stateful)}"
            )
        for name, part in stateful.items():
            part.load_state_dict(state["parts"][name])
        self._waiting[:] = [(position, item) for position, item in state["waiting"]]

    def _append(
        self, kind: Literal["for_each", "filter", "combine"], operator: Any
    ) -> LocalIterator[Any]:
        appended = LocalIterator[Any](self.source, append_stage(self.stages, kind, operator))
        # What was produced but not yet handed out moves along, so that it is neither lost nor seen
        # twice; source and operators are shared.
        appended._waiting, self._waiting = self._waiting, []
        return appended

    def _stateful(self) -> dict[str, Any]:
        parts = [self.source, *(stage.operator for stage in self.stages)]
        return {
            f"{i}:{operator_name(part)}": part
            for i, part in enumerate(parts)
            if hasattr(part, "state_dict") and hasattr(part, "load_state_dict")
        }


class Batch:
    """Collects items into lists of `n`."""

    def __init__(self, n: int) -> None:
        if n < 1:
            raise ValueError(f"batch(n) makes lists of n items, n must be at least 1, not {n}")
        self.n = n
        self.items: list[Any] = []

    def __call__(self, item: Any) -> list[list[Any]]:
        self.items.append(item)
        if len(self.items) < self.n:
            return []
        full, self.items = self.items, []
        return [full]

    def __repr__(self) -> str:
        return f"batch({self.n})"

    def state_dict(self) -> dict[str, Any]:
        return {"items": list(self.items)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.items = list(state["items"])


class RoundRobin:
    """Source that asks several iterators in turn; it ends when all of them have ended."""

    def __init__(self, iterators: Iterable[LocalIterator[Any]]) -> None:
        self.iterators = list(iterators)
        self.active = list(range(len(self.iterators)))
        """Iterators that have not ended, the one to be asked next first."""

    def __call__(self) -> Any:
        for _ in range(len(self.active)):
            index = self.active.pop(0)
            try:
                item = next(self.iterators[index])
            except StopIteration:
                continue
            except Exception:
                self.active.append(index)
                raise
            self.active.append(index)
            if item is not NOT_READY:
                return item
        if self.active:
            return NOT_READY
        raise StopIteration

    def __repr__(self) -> str:
        pictures = [iterator.describe().splitlines() for iterator in self.iterators]
        lines = [f"│    {line}" for picture in pictures for line in picture]
        return "\n".join(["union", *lines])

    def state_dict(self) -> dict[str, Any]:
        states = [iterator.state_dict() for iterator in self.iterators]
        return {"active": list(self.active), "iterators": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for iterator, part in zip(self.iterators, state["iterators"], strict=True):
            iterator.load_state_dict(part)
        self.active = list(state["active"])


def append_stage(
    stages: tuple[Stage, ...], kind: Literal["for_each", "filter", "combine"], operator: Any
) -> tuple[Stage, ...]:
    """The stages with one more.

    Raises:
        TypeError: the operator cannot be called.
    """
    if not callable(operator):
        raise TypeError(
            f"{kind}() takes a callable of one item, not {operator!r}; "
            "a class of operator must be instantiated first, a function given without ()"
        )
    return (*stages, Stage(kind, operator))


def flatten(item: Iterable[Any]) -> Iterable[Any]:
    """Each element of an item."""
    return item


def operator_name(operator: Any) -> str:
    """`ConcatBatches` for an operator object, the qualified name of a function."""
    while isinstance(operator, functools.partial):
        operator = operator.func
    return getattr(operator, "__qualname__", type(operator).__name__)


def describe_operator(operator: Any) -> str:
    """An operator as a plan's picture and its errors show it."""
    code = getattr(operator, "__code__", None)
    if code is not None and code.co_name == "<lambda>":
        return f"lambda, {code.co_filename}:{code.co_firstlineno}"
    plain = isinstance(operator, functools.partial) or repr(operator).startswith("<")
    return operator_name(operator) if plain else repr(operator)


def blame(error: BaseException, culprit: str) -> None:
    """Add a line to an error that says where it came from; its type stays."""
    if hasattr(error, "add_note"):
        error.add_note(culprit)
        return
    # Python 3.10 prints no notes, so that the message carries them where there is one.
    vars(error).setdefault("__notes__", []).append(culprit)
    if error.args and isinstance(error.args[0], str):
        error.args = (f"{error.args[0]}\n{culprit}", *error.args[1:])
