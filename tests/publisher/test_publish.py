"""``publish``: what it takes, what it returns, and what reaches the log."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventpub import (
    CRITICAL,
    TELEMETRY,
    ConfigurationError,
    Delivery,
    Event,
    EventRegistry,
    EventTooLargeError,
    PersistenceStatus,
    Publisher,
    Record,
    SerializationError,
    UsageError,
)
from eventpub.abc import UNSTAMPED
from eventpub.partitioner import partition_for
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import Listener, Noted, one_partition, opened, record, values


async def test_delivery_says_where_it_lies() -> None:
    """The delivery of an event names topic, partition, offset, id, time and attempts, and prints as a status line."""
    broker = MemoryBroker(partitions=4)
    async with opened(broker) as publisher:
        event = Noted(key="42")
        before = time.time() * 1000
        delivery = await publisher.publish(event)
        (logged,) = broker.records("notes")
        assert delivery == Delivery(
            "notes",
            logged.partition,
            logged.offset,
            logged.timestamp,
            event.envelope.id,
            attempts=1,
            elapsed=delivery.elapsed,
            status=PersistenceStatus.PERSISTED,
        )
        assert logged.partition == partition_for(b"42", 4)
        assert before - 1 <= delivery.timestamp <= time.time() * 1000
        assert str(delivery) == f"notes[{logged.partition}]@0 persisted in 0.0 ms, 1 attempt"


async def test_elapsed_is_from_the_call_to_the_acknowledgement() -> None:
    """Metadata, producer id and the request cost a round trip each."""
    broker = one_partition()
    broker.latency(0.5)
    async with opened(broker) as publisher:
        assert (await publisher.publish(record(1))).elapsed == pytest.approx(1.5)
        assert (await publisher.publish(record(2))).elapsed == pytest.approx(0.5)


async def test_an_event_is_a_cloudevent_in_binary_mode() -> None:
    """Its payload is the value, its key the record's key, its attributes are headers."""
    broker = MemoryBroker()
    async with opened(broker, source="/task-api") as publisher:
        event = Noted(key="k", text="t")
        await publisher.publish(event)
        (logged,) = broker.records("notes")
        headers = dict(logged.headers)
        assert logged.value == b'{"key":"k","text":"t"}'
        assert logged.key == b"k"
        assert headers["ce_id"] == event.envelope.id.encode()
        assert headers["ce_type"] == b"noted"
        assert headers["ce_source"] == b"/task-api"
        assert headers["content-type"] == b"application/json"


async def test_the_same_event_keeps_its_id() -> None:
    """A second publish of one instance is the same event to consumers."""
    broker = MemoryBroker()
    async with opened(broker) as publisher:
        event = Noted(key="k")
        first, second = await publisher.publish(event), await publisher.publish(event)
        assert first.event_id == second.event_id == event.envelope.id
        assert len(broker.records("notes")) == 2


@pytest.mark.parametrize(
    "given",
    [
        Record("t", b"value", b"key", headers=[("a", b"1"), ("a", b"2"), ("b", None), ("", b"")], timestamp=5),
        Record("t", b"", b""),
        Record("t", None, b"tombstone"),
        Record("t", bytes(range(256)), bytes(range(256))),
    ],
    ids=["all fields", "empty", "tombstone", "every byte"],
)
async def test_a_record_arrives_byte_for_byte(given: Record) -> None:
    """Key, value, header order, duplicates and missing values are what the log holds."""
    broker = one_partition()
    async with opened(broker) as publisher:
        delivery = await publisher.publish(given)
        (logged,) = broker.records("t")
        assert (logged.key, logged.value, logged.headers) == (given.key, given.value, given.headers)
        assert delivery.timestamp == logged.timestamp
        if given.timestamp is not None:
            assert logged.timestamp == given.timestamp


