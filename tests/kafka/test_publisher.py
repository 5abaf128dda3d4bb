"""The main path on Apache Kafka: what `publish` promised, an independent reader finds."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from eventpub import (
    CRITICAL,
    STANDARD,
    TELEMETRY,
    Delivery,
    Event,
    EventRegistry,
    EventTooLargeError,
    InvalidRecordError,
    NotPersistedError,
    PersistenceStatus,
    Publisher,
    PublishError,
    Record,
    UnknownTopicError,
)
from eventpub.partitioner import partition_for
from support.readback import ReadRecord, create_topic, read_topic

if TYPE_CHECKING:
    from support.kafka_node import ApacheKafka
    from tests.fix_kafka import MakeTopic

TWO_HOURS = 7_200_000


class TaskCreated(Event, type="task.created", key="task_id", registry=EventRegistry()):
    """A small event."""

    task_id: str
    number: int


def publisher(node: ApacheKafka, **settings: Any) -> Publisher:
    """Return a publisher to the session's node."""
    return Publisher(node.url, source="/tests", **settings)


def by_offset(node: ApacheKafka, topic: str) -> dict[tuple[int, int], ReadRecord]:
    """Return the whole topic by (partition, offset)."""
    return {(record.partition, record.offset): record for record in read_topic(node.bootstrap_servers, topic)}


def event_ids(records: list[ReadRecord]) -> list[bytes]:
    """Return the ids of those records that are CloudEvents, sorted."""
    return sorted(value for record in records for name, value in record.headers if name == "ce_id" and value)


async def test_what_was_delivered_is_read_back_byte_for_byte(kafka_node: ApacheKafka, kafka_topic: MakeTopic) -> None:
    """Value, key, headers in order with duplicates and None, timestamp, partition and offset are equal."""
    topic = kafka_topic(4)
    rng = random.Random(7)
    records = [
        Record(
            topic,
            value=None if n % 10 == 0 else rng.randbytes(rng.randrange(2_000)),
            key=f"key-{n % 17}".encode() if n % 3 else None,
            headers=[("a", b""), ("a", b"\xff\x00"), ("n", None), (f"ü{n}", b"x" * n)],
            timestamp=1_700_000_000_000 + n,
        )
        for n in range(300)
    ]
    async with publisher(kafka_node) as p:
        deliveries = await asyncio.gather(*(p.publish(record) for record in records))
    read = by_offset(kafka_node, topic)
    assert len(read) == len(records)
    for record, delivery in zip(records, deliveries, strict=True):
        assert delivery.offset is not None
        found = read[delivery.partition, delivery.offset]
        assert (found.key, found.value, found.headers) == (record.key, record.value, record.headers)
        assert found.timestamp == record.timestamp == delivery.timestamp


async def test_per_key_order_is_the_order_of_the_calls(kafka_node: ApacheKafka, kafka_topic: MakeTopic) -> None:
    """Concurrent publishes of one key are in the log in the order in which they were called."""
    topic = kafka_topic(4)
    async with publisher(kafka_node, topic_for=lambda _: topic) as p:
        events = [TaskCreated(task_id=f"task-{n % 23}", number=n) for n in range(2_000)]
        deliveries = await asyncio.gather(*(p.publish(event) for event in events))
    assert len({(d.partition, d.offset) for d in deliveries}) == len(events)
    for key in {event.task_id for event in events}:
        mine = [d for event, d in zip(events, deliveries, strict=True) if event.task_id == key]
        assert {d.partition for d in mine} == {partition_for(key.encode(), 4)}
        assert [d.offset for d in mine] == sorted(d.offset or 0 for d in mine)
    assert event_ids(read_topic(kafka_node.bootstrap_servers, topic)) == sorted(
        event.envelope.id.encode() for event in events
    )


@pytest.mark.parametrize("profile", [CRITICAL, STANDARD, TELEMETRY], ids=lambda profile: str(profile.name))
@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_every_acks_and_compression_arrives(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic, profile: Any, compression: Any
) -> None:
    """Profiles of acks all, 1 and 0 under each codec: 200 events in, the same 200 out."""
    topic = kafka_topic(2)
    profile = profile.replace(compression=compression)
    async with publisher(kafka_node, profile=profile, topic_for=lambda _: topic) as p:
        # A leader may learn of its new partition a little after the metadata tells of it; nobody
        # would hear that with acks=0.
        for partition in range(2):
            await p.publish(Record(topic, b"first", partition=partition), profile=CRITICAL)
        events = [TaskCreated(task_id=str(n % 5), number=n) for n in range(200)]
        deliveries = await asyncio.gather(*(p.publish(event) for event in events))
        # acks=0: nobody says when it is there; an acknowledged record behind it on its own
        # connection says nothing either, so look until it is.
        read = await _eventually(kafka_node, topic, len(events) + 2)
    expected = PersistenceStatus.POSSIBLY_PERSISTED if profile.acks == 0 else PersistenceStatus.PERSISTED
    assert {d.status for d in deliveries} == {expected}
    assert {(d.offset is None) for d in deliveries} == {profile.acks == 0}
    assert event_ids(read) == sorted(e.envelope.id.encode() for e in events)


async def _eventually(node: ApacheKafka, topic: str, count: int) -> list[ReadRecord]:
    read: list[ReadRecord] = []
    for _ in range(50):
        read = await asyncio.to_thread(read_topic, node.bootstrap_servers, topic)
        if len(read) >= count:
            break
        await asyncio.sleep(0.1)
    return read


