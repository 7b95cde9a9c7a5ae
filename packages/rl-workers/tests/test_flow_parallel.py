"""ParallelIterator over real Ray actors."""

from __future__ import annotations

import pytest

from rl_workers.flow import NOT_READY, LocalIterator, ParallelIterator, from_actors, from_items

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def actors(ray_cluster):
    """Two actors that count; starting one takes a second, so all tests share them."""

    class Counter:
        def reset(self, start, stop):
            self.numbers = iter(range(start, start + stop))

        def next(self):
            return next(self.numbers)

        def flaky(self):
            number = next(self.numbers)
            if number % 10 == 1:
                raise ValueError(f"lost {number}")
            return number

    make = ray_cluster.remote(num_cpus=0)(Counter).remote
    return [make(), make()]


@pytest.fixture
def make_actors(ray_cluster, actors):
    """Actors whose `next` counts up from 10 x their index to `stop` numbers, then ends."""

    def make(*stops):
        chosen = actors[: len(stops)]
        resets = [a.reset.remote(10 * i, stops[i]) for i, a in enumerate(chosen)]
        ray_cluster.get(resets)
        return chosen

    return make


@pytest.fixture(scope="module")
def eight(ray_cluster):
    """0 … 7 on two shards; every gather begins anew."""
    return from_items(range(8), num_shards=2)


def test_items_are_dealt_out_and_gathered_in_order():
    numbers = from_items(range(7), num_shards=3)
    assert numbers.num_shards() == 3
    assert list(numbers.batch_across_shards()) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(numbers.gather_sync()) == [0, 1, 2, 3, 4, 5, 6]
    assert numbers.take(4) == [0, 1, 2, 3]
    assert [list(shard) for shard in numbers.shards()] == [[0, 3, 6], [1, 4], [2, 5]]


def test_operators_run_inside_the_shards(eight):
    plan = (
        eight.for_each(lambda x: x + 10)
        .filter(lambda x: x != 14)
        .combine(lambda x: [x, -x])
        .batch(2)
    )
    assert plan.take(4) == [[10, -10], [11, -11], [12, -12], [13, -13]]
    assert list(plan.flatten().shards()[0]) == [10, -10, 12, -12, 16, -16]


def test_each_gather_starts_with_fresh_operators(eight):
    plan = eight.batch(3)
    assert list(plan.gather_sync()) == [[0, 2, 4], [1, 3, 5]]
    assert list(plan.gather_sync()) == [[0, 2, 4], [1, 3, 5]]


def test_repeat_never_ends():
    assert from_items([1, 2], num_shards=1, repeat=True).take(5) == [1, 2, 1, 2, 1]


def test_gather_async_gives_every_item_of_every_shard_in_its_order(eight):
    items = list(eight.gather_async(num_async=3))
    assert sorted(items) == list(range(8))
    assert [x for x in items if x % 2] == [1, 3, 5, 7]


def test_gather_async_keeps_num_async_requests_in_flight(make_actors):
    plan = from_actors(make_actors(5, 5)).gather_async(num_async=2)
    next(plan)
    assert [len(calls) for calls in plan.source._calls] == [2, 2]


def test_actors_are_asked_by_the_method_that_is_named(make_actors):
    assert list(from_actors(make_actors(2, 3)).gather_sync()) == [0, 10, 1, 11, 12]
    assert from_actors(make_actors(1), method="flaky").take(2) == [0]


def test_union_keeps_the_operators_of_each(make_actors):
    first, second = make_actors(2, 2)
    plan = from_actors([first]).for_each(str).union(from_actors([second]))
    assert list(plan.gather_sync()) == ["0", 10, "1", 11]


def test_one_failing_shard_is_named_and_costs_the_others_nothing(make_actors):
    plan = from_actors(make_actors(3, 3), method="flaky").batch_across_shards()
    assert next(plan) == [0, 10]
    with pytest.raises(ValueError, match="lost 1") as caught:
        next(plan)
    assert caught.value.__notes__ == ["from shard 0 (flaky() of an actor)"]
    with pytest.raises(ValueError, match="lost 11"):
        next(plan)
    assert next(plan) == [2, 12]


def test_gather_async_goes_on_after_an_error(make_actors):
    plan = from_actors(make_actors(3), method="flaky").gather_async()
    assert next(plan) == 0
    with pytest.raises(ValueError, match="lost 1"):
        next(plan)
    assert list(plan) == [2]


def test_an_error_inside_a_shard_names_the_operator(eight):
    class Inverse:
        def __call__(self, x):
            return 1 / x

        def __repr__(self):
            return "Inverse()"

    plan = eight.for_each(Inverse()).shards()[0]
    with pytest.raises(ZeroDivisionError) as caught:
        next(plan)
    assert "in operator 1: Inverse()" in str(caught.value)
    assert next(plan) == 0.5


def test_not_ready_comes_through(eight):
    plan = eight.for_each(lambda x: x if x > 4 else NOT_READY)
    assert list(plan.batch_across_shards()) == [NOT_READY, NOT_READY, [5], [6, 7]]
    assert sorted(x for x in plan.gather_async() if x is not NOT_READY) == [5, 6, 7]
    assert plan.take(1) == [5]


def test_gathered_iterators_are_local_iterators(eight):
    plan = eight.for_each(lambda x: x * x).gather_sync().batch(4)
    assert isinstance(plan, LocalIterator)
    assert list(plan) == [[0, 1, 4, 9], [16, 25, 36, 49]]


def test_bad_arguments_are_refused_at_once(make_actors):
    with pytest.raises(ValueError, match="at least one shard"):
        ParallelIterator([])
    with pytest.raises(ValueError, match="num_shards must be at least 1, not 0"):
        from_items([1], num_shards=0)
    with pytest.raises(ValueError, match="num_async is requests in flight per actor"):
        from_actors(make_actors(1)).gather_async(num_async=0)
    with pytest.raises(TypeError, match="for_each.. takes a callable"):
        from_actors(make_actors(1)).for_each("print")


def test_the_picture_shows_each_shard(make_actors, capsys):
    plan = from_actors(make_actors(2)).for_each(str)
    assert str(plan) == "shard 0 (next() of an actor)\n├─ for_each  str"
    assert str(plan.gather_async()) == "as ready, 1 in flight each: shard 0 (next() of an actor)"
    plan.show(2)
    assert capsys.readouterr().out == "0\n1\n"