async def test_event_id_of_a_record_is_its_header() -> None:
    """A record has the id that its ``ce_id`` header says, else none."""
    async with opened(one_partition()) as publisher:
        assert (await publisher.publish(record(1, headers=[("ce_id", b"id-1")]))).event_id == "id-1"
        assert (await publisher.publish(record(1))).event_id is None


async def test_options_go_before_what_the_event_says() -> None:
    """Key, topic, headers, partition and timestamp given at the call are what the log holds."""
    broker = MemoryBroker()
    broker.create_topic("elsewhere", 4)
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    async with opened(broker, source="/s") as publisher:
        delivery = await publisher.publish(
            Noted(key="own"),
            key="given",
            topic="elsewhere",
            headers=[("trace", b"1"), ("trace", b"2")],
            partition=3,
            timestamp=moment,
        )
        (logged,) = broker.records("elsewhere")
        assert (delivery.topic, delivery.partition) == ("elsewhere", 3)
        assert logged.key == b"given"
        assert logged.headers[-2:] == (("trace", b"1"), ("trace", b"2"))
        assert logged.timestamp == moment.timestamp() * 1000


async def test_options_of_a_record() -> None:
    """They replace its fields, and headers are added to its own."""
    broker = one_partition()
    broker.create_topic("elsewhere", 2)
    async with opened(broker) as publisher:
        given = Record("t", b"v", b"own", headers=[("a", b"1")], partition=0, timestamp=1)
        await publisher.publish(given, key=None, topic="elsewhere", headers=[("ce_x", b"2")], partition=1, timestamp=7)
        (logged,) = broker.records("elsewhere", 1)
        assert logged.key is None
        assert logged.headers == (("a", b"1"), ("ce_x", b"2"))
        assert logged.timestamp == 7


@pytest.mark.parametrize("key, expected", [("ä", "ä".encode()), (42, b"42"), (b"\xff", b"\xff"), ("", b""), (0, b"0")])
async def test_keys(key: object, expected: bytes) -> None:
    """Text, numbers and bytes are keys; the empty one and zero are keys too."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("v"), key=key)
        assert broker.records("t")[0].key == expected


async def test_profiles_by_name_and_by_value() -> None:
    """A name that the publisher knows and a profile of one's own act alike; a known name may be redefined."""
    broker, listener = one_partition(), Listener()
    quick = CRITICAL.replace(name="quick", delivery_timeout=1)
    async with opened(broker, profiles={"quick": quick, "standard": quick}, hooks=[listener]) as publisher:
        await publisher.publish(record(1), profile="telemetry")
        await publisher.publish(record(2), profile=TELEMETRY)
        await publisher.publish(record(3), profile="standard")
        stamps = [logged.stamp == UNSTAMPED for logged in broker.records("t")]
        assert stamps == [True, True, False]


async def test_an_event_class_names_its_profile() -> None:
    """By name or by value, before the publisher's default, behind what the call says."""
    registry = EventRegistry()

    class Measured(Event, type="measured", topic="t", profile="telemetry", registry=registry):
        """An event that may get lost."""

    class Paid(Event, type="paid", topic="t", profile=CRITICAL, registry=registry):
        """An event that may not."""

    async with opened(one_partition(), profile="telemetry") as publisher:
        assert (await publisher.publish(Measured())).offset is None
        assert (await publisher.publish(Paid())).offset == 1
        assert (await publisher.publish(Paid(), profile="telemetry")).offset is None


async def test_acks_0_is_a_delivery_of_doubtful_status() -> None:
    """Nobody answers: the delivery names no offset and says *possibly persisted*, without being an error."""
    broker = one_partition()
    async with opened(broker) as publisher:
        delivery = await publisher.publish(record(1), profile=TELEMETRY)
        assert delivery.offset is None
        assert delivery.status is PersistenceStatus.POSSIBLY_PERSISTED
        assert str(delivery) == "t[0] handed to the socket in 0.0 ms, 1 attempt"
        assert values(broker) == ["1"]
        assert publisher.statistics().possibly_persisted == 1


