"""``publish_many``: one outcome for each, in order, no sibling harmed."""

from __future__ import annotations

import asyncio

import pytest

from eventpub import (
    STANDARD,
    BufferLimits,
    ConfigurationError,
    Delivery,
    DeliveryReports,
    Event,
    EventRegistry,
    InvalidRecordError,
    PublisherNotOpen,
    PublishError,
    SerializationError,
    UnavailableError,
    UsageError,
)
from eventpub.publisher import Publisher
from tests.publisher.kit import Noted, one_partition, opened, record, turns, values


async def test_one_outcome_each_in_order() -> None:
    """The reports stand in the order of the events, and so do the records of a partition."""
    broker = one_partition()
    async with opened(broker) as publisher:
        reports = await publisher.publish_many(record(n) for n in range(1000))
        assert isinstance(reports, DeliveryReports)
        assert [each.offset for each in reports.deliveries] == list(range(1000))
        assert values(broker) == [str(n) for n in range(1000)]
        assert reports.failures == ()
        reports.raise_for_failures()
        assert repr(reports) == "<DeliveryReports 1000 confirmed, 0 failed>"


async def test_none_at_all() -> None:
    """Nothing to do is done at once."""
    async with opened("memory://") as publisher:
        assert await publisher.publish_many([]) == ()


async def test_a_failure_leaves_its_siblings_alone() -> None:
    """The guilty event alone has an error in its place; all are raised together on request."""
    broker = one_partition(compacted=True)
    async with opened(broker) as publisher:
        reports = await publisher.publish_many([record(n, None if n == 2 else b"k") for n in range(5)])
        assert [isinstance(each, Delivery) for each in reports] == [True, True, False, True, True]
        assert isinstance(reports[2], InvalidRecordError)
        with pytest.raises(ExceptionGroup, match="1 of 5 events were not confirmed") as caught:
            reports.raise_for_failures()
        assert caught.value.exceptions == (reports[2],)


async def test_what_cannot_be_serialised_is_an_outcome() -> None:
    """Among events, one without a form on the wire has a `SerializationError` in its place."""

    class Loose(Event, type="loose", topic="t", registry=EventRegistry()):
        value: float

    broker = one_partition()
    async with opened(broker) as publisher:
        reports = await publisher.publish_many([Loose(value=1), Loose(value=float("nan")), Loose(value=2)])
        assert isinstance(reports[1], SerializationError)
        assert len(reports.deliveries) == 2


async def test_a_wrong_kind_sends_nothing() -> None:
    """All are looked at before the first is sent."""
    broker = one_partition()
    async with opened(broker) as publisher:
        with pytest.raises(UsageError, match="got str"):
            await publisher.publish_many([record(1), "text"])  # type: ignore[list-item]  # what is refused
        await publisher.flush()
        assert values(broker) == []


@pytest.mark.parametrize("single", [record(1), Noted(key="k"), 5, None], ids=["record", "event", "int", "none"])
async def test_a_single_event_is_told_what_to_call(single: object) -> None:
    """Events are iterable, by their fields; giving one is a mistake that names itself."""
    async with opened("memory://") as publisher:
        with pytest.raises(UsageError, match=r"publish\(\)"):
            await publisher.publish_many(single)  # type: ignore[arg-type]  # what is refused


async def test_a_wrong_option_sends_nothing() -> None:
    """An option of the call that makes no sense is refused before the first event."""
    broker = one_partition()
    async with opened(broker) as publisher:
        for options in ({"timeout": 0}, {"profile": "nobody"}, {"topic": "no topic"}, {"headers": 5}):
            with pytest.raises((ConfigurationError, UsageError)):
                await publisher.publish_many([record(n) for n in range(3)], **options)
        await publisher.flush()
        assert values(broker) == []
        assert publisher.statistics().unconfirmed == 0


async def test_options_are_those_of_all() -> None:
    """Topic, headers, profile and budget given once act on each event."""
    broker = one_partition()
    broker.create_topic("other", 1)
    async with opened(broker) as publisher:
        await publisher.publish_many([record(n) for n in range(3)], topic="other", headers=[("a", b"b")])
        assert [logged.headers for logged in broker.records("other")] == [(("a", b"b"),)] * 3
        broker.down()
        reports = await publisher.publish_many([record(n) for n in range(3)], timeout=1, profile=STANDARD)
        assert all(isinstance(each, UnavailableError) and 1 <= each.elapsed < 1.25 for each in reports)


async def test_headers_from_an_iterator_went_to_the_first_event_only() -> None:
    """Headers that can be read once are those of every event."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish_many([record(n) for n in range(3)], headers=((name, b"v") for name in "ab"))
        assert [logged.headers for logged in broker.records("t")] == [(("a", b"v"), ("b", b"v"))] * 3


async def test_more_than_there_is_room_for() -> None:
    """It waits for room like everybody, and delivers all."""
    broker = one_partition()
    broker.latency(0.1)
    async with opened(broker, buffer=BufferLimits(max_records=7)) as publisher:
        reports = await publisher.publish_many([record(n) for n in range(100)])
        assert [each.offset for each in reports.deliveries] == list(range(100))


async def test_it_lets_others_run() -> None:
    """Thousands of events are taken in with turns for the event loop in between."""
    async with opened(one_partition()) as publisher:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await publisher.publish_many([record(n) for n in range(5000)])
        ticking.cancel()
        assert ticks >= 20


async def test_cancelled_it_withdraws_what_was_not_written() -> None:
    """What is queued never lands, and its room is free."""
    broker = one_partition()
    broker.down()
    async with opened(broker, buffer=BufferLimits(max_records=5)) as publisher:
        publishing = asyncio.create_task(publisher.publish_many([record(n) for n in range(10)]))
        await turns(3)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        statistics = publisher.statistics()
        assert (statistics.withdrawn, statistics.unconfirmed, statistics.waiting_for_room) == (10, 0, 0)
        broker.up()
        await publisher.publish(record("after"))
        assert values(broker) == ["after"]


async def test_budget_of_each_runs_from_the_call() -> None:
    """With the brokers away the whole ends when its budget does."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        reports = await publisher.publish_many([record(n) for n in range(600)], timeout=2)
        assert all(isinstance(each, PublishError) and 2 <= each.elapsed < 2.25 for each in reports)


async def test_before_open() -> None:
    """It is refused like a publish, also with nothing to send."""
    publisher = Publisher("memory://")
    for events in ([], [record(1)]):
        with pytest.raises(PublisherNotOpen, match="async with"):
            await publisher.publish_many(events)


async def test_an_event_with_a_configuration_that_cannot_work_withdraws_the_others() -> None:
    """One event's class that makes no sense here is an error of the call; what was not written is withdrawn."""
    broker = one_partition()
    async with opened(broker, source=None) as publisher:
        with pytest.raises(ConfigurationError, match="source"):
            await publisher.publish_many([record(1), Noted(key="k"), record(2)])
        await publisher.publish(record("after"))
        assert values(broker) == ["after"]
