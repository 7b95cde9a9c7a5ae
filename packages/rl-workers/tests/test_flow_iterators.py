"""LocalIterator: order, laziness, errors, state, and what it costs."""

from __future__ import annotations

import pickle
import sys
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_workers.flow import NOT_READY, LocalIterator


def numbers(n=10):
    return LocalIterator.from_items(range(n))


def test_operators_work_in_the_order_they_were_added():
    plan = numbers().for_each(lambda x: x + 1).filter(lambda x: x % 2 == 0).for_each(str)
    assert list(plan) == ["2", "4", "6", "8", "10"]


def test_combine_gives_none_one_or_many_in_order():
    plan = numbers(4).combine(lambda x: [x] * x).combine(lambda x: [x, -x])
    assert list(plan) == [1, -1, 2, -2, 2, -2, 3, -3, 3, -3, 3, -3]


def test_batch_and_flatten_undo_each_other_on_full_batches():
    assert list(numbers(7).batch(3)) == [[0, 1, 2], [3, 4, 5]]
    assert list(numbers(6).batch(3).flatten()) == [0, 1, 2, 3, 4, 5]


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=6))
def test_a_chain_equals_nested_comprehensions(lists):
    plan = (
        LocalIterator.from_items(lists).flatten().filter(lambda x: x % 3).combine(lambda x: (x, x))
    )
    assert list(plan) == [x for xs in lists for y in xs if y % 3 for x in (y, y)]


def test_items_are_worked_on_only_when_asked_for():
    seen = []
    plan = numbers().for_each(lambda x: seen.append(x) or x)
    assert seen == []
    assert plan.take(2) == [0, 1]
    assert seen == [0, 1]


def test_appending_returns_a_new_iterator_and_moves_what_is_waiting():
    doubled = numbers(3).combine(lambda x: [x, x])
    assert next(doubled) == 0
    strings = doubled.for_each(str)
    assert list(strings) == ["0", "1", "1", "2", "2"]
    assert list(doubled) == []


def test_take_stops_at_the_end_and_show_prints(capsys):
    assert numbers(2).take(5) == [0, 1]
    numbers(3).show(2)
    assert capsys.readouterr().out == "0\n1\n"


def test_not_ready_is_passed_on_and_skipped_by_take():
    answers = iter([1, NOT_READY, 2])
    plan = LocalIterator(answers.__next__).for_each(lambda x: x * 10).filter(bool).batch(1)
    assert list(plan) == [[10], NOT_READY, [20]]
    plan = LocalIterator(iter([1, NOT_READY, 2]).__next__)
    assert plan.take(2) == [1, 2]


def test_an_operator_may_say_not_ready():
    plan = numbers(3).for_each(lambda x: x if x == 2 else NOT_READY).for_each(lambda x: x + 1)
    assert list(plan) == [NOT_READY, NOT_READY, 3]


def test_not_ready_is_the_same_in_another_process():
    assert pickle.loads(pickle.dumps(NOT_READY)) is NOT_READY
    assert repr(NOT_READY) == "NOT_READY"


class Inverse:
    def __call__(self, x):
        return 1 / x

    def __repr__(self):
        return "Inverse()"


def test_an_error_names_its_operator_and_the_next_call_goes_on():
    plan = LocalIterator.from_items([1, 0, 2]).for_each(float).for_each(Inverse())
    assert next(plan) == 1.0
    with pytest.raises(ZeroDivisionError) as caught:
        next(plan)
    text = "".join(traceback.format_exception_only(type(caught.value), caught.value))
    assert "in operator 2: Inverse()" in text
    assert next(plan) == 0.5
    with pytest.raises(StopIteration):
        next(plan)


def test_errors_of_a_source_leave_the_plan_usable():
    answers = iter([1, ValueError("cable unplugged"), 2])

    def source():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    plan = LocalIterator(source).for_each(lambda x: x)
    assert next(plan) == 1
    with pytest.raises(ValueError, match="cable unplugged"):
        next(plan)
    assert list(plan) == [2]