async def test_log_append_time() -> None:
    """Where the topic keeps the broker's time, the delivery tells that one."""
    broker = MemoryBroker(now=lambda: 1_234_567)
    broker.create_topic("t", 1, log_append_time=True)
    async with opened(broker) as publisher:
        assert (await publisher.publish(record(1, timestamp=5))).timestamp == 1_234_567


async def test_timestamp_0_is_a_timestamp() -> None:
    """The epoch itself is not mistaken for none."""
    broker = one_partition()
    async with opened(broker) as publisher:
        assert (await publisher.publish(record(1, timestamp=0))).timestamp == 0
        assert broker.records("t")[0].timestamp == 0


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"topic": "no spaces allowed"}, ConfigurationError, "topic"),
    ({"topic": 5}, UsageError, "topic"),
    ({"partition": -1}, ConfigurationError, "partition"),
    ({"partition": "0"}, UsageError, "partition"),
    ({"partition": True}, UsageError, "partition"),
    ({"timestamp": -1}, ConfigurationError, "timestamp"),
    ({"timestamp": "now"}, UsageError, "timestamp"),
    ({"timestamp": datetime(2026, 1, 1)}, ConfigurationError, "timestamp"),  # noqa: DTZ001 - what is refused
    ({"timeout": 0}, ConfigurationError, "timeout"),
    ({"timeout": -1}, ConfigurationError, "timeout"),
    ({"timeout": float("nan")}, ConfigurationError, "timeout"),
    ({"timeout": "1"}, ConfigurationError, "timeout"),
    ({"profile": "nobody gave it"}, ConfigurationError, "profile"),
    ({"profile": 3}, ConfigurationError, "profile"),
    ({"headers": "text"}, UsageError, "headers"),
    ({"headers": [("a", "text")]}, UsageError, "headers"),
    ({"headers": [("a",)]}, UsageError, "headers"),
    ({"headers": 5}, UsageError, "headers"),
    ({"key": 1.5}, UsageError, "key"),
    ({"key": "\ud800"}, SerializationError, "key"),
]


@pytest.mark.parametrize("publishable", [record("v"), Noted(key="k")], ids=["record", "event"])
@pytest.mark.parametrize("options, kind, named", WRONG, ids=lambda each: str(each)[:30])
async def test_a_wrong_option_is_refused_before_anything_is_sent(
    publishable: Event | Record, options: dict[str, Any], kind: type[Exception], named: str
) -> None:
    """The message names the option; nothing is queued, and the next good event is delivered."""
    broker = one_partition()
    async with opened(broker) as publisher:
        with pytest.raises(kind, match=f"^{named}"):
            await publisher.publish(publishable, **options)
        with pytest.raises(kind, match=f"^{named}"):
            publisher.publish_nowait(publishable, **options)
        assert publisher.statistics().unconfirmed == 0
        await publisher.publish(record("good"))
        assert values(broker) == ["good"]


@pytest.mark.parametrize("thing", ["text", b"bytes", None, {"a": 1}, object, Noted])
async def test_what_is_no_event_is_refused(thing: Any) -> None:
    """The error names the kind that was given, wherever it is given."""
    async with opened("memory://") as publisher:
        with pytest.raises(UsageError, match="expected an Event or a Record"):
            await publisher.publish(thing)
        with pytest.raises(UsageError, match="expected an Event or a Record"):
            publisher.publish_nowait(thing)
        with pytest.raises(UsageError, match="expected an Event or a Record"):
            await publisher.publish_many([record(1), thing])
        assert publisher.statistics().persisted == 0


async def test_reserved_headers_of_an_event_are_refused() -> None:
    """``ce_*`` and ``content-type`` belong to the envelope; all of them are named at once."""
    async with opened("memory://") as publisher:
        with pytest.raises(ConfigurationError) as caught:
            await publisher.publish(Noted(key="k"), headers=[("ce_id", b"x"), ("Content-Type", b"y"), ("ok", b"z")])
        assert len(caught.value.findings) == 2