async def test_linger_gathers_records_that_come_one_by_one(kafka_node: ApacheKafka, kafka_topic: MakeTopic) -> None:
    """Ten events over 100 ms under linger=0.5 s travel in one request."""
    topic = kafka_topic(1)
    async with publisher(kafka_node, profile=CRITICAL.replace(linger=0.5), topic_for=lambda _: topic) as p:
        pending = []
        for n in range(10):
            pending.append(p.publish_nowait(TaskCreated(task_id="a", number=n)))
            await asyncio.sleep(0.01)
        deliveries = [await one for one in pending]
        assert p.statistics().attempts == 1
    assert [d.offset for d in deliveries] == list(range(10))


class Guilty:
    """Records that Apache Kafka refuses, and what each is refused with."""

    too_large = ("k", b"x" * 5_000, None, EventTooLargeError, 10)
    from_the_future = ("k", b"x", TWO_HOURS, InvalidRecordError, 32)
    without_key = (None, b"x", None, InvalidRecordError, 87)


@pytest.mark.parametrize("name", ["too_large", "from_the_future", "without_key"])
async def test_a_refused_record_fails_alone_and_the_next_one_is_acked(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic, name: str
) -> None:
    """Its neighbours are delivered in order, and its partition goes on at once (no wedge)."""
    key, value, ahead, error, code = getattr(Guilty, name)
    config = {"without_key": {"cleanup_policy": "compact"}}.get(name, {"max_message_bytes": "2000"})
    topic = kafka_topic(1, **config)

    def record(n: int) -> Record:
        if n != 5:
            return Record(topic, f"good-{n}".encode(), key=b"k")
        when = None if ahead is None else _wall_clock_ms() + ahead
        return Record(topic, value, key=None if key is None else key.encode(), timestamp=when)

    async with publisher(kafka_node) as p:
        await p.publish(Record(topic, b"first", key=b"k"))
        results = await asyncio.gather(*(p.publish(record(n)) for n in range(10)), return_exceptions=True)
        async with asyncio.timeout(2):
            after = await p.publish(Record(topic, b"after", key=b"k"))
    refused = results.pop(5)
    assert isinstance(refused, error)
    assert isinstance(refused, NotPersistedError)
    assert refused.kafka_code == code
    assert all(isinstance(result, Delivery) for result in results)
    assert after.attempts == 1
    values = [r.value for r in read_topic(kafka_node.bootstrap_servers, topic)]
    assert values == [b"first", *(f"good-{n}".encode() for n in range(10) if n != 5), b"after"]


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_an_unknown_topic_is_an_outcome_and_is_not_created(kafka_node: ApacheKafka) -> None:
    """The error comes well before the budget ends, and the topic still does not exist."""
    name = f"missing-{uuid.uuid4()}"
    async with publisher(kafka_node) as p:
        with pytest.raises(UnknownTopicError) as caught:
            await p.publish(Record(name, b"x"), timeout=10)
        assert caught.value.elapsed < 5
        assert caught.value.topic == name
        with pytest.raises(UnknownTopicError):
            await p.publish(Record(name, b"x"), timeout=10)
        create_topic(kafka_node.bootstrap_servers, name, 1)
        assert (await p.publish(Record(name, b"now"), timeout=10)).offset == 0


async def test_a_partition_beyond_the_count_is_refused_until_it_exists(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic
) -> None:
    """The count is asked for afresh before a publish to a partition is refused."""
    topic = kafka_topic(2)
    async with publisher(kafka_node) as p:
        assert (await p.publish(Record(topic, b"x", partition=1))).partition == 1
        with pytest.raises(InvalidRecordError, match=r"partition: .*\[7\] does not exist, the topic has 2"):
            await p.publish(Record(topic, b"x", partition=7))
        assert (await p.publish(Record(topic, b"y", partition=0))).partition == 0


async def test_twenty_thousand_publishes_at_once_are_all_delivered(
    kafka_node: ApacheKafka, kafka_topic: MakeTopic
) -> None:
    """More than the buffer has room for, from as many tasks: each is acked exactly once."""
    topic = kafka_topic(4)
    async with publisher(kafka_node, topic_for=lambda _: topic) as p:
        events = [TaskCreated(task_id=str(uuid.uuid4()), number=n) for n in range(20_000)]
        results = await asyncio.gather(*(p.publish(event) for event in events), return_exceptions=True)
        statistics = p.statistics()
    failures = [result for result in results if isinstance(result, PublishError)]
    assert not failures
    assert (statistics.persisted, statistics.unconfirmed) == (20_000, 0)
    ids = event_ids(read_topic(kafka_node.bootstrap_servers, topic))
    assert len(ids) == len(set(ids)) == 20_000


async def test_close_drains_what_was_taken(kafka_node: ApacheKafka, kafka_topic: MakeTopic) -> None:
    """Events published without waiting are in the log when the block is left."""
    topic = kafka_topic(3)
    async with publisher(kafka_node) as p:
        for n in range(500):
            p.publish_nowait(Record(topic, str(n).encode(), key=str(n).encode()))
        report = await p.aclose()
    assert (report.confirmed, report.failed, report.unconfirmed) == (500, (), ())
    assert len(read_topic(kafka_node.bootstrap_servers, topic)) == 500