def test_a_stop_iteration_inside_an_operator_is_an_error_not_an_end():
    plan = numbers().for_each(lambda x: next(iter([])))
    with pytest.raises(RuntimeError, match=r"lambda, .*test_flow_iterators.py:\d+ raised StopIter"):
        next(plan)


def test_combine_names_the_operator_that_gives_nothing_iterable():
    plan = numbers().combine(Inverse()).for_each(str)
    assert next(numbers(3).combine(str)) == "0"
    with pytest.raises(ZeroDivisionError):
        next(plan)
    with pytest.raises(TypeError, match="not iterable") as caught:
        next(plan)
    assert caught.value.__notes__ == ["in operator 1: Inverse()"]


def test_what_is_not_callable_is_refused_at_once():
    with pytest.raises(TypeError, match="use LocalIterator.from_items"):
        LocalIterator([1, 2])
    with pytest.raises(TypeError, match="for_each.. takes a callable of one item, not 3"):
        numbers().for_each(3)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        numbers().batch(0)


@pytest.mark.parametrize("length", [1, 50])
def test_a_chain_of_any_length_costs_one_stack_frame(length):
    def depth(_):
        frame, frames = sys._getframe(), 0
        while frame:
            frame, frames = frame.f_back, frames + 1
        return frames

    plan = numbers()
    for _ in range(length):
        plan = plan.for_each(lambda x: x)
    here = depth(None)
    assert next(plan.for_each(depth)) == here + 1


def test_union_asks_in_turn_and_passes_by_what_is_not_ready_or_over():
    slow = LocalIterator(iter([NOT_READY, "a", NOT_READY, NOT_READY, "b"]).__next__)
    plan = numbers(3).union(slow)
    assert plan.take(10) == [0, 1, "a", 2, "b"]


def test_union_goes_on_after_an_error_in_one_of_its_iterators():
    plan = LocalIterator.from_items([0, 1]).for_each(Inverse()).union(numbers(2))
    with pytest.raises(ZeroDivisionError):
        next(plan)
    assert list(plan) == [0, 1.0, 1]


def test_union_is_not_ready_when_none_of_its_iterators_is():
    waiting = LocalIterator(lambda: NOT_READY)
    assert next(waiting.union(waiting)) is NOT_READY


class RunningSum:
    def __init__(self):
        self.sum = 0

    def __call__(self, x):
        self.sum += x
        return self.sum

    def state_dict(self):
        return {"sum": self.sum}

    def load_state_dict(self, state):
        self.sum = state["sum"]


def test_state_covers_operators_and_waiting_items():
    def plan(items):
        return LocalIterator.from_items(items).for_each(RunningSum()).batch(2).flatten()

    first = plan([1, 2, 3, 4])
    assert first.take(1) == [1]
    state = first.state_dict()
    assert state["parts"] == {"1:RunningSum": {"sum": 3}, "2:Batch": {"items": []}}
    second = plan([3, 4])
    second.load_state_dict(state)
    assert list(second) == list(first) == [3, 6, 10]


def test_state_of_another_plan_is_refused():
    with pytest.raises(ValueError, match=r"has \['1:RunningSum'\], this plan has \['1:Batch'\]"):
        numbers().batch(2).load_state_dict(numbers().for_each(RunningSum()).state_dict())


def test_state_of_a_union_goes_on_with_whose_turn_it_is():
    def plan(start):
        sums = LocalIterator.from_items(range(start, 5)).for_each(RunningSum())
        return sums.union(LocalIterator.from_items("abcde"[start:]))

    first, second = plan(0), plan(2)
    assert first.take(3) == [0, "a", 1]
    assert first.take(1) == ["b"]
    second.load_state_dict(first.state_dict())
    assert list(second) == [3, "c", 6, "d", 10, "e"]


def test_a_plan_prints_as_a_picture():
    plan = numbers().batch(2).for_each(Inverse()).filter(bool)
    first, *rest = str(plan).splitlines()
    assert "range_iterator" in first
    assert rest == ["├─ combine   batch(2)", "├─ for_each  Inverse()", "└─ filter    bool"]
    assert "│    └─ filter    bool" in str(plan.union(numbers()))
