"""Readiness over the wire: why not, in words that are true, for who publishes and for who is idle; and the log beside it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from eventpub import BufferLimits, Publisher, Record, StartError
from eventpub.testing import EmbeddedKafka
from support.kafka_node import free_ports

pytestmark = pytest.mark.wire

EVENT = Record("t", b"payload")


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    """Run one broker."""
    with EmbeddedKafka() as kafka:
        kafka.create_topic("t")
        yield kafka


async def unready(publisher: Publisher, words: str) -> None:
    """Return when health says *words*."""
    async with asyncio.timeout(10):
        while not any(words in reason for reason in publisher.health().reasons):  # noqa: ASYNC110 - nothing rings
            await asyncio.sleep(0.02)


async def test_no_broker() -> None:
    """Nobody listens: at first nothing is known, then which address refused, and how."""
    (port,) = free_ports(1)
    async with Publisher(f"kafka://127.0.0.1:{port}") as publisher:
        assert publisher.health().reasons == ("no broker has answered yet",)
        await unready(publisher, f"127.0.0.1:{port} cannot be reached")
        with pytest.raises(StartError, match=f"not ready: 127.0.0.1:{port} cannot be reached"):
            await publisher.wait_ready(0.1)


async def test_no_metadata(kafka: EmbeddedKafka) -> None:
    """Who lets us connect and then answers nothing is not ready, and is named."""
    kafka.pause()
    async with Publisher(kafka.url) as publisher:
        await unready(publisher, "no broker has answered yet")
        await unready(publisher, kafka.bootstrap_servers)
        kafka.resume()
        await publisher.wait_ready(30)


async def test_an_idle_publisher_notices_that_the_brokers_are_gone(
    kafka: EmbeddedKafka, caplog: pytest.LogCaptureFixture
) -> None:
    """It published nothing, asks nothing, and says so all the same; it is ready again by itself. The log has both."""
    caplog.set_level(logging.INFO, "eventpub")
    async with Publisher(kafka.url) as publisher:
        await publisher.wait_ready(10)
        kafka.down()
        await unready(publisher, "cannot be reached")
        kafka.up()
        await publisher.wait_ready(10)
        assert publisher.statistics().attempts == 0
    told = [vars(entry)["line"] for entry in caplog.records if entry.name == "eventpub.brokers"]
    assert told[0] == "cluster.found"
    expected = {"cluster.found", "connection.ended", "broker.lost", "cluster.lost", "broker.reached", "cluster.reached"}
    assert set(told) == expected
    assert told.index("broker.lost") < told.index("cluster.lost") < told.index("cluster.reached")


async def test_one_broker_of_three_that_goes_is_no_reason(caplog: pytest.LogCaptureFixture) -> None:
    """Idle or not, another one is asked; what is led by the lost one fails by its events and not by readiness."""
    with EmbeddedKafka(3) as kafka:
        kafka.create_topic("t", 3)
        async with Publisher(kafka.url) as publisher:
            for partition in range(3):
                await publisher.publish(Record("t", b"payload", partition=partition))
            kafka.down(2)
            for _ in range(20):
                assert publisher.health().ready
                await asyncio.sleep(0.02)
    assert "no broker answers" not in caplog.text


async def test_a_full_buffer(kafka: EmbeddedKafka) -> None:
    """Told from both ways to publish, until there is room."""
    async with Publisher(kafka.url, buffer=BufferLimits(max_records=1)) as publisher:
        await publisher.publish(EVENT)
        kafka.latency(0.3)
        pending = publisher.publish_nowait(EVENT)
        assert publisher.health().reasons == ("the buffer is full: publishes wait for room",)
        await pending
        assert publisher.health().ready


async def test_closing(kafka: EmbeddedKafka) -> None:
    """A publisher that drains takes nothing any more, though its brokers are well."""
    async with Publisher(kafka.url) as publisher:
        await publisher.publish(EVENT)
        kafka.latency(0.3)
        publishing = asyncio.create_task(publisher.publish(EVENT))
        await asyncio.sleep(0)
        closing = asyncio.create_task(publisher.aclose())
        await asyncio.sleep(0)
        assert publisher.health().reasons == ("the publisher is draining",)
        await asyncio.gather(publishing, closing)
        assert publisher.health().reasons == ("the publisher is closed",)
