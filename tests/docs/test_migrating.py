"""The code of the page on migrating: the old and the new write the same, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any
from zlib import crc32

import pytest
from confluent_kafka import Producer

from eventpub import Publisher, Record
from eventpub.testing import EmbeddedKafka
from support.kafka_node import ROOT
from support.readback import read_topic
from tests.docs import pages

PAGE = ROOT / "docs" / "guides" / "migrating.md"
PARTITIONS = 6

pytestmark = pytest.mark.wire


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """Return what the page defines."""
    return pages.namespace_of(PAGE)


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    """Run a broker with the page's topics."""
    with EmbeddedKafka() as kafka:
        kafka.create_topic("orders", PARTITIONS)
        yield kafka


async def test_aiokafka_and_eventpub_write_the_same_record(shown: dict[str, Any], kafka: EmbeddedKafka) -> None:
    """Key, value, headers and partition are equal: consumers see no difference."""
    await shown["with_aiokafka"](kafka.bootstrap_servers)
    await shown["with_eventpub"](kafka.url)
    old, new = await asyncio.to_thread(read_topic, kafka.bootstrap_servers, "orders")
    assert (old.partition, old.key, old.value, old.headers) == (new.partition, new.key, new.value, new.headers)


async def test_librdkafka_puts_keys_elsewhere_unless_told(shown: dict[str, Any], kafka: EmbeddedKafka) -> None:
    """By CRC32 as the page's line does it; with murmur2_random as eventpub does."""
    keys = [f"key-{number}".encode() for number in range(8)]
    async with Publisher(kafka.url) as publisher:
        for key in keys:
            by_default, by_murmur2 = await asyncio.to_thread(librdkafka, kafka.bootstrap_servers, key)
            assert by_default == crc32(key) % PARTITIONS
            assert by_default == await shown["where_librdkafka_puts_it"](publisher, key, b"1", PARTITIONS)
            assert by_murmur2 == (await publisher.publish(Record("orders", b"1", key))).partition


def librdkafka(bootstrap_servers: str, key: bytes) -> tuple[int | None, int | None]:
    """Return where librdkafka puts *key* by default, and as Java's clients do."""
    found = []
    for partitioner in ("consistent_random", "murmur2_random"):
        producer = Producer({"bootstrap.servers": bootstrap_servers, "partitioner": partitioner, "linger.ms": 0})
        producer.produce("orders", b"1", key, on_delivery=lambda _, sent: found.append(sent.partition()))
        assert producer.flush(10) == 0
    first, second = found
    return first, second


async def test_the_code_for_confluent_kafka_works(shown: dict[str, Any], kafka: EmbeddedKafka) -> None:
    """What the page begins with is what its users have."""
    assert await shown["with_confluent"](kafka.bootstrap_servers) == 0


@pytest.mark.skipif(find_spec("faststream") is None, reason="FastStream is not installed")
async def test_faststream_and_eventpub_write_the_same_payload(shown: dict[str, Any], kafka: EmbeddedKafka) -> None:
    """The value and the header that FastStream's subscribers decode by."""
    assert await shown["with_faststream"](kafka.bootstrap_servers) == 0
    [record] = await asyncio.to_thread(read_topic, kafka.bootstrap_servers, "orders")
    assert (record.key, record.value) == (b"ann", b'{"number":1}')
    assert dict(record.headers)["content-type"] == b"application/json"
