"""Finding a publisher that nobody named: bound to a block, or the one that is open on this loop."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import warnings
import weakref

import pytest

from eventpub import Publisher, PublisherClosed, UsageError, emits
from eventpub import _ambient as ambient
from eventpub.deadletter import DeadLetters
from eventpub.deadletter.topic import TopicSink
from eventpub.transports.memory import MemoryBroker
from support import virtual_time
from tests.publisher.kit import Noted, opened, values


@emits(Noted)
async def note(key: str) -> Noted:
    """Return an event."""
    return Noted(key=key)


async def found(*, none: str = "none") -> object:
    """Return the publisher that would be found here."""
    return ambient.BOUND.get() or (ambient.open_here() or [none])[0]


async def test_the_one_that_is_open_on_the_loop_is_found() -> None:
    """In any task, also one that is older than the publisher: not by context."""
    broker, go = MemoryBroker(), asyncio.Event()

    async def older() -> Noted:
        await go.wait()
        return await note("older")

    task = asyncio.create_task(older())
    await asyncio.sleep(0)
    async with opened(broker):
        go.set()
        await task
        await note("own")
    assert len(values(broker, "notes")) == 2


async def test_without_one_the_function_is_not_even_called() -> None:
    """What cannot be published is better not done; the message says what to give."""
    called = False

    @emits(Noted)
    async def act() -> None:
        nonlocal called
        called = True

    with pytest.raises(UsageError, match=r"no publisher is open on this event loop; name one by publisher="):
        await act()
    assert not called


async def test_two_are_one_too_many() -> None:
    """Which one is not guessed; closing one, or binding one, decides."""
    first, second = MemoryBroker(), MemoryBroker()
    async with opened(first) as publisher:
        async with opened(second):
            with pytest.raises(UsageError, match=r"2 publishers are open on this event loop; name one by publisher="):
                await note("1")
            with publisher.bind() as bound:
                assert bound is publisher
                await note("2")
        await note("3")
    assert (len(values(first, "notes")), len(values(second, "notes"))) == (2, 0)


async def test_a_bound_one_counts_in_tasks_started_inside() -> None:
    """And no longer outside; the innermost block counts."""
    async with opened(MemoryBroker()) as outer, opened(MemoryBroker()) as inner:
        with outer.bind():
            with inner.bind():
                assert await asyncio.create_task(found()) is inner
            assert await found() is outer
        assert ambient.BOUND.get() is None


async def test_an_explicit_one_goes_before_a_bound_one() -> None:
    """``publisher=`` is what it says."""
    first, second = MemoryBroker(), MemoryBroker()
    async with opened(first) as publisher, opened(second) as other:

        @emits(Noted, publisher=publisher)
        async def explicit() -> Noted:
            return Noted(key="k")

        with other.bind():
            await explicit()
    assert (len(values(first, "notes")), len(values(second, "notes"))) == (1, 0)


async def test_a_binding_may_end_in_another_context() -> None:
    """As the end of a fixture or a lifespan does."""
    async with opened(MemoryBroker()) as publisher:
        binding = publisher.bind()
        contextvars.copy_context().run(binding.__enter__)
        binding.__exit__(None, None, None)
        assert ambient.BOUND.get() is None


async def test_a_closed_or_closing_one_is_not_found() -> None:
    """From the first moment of the close on; and before it was open."""
    broker = MemoryBroker()
    publisher = Publisher(broker, source="/tests")
    assert ambient.open_here() == []
    await publisher.open()
    assert ambient.open_here() == [publisher]
    broker.pause()
    publisher.publish_nowait(Noted(key="k"))
    closing = asyncio.create_task(publisher.aclose(5))
    await asyncio.sleep(1)
    with pytest.raises(UsageError, match="no publisher is open"):
        await note("late")
    await closing
    assert ambient.open_here() == []


async def test_a_closed_one_that_is_named_says_so_itself() -> None:
    """Bound or explicit, it is not passed over for another; the error carries the result."""
    async with opened(MemoryBroker()) as publisher:
        pass
    async with opened(MemoryBroker()):
        with publisher.bind(), pytest.raises(PublisherClosed) as caught:
            await note("k")
    assert caught.value.result == Noted(key="k")


async def test_the_writer_of_dead_letters_is_nobody_elses() -> None:
    """A topic of dead letters opens a publisher of its own, which does not make two."""
    async with opened(MemoryBroker(), dead_letters=DeadLetters(TopicSink("{topic}.dlq"))) as publisher:
        assert ambient.open_here() == [publisher]
        await note("k")


def test_nothing_is_kept_alive() -> None:
    """A publisher that was never closed, and the loop it was opened on, are forgotten with their last user."""

    async def main() -> tuple[weakref.ref[object], weakref.ref[object]]:
        publisher = Publisher("memory://")
        await publisher.open()
        return weakref.ref(publisher), weakref.ref(asyncio.get_running_loop())

    before = len(ambient._open)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # one that is kept would keep the publisher
        publisher, loop = virtual_time.run(main())
        gc.collect()
    assert (publisher(), loop()) == (None, None)
    assert len(ambient._open) <= before


def test_two_loops_do_not_see_each_other() -> None:
    """A publisher is found on its own loop only, also while it is open on a loop that stands still."""
    with virtual_time.runner() as one, virtual_time.runner() as other:
        publisher = Publisher("memory://")
        one.run(publisher.open())
        assert one.run(found()) is publisher
        assert other.run(found()) == "none"
        one.run(publisher.aclose())
        assert one.run(found()) == "none"
