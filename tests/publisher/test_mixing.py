"""Records of several profiles in one partition (rule 8), and lanes that wait for the right thing."""

from __future__ import annotations

import asyncio

import pytest

from eventpub import CRITICAL, STANDARD, TELEMETRY, BufferLimits, Delivery, PersistenceStatus, UnavailableError
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import error_of, one_partition, opened, outcome, record, turns, values


async def test_order_holds_across_acknowledged_profiles() -> None:
    """Alternating profiles cost cuts, which are counted, and no order."""
    broker = one_partition()
    broker.latency(0.1)
    async with opened(broker) as publisher:
        pending = [publisher.publish_nowait(record(n), profile=(CRITICAL, STANDARD)[n % 2]) for n in range(6)]
        assert [(await each).offset for each in pending] == list(range(6))
        assert values(broker) == [str(n) for n in range(6)]
        assert publisher.statistics().mixed_cuts == 5


async def test_equal_profiles_share_a_batch() -> None:
    """Profiles are compared by what they say, not by which object says it."""
    async with opened(one_partition()) as publisher:
        for n in range(4):
            publisher.publish_nowait(record(n), profile=CRITICAL.replace())
        await publisher.flush()
        assert publisher.statistics().attempts == 1


async def test_a_refused_telemetry_record_leaves_critical_ones_alone() -> None:
    """A broker answers a bad acks=0 batch by closing its connection, which no other profile shares (rule 13)."""
    broker = one_partition(compacted=True)
    broker.latency(0.1)
    async with opened(broker) as publisher:
        await publisher.publish(record("warm", b"k"))
        good = [publisher.publish_nowait(record(n, b"k")) for n in range(3)]
        bad = await publisher.publish(record("no key"), profile=TELEMETRY)
        assert bad.status is PersistenceStatus.POSSIBLY_PERSISTED
        assert [(await each).attempts for each in good] == [1, 1, 1]
        assert values(broker) == ["warm", "0", "1", "2"]


async def test_record_of_another_profile_waited_for_the_connection_of_an_expired_one() -> None:
    """When the record at the head has expired, the next one waits for its own connection, not for the other's."""
    broker = MemoryBroker()
    broker.create_topic("t", 2)
    async with opened(broker) as publisher:
        await publisher.publish(record("warm", partition=0), profile=STANDARD)
        broker.hold_next()
        held = asyncio.create_task(outcome(publisher.publish(record("held", partition=0), profile=STANDARD)))
        await turns(5)
        expiring = asyncio.create_task(
            outcome(publisher.publish(record("expiring", partition=1), profile=STANDARD, timeout=0.5))
        )
        behind = asyncio.create_task(outcome(publisher.publish(record("behind", partition=1), profile=CRITICAL)))
        assert isinstance(await expiring, UnavailableError)
        delivery = await behind
        assert isinstance(delivery, Delivery)
        assert delivery.elapsed < 0.6
        await held


async def test_a_withdrawn_head_lets_the_next_profile_go() -> None:
    """The same where the record at the head is cancelled."""
    broker = MemoryBroker()
    broker.create_topic("t", 2)
    async with opened(broker) as publisher:
        await publisher.publish(record("warm", partition=0), profile=STANDARD)
        broker.hold_next()
        held = publisher.publish_nowait(record("held", partition=0), profile=STANDARD)
        await turns(5)
        head = publisher.publish_nowait(record("head", partition=1), profile=STANDARD)
        behind = publisher.publish_nowait(record("behind", partition=1), profile=CRITICAL)
        await asyncio.sleep(0.5)
        assert not behind.done()
        head.cancel()
        assert (await behind).elapsed == pytest.approx(0.5)
        await outcome(held)
        assert values(broker, partition=1) == ["behind"]


async def test_a_producer_id_that_cannot_be_had_fails_idempotent_records_only() -> None:
    """Code 31 concerns those that need an id; a record of another profile in the same partition is sent."""
    broker = one_partition()
    broker.deny_producer_ids()
    async with opened(broker) as publisher:
        critical = asyncio.create_task(error_of(publisher.publish(record(1))))
        standard = asyncio.create_task(publisher.publish(record(2), profile=STANDARD))
        error = await critical
        assert error.kafka_code == 31
        assert (await standard).offset == 0


async def test_many_records_that_expire_at_once_behind_a_busy_connection() -> None:
    """Thousands of budgets that end in one moment leave the lane fit for what comes behind them."""
    broker = MemoryBroker()
    broker.create_topic("t", 2)
    async with opened(broker, buffer=BufferLimits(max_records=10_000)) as publisher:
        await publisher.publish(record("warm", partition=0))
        broker.hold_next()
        held = asyncio.create_task(outcome(publisher.publish(record("held", partition=0))))
        await turns(5)
        expiring = asyncio.create_task(publisher.publish_many([record(n, partition=1) for n in range(3000)], timeout=1))
        await asyncio.sleep(0.5)
        behind = asyncio.create_task(publisher.publish(record("behind", partition=1), profile=STANDARD))
        assert len((await expiring).failures) == 3000
        assert (await behind).offset == 0
        await held
