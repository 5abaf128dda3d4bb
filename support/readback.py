"""An independent witness: reads by librdkafka what eventpub wrote, and shares no code with it.

Every call opens a client of its own and closes it again, blocks, and works on Apache Kafka
and on the embedded broker alike (topics of the latter are made by itself).
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # confluent_kafka.admin hides it from type checkers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class ReadRecord(NamedTuple):
    """One record as it lies in the log. ``timestamp`` is in milliseconds since the epoch."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int


def read_topic(bootstrap_servers: str, topic: str, *, timeout: float = 15) -> list[ReadRecord]:
    """Return every record of *topic*, from each partition's offset 0 to its end as of now.

    Sorted by partition, then by offset. Includes records of open and aborted transactions.

    Raises:
        TimeoutError: the end was not reached within *timeout* seconds.
        KafkaException: the topic does not exist, or the broker refused.
    """
    with _consumer(bootstrap_servers) as consumer:
        partitions = _partitions(consumer, topic, timeout)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        return sorted(_read_to_the_end(consumer, partitions, timeout))


def partition_count(bootstrap_servers: str, topic: str, *, timeout: float = 15) -> int:
    """Return how many partitions *topic* has."""
    with _consumer(bootstrap_servers) as consumer:
        return len(_partitions(consumer, topic, timeout))


def create_topic(
    bootstrap_servers: str,
    name: str,
    partitions: int = 1,
    *,
    replication_factor: int = -1,
    config: Mapping[str, str] | None = None,
    timeout: float = 30,
) -> str:
    """Create a topic on Apache Kafka and return its name once every partition has a leader.

    Args:
        bootstrap_servers: Where.
        name: Its name.
        partitions: How many.
        replication_factor: -1 is the broker's default: as many as there are brokers.
        config: Topic settings, such as ``{"max.message.bytes": "20000"}``.
        timeout: In seconds, for both steps together.
    """
    patience = time.monotonic() + timeout
    topic = NewTopic(name, partitions, replication_factor, config=dict(config or {}))
    admin = _admin(bootstrap_servers)  # kept until the end: its futures die with it
    admin.create_topics([topic], request_timeout=timeout)[name].result(timeout)
    while not _has_leaders(admin, name, partitions):
        if time.monotonic() > patience:
            raise TimeoutError(f"topic {name} has no leaders after {timeout:g} s")
        time.sleep(0.02)
    return name


def brokers_in_metadata(bootstrap_servers: str, *, timeout: float = 1) -> set[int]:
    """Return the ids of the brokers that the cluster knows; empty while nobody answers."""
    try:
        return set(_admin(bootstrap_servers).list_topics(timeout=timeout).brokers)
    except KafkaException:
        return set()


def leader(bootstrap_servers: str, topic: str, partition: int = 0, *, timeout: float = 15) -> int:
    """Return the id of the broker that leads a partition; -1 while none does."""
    admin = _admin(bootstrap_servers)
    return admin.list_topics(topic, timeout=timeout).topics[topic].partitions[partition].leader


def _admin(bootstrap_servers: str) -> AdminClient:
    # Its log lines (a broker that is still starting refuses connections) go nowhere.
    return AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})


@contextlib.contextmanager
def _consumer(bootstrap_servers: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "readback",  # demanded, never joined: partitions are assigned by hand
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_uncommitted",
            "enable.partition.eof": True,
            "check.crcs": True,
            "fetch.wait.max.ms": 20,  # the broker's patience at the end of a partition
            "log_level": 0,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def _partitions(consumer: Consumer, topic: str, timeout: float) -> list[int]:
    found = consumer.list_topics(topic, timeout=timeout).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def _read_to_the_end(consumer: Consumer, partitions: list[int], timeout: float) -> Iterator[ReadRecord]:
    unfinished = set(partitions)
    patience = time.monotonic() + timeout
    while unfinished:
        if time.monotonic() > patience:
            raise TimeoutError(f"partitions {sorted(unfinished)} were not read to the end")
        message = consumer.poll(0.1)
        if message is None:
            continue
        error = message.error()
        if error is None:
            yield _record(message)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            unfinished.discard(message.partition())
        else:
            raise KafkaException(error)


def _record(message: Message) -> ReadRecord:
    partition, offset = message.partition(), message.offset()
    assert partition is not None  # only a message that is yet to be sent has none
    assert offset is not None
    headers = cast("tuple[tuple[str, bytes | None], ...]", tuple(message.headers() or ()))
    _, timestamp = message.timestamp()
    return ReadRecord(partition, offset, message.key(), message.value(), headers, timestamp)


def _has_leaders(admin: AdminClient, topic: str, partitions: int) -> bool:
    found = admin.list_topics(topic, timeout=5).topics[topic].partitions
    return len(found) == partitions and all(p.leader >= 0 for p in found.values())