async def test_a_source_is_asked_for_when_it_is_needed() -> None:
    """A publisher of records needs none; the first event that does says so."""
    broker = one_partition()
    async with opened(broker, source=None) as publisher:
        await publisher.publish(record("fine"))
        with pytest.raises(ConfigurationError, match="source"):
            await publisher.publish(Noted(key="k"))


class Anything(Event, type="anything", topic="t", registry=EventRegistry()):
    """An event whose payload JSON may not have."""

    value: Any


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud800", object()], ids=["nan", "inf", "surrogate", "object"]
)
async def test_payload_without_a_form_is_refused(value: object) -> None:
    """The error names the field, gives the event back, and holds no payload; the next event goes through."""
    broker = one_partition()
    async with opened(broker) as publisher:
        event = Anything(value=value)
        with pytest.raises(SerializationError, match="value") as caught:
            await publisher.publish(event)
        assert caught.value.record is event
        assert caught.value.event_id == event.envelope.id
        assert caught.value.topic == "t"
        assert caught.value.status is PersistenceStatus.NOT_PERSISTED
        await publisher.publish(Anything(value=1))
        assert values(broker) == ['{"value":1}']


async def test_a_budget_may_be_a_timedelta() -> None:
    """``timeout=timedelta(...)`` is seconds as well."""
    broker = one_partition()
    broker.down()
    async with opened(broker) as publisher:
        with pytest.raises(Exception, match="budget") as caught:
            await publisher.publish(record(1), timeout=timedelta(seconds=2))
        assert 2 <= caught.value.elapsed < 2.25  # type: ignore[attr-defined]


async def test_compression_and_batches() -> None:
    """Every codec's records come back as they were, from one batch."""
    for compression in ("none", "gzip", "snappy", "lz4", "zstd"):
        broker = one_partition()
        async with opened(broker, profile=CRITICAL.replace(compression=compression)) as publisher:
            reports = await publisher.publish_many([record(n) for n in range(100)])
            assert not reports.failures
            assert values(broker) == [str(n) for n in range(100)]
            assert publisher.statistics().attempts == 1


async def test_two_publishers_share_a_broker() -> None:
    """A `MemoryBroker` as target is shared, each publisher with a producer id of its own."""
    broker = one_partition()
    async with opened(broker) as one, opened(broker) as other:
        await one.publish(record(1))
        await other.publish(record(2))
        assert len({logged.stamp.producer_id for logged in broker.records("t")}) == 2


async def test_memory_url_is_a_broker_of_its_own() -> None:
    """``memory://`` needs nothing and takes every topic."""
    async with Publisher("memory://", source="/s") as publisher:
        assert (await publisher.publish(Noted(key="k"))).offset == 0


async def test_an_event_that_no_request_can_hold_was_sent() -> None:
    """What is beyond 8 MiB as it is fails at the call; smaller limits are the brokers' to tell."""
    broker = one_partition()
    async with opened(broker) as publisher:
        huge = record("x" * (8 * 1024 * 1024))
        with pytest.raises(EventTooLargeError, match="8388608; make it smaller") as caught:
            await publisher.publish(huge)
        assert (caught.value.status, caught.value.topic) == (PersistenceStatus.NOT_PERSISTED, "t")
        assert caught.value.record is huge
        with pytest.raises(EventTooLargeError):
            publisher.publish_nowait(huge)
        reports = await publisher.publish_many([record(1), huge, record(2)])
        assert isinstance(reports[1], EventTooLargeError)
        assert len(reports.deliveries) == 2
        assert broker.received["produce"] == 1
        packed = await publisher.publish(huge, profile=CRITICAL.replace(compression="gzip"))
        assert packed.offset == 2
