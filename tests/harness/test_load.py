"""How the benchmark puts load on and sums it up, on loops where time is virtual: no broker is needed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from benchmarks import far, growth, large, load, soak
from benchmarks.growth import Step
from benchmarks.load import Sample, in_turns, quantile
from benchmarks.soak import Look, Soak

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def sample(rate: float, cpu: float = 1.0) -> Sample:
    """Return a sample of which only these matter."""
    return Sample(rate, cpu, p50=1.0, p99=2.0)


def test_a_quantile_is_a_value_of_those_there_are() -> None:
    """The largest one stands for shares that lie beyond all."""
    values = [3.0, 1.0, 2.0, 4.0]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)) == (3.0, 4.0, 7.0)


async def test_loads_take_turns_to_and_fro_and_the_first_of_each_does_not_count() -> None:
    """A machine that slows down slows both down, and what warms up is left out."""
    order: list[str] = []
    rates = {"a": iter([100.0, 1.0, 3.0, 2.0]), "b": iter([100.0, 6.0, 4.0, 5.0])}

    def run(name: str) -> Callable[[], Awaitable[Sample]]:
        async def once() -> Sample:
            order.append(name)
            return sample(next(rates[name]))

        return once

    found = await in_turns({name: run(name) for name in rates}, 3)
    assert order == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert {name: median.rate for name, median in found.items()} == {"a": 2.0, "b": 5.0}


async def test_a_closed_loop_lets_each_publisher_publish_at_least_once() -> None:
    """However many there are, none ends before it began."""
    published = []

    async def publish() -> None:
        published.append(1)
        await asyncio.sleep(0)

    found = await load.closed_loop(publish, 50, 0.0)
    assert len(published) == 50
    assert found.rate > 0


async def test_paced_publishers_publish_as_many_as_were_wanted() -> None:
    """Turns are spread evenly over the time, and a slow publish does not drop any."""
    published = []

    async def publish() -> None:
        published.append(1)
        await asyncio.sleep(0)

    await load.paced(publish, publishers=4, rate=400.0, seconds=0.1)
    assert len(published) in {40, 41, 42, 43, 44}  # the last turn of each may be the one at the end


async def test_the_callback_that_ends_a_timing_is_not_timed() -> None:
    """What it goes on with is a collection, perhaps, and no slice of what was to be timed."""

    def burn(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    with load.Slices() as slices:
        asyncio.get_running_loop().call_soon(burn, 0.002)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    burn(0.02)
    await asyncio.sleep(0)
    assert slices.longest >= 0.002
    assert "burn" in slices.what


async def test_a_soak_publishes_exactly_as_many_as_it_was_told_to() -> None:
    """Events that were acknowledged are counted, by looks at the start and at the end too."""
    published = []

    async def publish() -> None:
        published.append(1)
        await asyncio.sleep(0)

    run = Soak(publish, 2_500)
    await run.run()
    assert len(published) == 2_500
    assert [look.acknowledged for look in run.looks] == [0, 2_500]


async def test_a_publish_that_fails_ends_the_soak() -> None:
    """A soak with losses proves nothing."""

    async def publish() -> None:
        raise OSError

    with pytest.raises(ExceptionGroup):
        await Soak(publish, 10).run()


def test_memory_is_compared_from_the_first_tenth_on() -> None:
    """What is resident at the very start is that of a process that has done nothing."""
    looks = [Look(0, 0, 10), Look(50, 1, 90), Look(100, 2, 100), Look(1_000, 3, 104)]
    assert (soak.goal(looks).measured, soak.goal(looks).met) == (1.04, True)
    assert not soak.goal([*looks, Look(1_001, 4, 200)]).met


def test_growth_is_judged_by_the_worst_of_the_curve() -> None:
    """A dip in the middle counts as one at the end does."""
    steps = [Step(1, sample(100.0, 10.0)), Step(2, sample(80.0, 13.0)), Step(3, sample(100.0, 10.0))]
    assert [(goal.measured, goal.met) for goal in growth._goals("x", steps)] == [(0.8, False), (1.3, False)]
    assert all(goal.met for goal in growth._goals("x", [steps[0], steps[2]]))


async def test_tasks_alone_all_come_back() -> None:
    """What eventpub's growth is compared with loses nobody."""
    async with growth.nothing("", "t") as publish:
        assert await asyncio.wait_for(asyncio.gather(*(publish() for _ in range(10))), 5) == [None] * 10


def test_the_best_of_the_others_is_the_one_to_beat() -> None:
    """At each distance, by its name."""
    goal = far.goal(0.05, {"eventpub": sample(100.0), "slow": sample(10.0), "fast": sample(200.0)})
    assert (goal.what, goal.measured, goal.met) == ("the best peer at 50 ms, fast", 0.5, False)


def test_texts_have_the_size_they_are_to_have() -> None:
    """And not all the same one, which a codec with a window would take for a repetition."""
    texts = large.texts(1_000)
    assert {len(text) for text in texts} == {1_000}
    assert len(set(texts)) == len(texts)
