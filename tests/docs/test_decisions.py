"""What decision 0001 says of aiokafka's own producer, and what eventpub does instead, on Apache Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, OutOfOrderSequenceNumber

from eventpub import Delivery, EventTooLargeError, Publisher, Record
from support.kafka_node import ApacheKafka
from support.readback import read_topic
from tests.fix_kafka import MakeTopic

TOO_LARGE = b"x" * 5000


@pytest.fixture
def topic(kafka_topic: MakeTopic) -> str:
    """Return a topic of one partition that takes small batches only."""
    return kafka_topic(1, max_message_bytes="2000")


@asynccontextmanager
async def idempotent_producer(kafka: ApacheKafka) -> AsyncIterator[AIOKafkaProducer]:
    """Run aiokafka's producer as careful users configure it."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, enable_idempotence=True, acks="all")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def test_a_refused_record_ends_a_partition_for_aiokafka(kafka_node: ApacheKafka, topic: str) -> None:
    """Its sequence is used up: every later send fails until the producer is made anew."""
    async with idempotent_producer(kafka_node) as producer:
        await producer.send_and_wait(topic, b"before", partition=0)
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(topic, TOO_LARGE, partition=0)
        for _ in range(3):
            with pytest.raises(OutOfOrderSequenceNumber):
                await producer.send_and_wait(topic, b"after", partition=0)


async def test_a_refused_record_costs_eventpub_nothing(kafka_node: ApacheKafka, topic: str) -> None:
    """The next event to the same partition is acknowledged at the next offset."""
    async with Publisher(kafka_node.url) as publisher:
        assert (await publisher.publish(Record(topic, b"before"))).offset == 0
        with pytest.raises(EventTooLargeError):
            await publisher.publish(Record(topic, TOO_LARGE))
        assert (await publisher.publish(Record(topic, b"after"))).offset == 1


async def test_a_refused_record_takes_its_batch_along_in_aiokafka(kafka_node: ApacheKafka, topic: str) -> None:
    """Records that were sent together fail together."""
    async with idempotent_producer(kafka_node) as producer:
        sends = [await producer.send(topic, value, partition=0) for value in (b"1", b"2", TOO_LARGE, b"4", b"5")]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
    assert [isinstance(outcome, KafkaError) for outcome in outcomes] == [True] * 5


async def test_a_refused_record_fails_alone_in_eventpub(kafka_node: ApacheKafka, topic: str) -> None:
    """The four good ones are acknowledged, in order."""
    async with Publisher(kafka_node.url) as publisher:
        values = (b"1", b"2", TOO_LARGE, b"4", b"5")
        reports = await publisher.publish_many([Record(topic, value) for value in values])
    assert [type(report) for report in reports] == [Delivery, Delivery, EventTooLargeError, Delivery, Delivery]
    read = await asyncio.to_thread(read_topic, kafka_node.bootstrap_servers, topic)
    assert [record.value for record in read] == [b"1", b"2", b"4", b"5"]


async def test_cancelling_aiokafkas_send_does_not_stop_it(kafka_node: ApacheKafka, kafka_topic: MakeTopic) -> None:
    """A hundred cancelled sends are a hundred records."""
    topic = kafka_topic(1)
    async with idempotent_producer(kafka_node) as producer:
        await producer.send_and_wait(topic, b"connected")
        sends = [asyncio.create_task(producer.send_and_wait(topic, b"cancelled")) for _ in range(100)]
        await asyncio.sleep(0)
        for send in sends:
            send.cancel()
        await asyncio.wait(sends)
    assert all(send.cancelled() for send in sends)
    read = await asyncio.to_thread(read_topic, kafka_node.bootstrap_servers, topic)
    assert len(read) == 101
