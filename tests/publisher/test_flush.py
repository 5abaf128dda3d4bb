"""``flush``: waits for what was published before it, and ends its lingering."""

from __future__ import annotations

import asyncio

import pytest

from eventpub import CRITICAL, BufferLimits, PersistenceStatus, PublisherNotOpen, UnavailableError
from eventpub.publisher import Publisher
from tests.publisher.kit import error_of, now, one_partition, opened, outcome, record, turns, values

LINGERING = CRITICAL.replace(linger=10)


async def test_flush_reports_what_was_open() -> None:
    """It returns once every open event is confirmed, and counts those only."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("before"))
        broker.latency(2)
        pending = [publisher.publish_nowait(record(n)) for n in range(3)]
        report = await publisher.flush()
        assert (report.confirmed, report.failed, report.unconfirmed) == (3, (), ())
        assert report.elapsed == pytest.approx(2)
        assert all(each.done() for each in pending)


async def test_flush_of_nothing_returns_at_once() -> None:
    """With no event open there is nothing to wait for."""
    async with opened(one_partition()) as publisher:
        report = await publisher.flush()
        assert (report.confirmed, report.elapsed) == (0, 0)


async def test_flush_leaves_pending_what_takes_longer() -> None:
    """At its timeout it tells the status as of now, and the delivery goes on."""
    broker = one_partition()
    broker.latency(4)
    async with opened(broker) as publisher:
        sent = publisher.publish_nowait(record("in flight"))
        await asyncio.sleep(10)
        behind = publisher.publish_nowait(record("in flight too"))
        await turns(5)
        queued = publisher.publish_nowait(record("queued"))
        report = await publisher.flush(timeout=1)
        assert {str(error.status) for error in report.unconfirmed} == {
            str(PersistenceStatus.POSSIBLY_PERSISTED),
            str(PersistenceStatus.NOT_PERSISTED),
        }
        assert report.elapsed == pytest.approx(1)
        assert [(await each).offset for each in (sent, behind, queued)] == [0, 1, 2]


async def test_flush_counts_what_fails_by_itself() -> None:
    """An event whose own budget ends meanwhile is among the failed, not the unconfirmed."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        failing = asyncio.create_task(error_of(publisher.publish(record(1), timeout=1)))
        await turns(2)
        report = await publisher.flush(timeout=5)
        assert report.failed == (await failing,)
        assert report.unconfirmed == ()


async def test_flush_ignores_what_comes_later() -> None:
    """An event published after the call does not prolong it."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record(0))
        broker.latency(2)
        flushing = asyncio.create_task(publisher.flush())
        publisher.publish_nowait(record(1))
        await turns(3)
        later = publisher.publish_nowait(record(2))
        assert (await flushing).elapsed == pytest.approx(2)
        await later


async def test_flush_ends_linger() -> None:
    """Records that wait for company leave at once."""
    broker = one_partition()
    async with opened(broker, profile=LINGERING) as publisher:
        await publisher.publish(record(0), profile=CRITICAL)
        pending = publisher.publish_nowait(record(1))
        await asyncio.sleep(3)
        assert not pending.done()
        assert (await publisher.flush()).elapsed < 0.1
        assert pending.done()


async def test_flush_waited_for_linger_of_records_not_routed_yet() -> None:
    """Records whose partition is not known when a flush begins do not linger when they get there."""
    broker = one_partition()
    async with opened(broker, profile=LINGERING) as publisher:
        pending = publisher.publish_nowait(record(1))
        assert (await publisher.flush()).elapsed < 0.1
        assert pending.done()


async def test_flush_waited_for_linger_of_records_without_room() -> None:
    """Records that wait for room when a flush begins do not linger once they have it."""
    broker = one_partition()
    async with opened(broker, profile=LINGERING, buffer=BufferLimits(max_records=1)) as publisher:
        waiting = [asyncio.create_task(publisher.publish(record(n))) for n in range(3)]
        await turns(2)
        assert (await publisher.flush()).elapsed < 0.1
        assert [(await each).offset for each in waiting] == [0, 1, 2]


async def test_linger_begins_again_after_a_flush() -> None:
    """A flush hurries what was there, not what follows."""
    async with opened(one_partition(), profile=LINGERING) as publisher:
        publisher.publish_nowait(record(1))
        await publisher.flush()
        await asyncio.sleep(1)
        assert (await publisher.publish(record(2))).elapsed == pytest.approx(10)


async def test_cancelled_flush_leaves_events_alone() -> None:
    """Cancelling the wait for events is not cancelling them."""
    broker = one_partition()
    broker.latency(1)
    async with opened(broker) as publisher:
        pending = publisher.publish_nowait(record(1))
        flushing = asyncio.create_task(publisher.flush())
        await asyncio.sleep(0.5)
        flushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flushing
        await pending
        assert values(broker) == ["1"]


async def test_flush_before_open_is_refused() -> None:
    """There is nothing to wait for before the start."""
    with pytest.raises(PublisherNotOpen, match="open"):
        await Publisher("memory://").flush()


async def test_flush_while_closing_ends_with_it() -> None:
    """A flush that runs into a close returns when that does, and after it at once."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        lost = asyncio.create_task(outcome(publisher.publish(record(1))))
        await turns(2)
        flushing = asyncio.create_task(publisher.flush())
        await publisher.aclose(2)
        began = now()
        await flushing
        assert (await publisher.flush()).confirmed == 0
        assert now() == began
        assert isinstance(await lost, UnavailableError)
