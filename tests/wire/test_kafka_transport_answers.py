"""What comes back from a broker, in time, late, broken or not at all."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Callable

import pytest

from eventpub.abc import Acked, InDoubt, NotSent, Rejected, Stamp, TopicPartition, Unacknowledged
from eventpub.transports.kafka.errors import ConnectionLostError, NoAnswerError
from tests.wire.fake_broker import (
    INIT_PRODUCER_ID,
    METADATA,
    PRODUCE,
    FakeBroker,
    Received,
    framed,
    running,
)
from tests.wire.kafka_client import Client, client

pytestmark = pytest.mark.wire


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    """Run one broker."""
    broker = FakeBroker()
    async with running(broker):
        yield broker


@pytest.fixture
async def kafka(broker: FakeBroker) -> AsyncIterator[Client]:
    """Start a transport to it."""
    async with client(broker.address) as started:
        yield started


async def test_the_whole_way(broker: FakeBroker, kafka: Client) -> None:
    """Count, producer id, readiness, one batch each way of acknowledging."""
    await kafka.transport.connected()
    assert await kafka.transport.partitions("t") == 4
    assert kafka.transport.has_leader(TopicPartition("t", 3))
    assert await kafka.transport.producer_id() == (7, 0)
    assert await kafka.put() == Acked(broker.address, 0)
    assert await kafka.put(acks=1) == Acked(broker.address, 1)
    assert await kafka.put(acks=0) == Unacknowledged(broker.address)
    assert kafka.transport.problems() == ()


async def test_a_free_connection_does_not_suspend(kafka: Client) -> None:
    """Between `ready` and the cut nothing else may run, and nothing needs to."""
    await kafka.put()
    ready = kafka.transport.ready(TopicPartition("t", 0), "all")
    with pytest.raises(StopIteration) as end:
        ready.send(None)
    assert end.value.value is None


async def test_metadata_acks_values_and_questions_have_connections_of_their_own(
    broker: FakeBroker, kafka: Client
) -> None:
    """A broker answers one request of a connection at a time (rule 13)."""
    for acks in ("all", 1, 0):
        await kafka.put(acks=acks)
    await broker.until(PRODUCE, 3)
    by_connection = {request.connection: request.api for request in broker.received if request.api != 18}
    assert len(by_connection) == 4
    assert list(by_connection.values()).count(PRODUCE) == 3


async def test_lanes_of_one_turn_share_a_request(broker: FakeBroker, kafka: Client) -> None:
    """Also after they were woken together by the answer before."""
    await kafka.put()

    async def lane(number: int) -> None:
        for _ in range(5):
            assert isinstance(await kafka.put(number), Acked)

    await asyncio.gather(*(lane(number) for number in range(4)))
    merged = [request for request in broker.received if request.api == PRODUCE][1:]
    assert len(merged) == 5


async def test_a_broker_without_version_8_is_spoken_to_in_version_7(broker: FakeBroker, kafka: Client) -> None:
    """Kafka 2.1 to 2.3: without record errors, else the same."""
    broker.produce_versions = (0, 7)
    assert isinstance(await kafka.put(), Acked)
    broker.answers[PRODUCE] = lambda request: broker.produced(request, 10)
    assert await kafka.put() == Rejected(broker.address, 10)


async def test_throttle_time_is_waited_out(broker: FakeBroker, kafka: Client) -> None:
    """Before the next attempt begins: its clock does not run while the broker would not read it."""
    broker.answers[PRODUCE] = lambda request: broker.produced(request, throttle=0.4)
    await kafka.put()
    began = kafka.loop.time()
    await kafka.put(timeout=0.2)
    assert 0.35 < kafka.loop.time() - began < 0.6


async def test_throttling_one_acks_value_leaves_the_others_alone(broker: FakeBroker, kafka: Client) -> None:
    """The broker mutes one connection, and that is all."""
    await kafka.put(acks=1)
    broker.answers[PRODUCE] = lambda request: broker.produced(request, throttle=2.0)
    await kafka.put(acks="all")
    del broker.answers[PRODUCE]
    began = kafka.loop.time()
    await kafka.put(acks=1)
    assert kafka.loop.time() - began < 0.2


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
        lambda _: struct.pack(">i", -5),
        lambda request: framed(request.correlation + 1, b"\0" * 20),
        lambda request: framed(request.correlation, b""),
        lambda request: framed(request.correlation, b"\xff" * 40),
        lambda request: framed(request.correlation, struct.pack(">ii", 0, 0)),
        lambda _: struct.pack(">i", 0),
    ],
    ids=["http", "negative", "out of step", "empty", "garbage", "nobody answered", "no header"],
)
async def test_what_is_no_answer_leaves_the_batch_in_doubt(
    broker: FakeBroker, kafka: Client, answer: Callable[[Received], bytes]
) -> None:
    """At its deadline at the latest; the connection is replaced, and the next batch is acked."""
    await kafka.put()
    broker.raw[PRODUCE] = answer
    result = await kafka.put(timeout=0.5)
    assert isinstance(result, InDoubt)
    assert result.broker == broker.address
    del broker.raw[PRODUCE]
    assert isinstance(await kafka.put(), Acked)


async def test_half_an_answer_is_none(broker: FakeBroker, kafka: Client) -> None:
    """A frame that stops in the middle, and then the connection."""
    await kafka.put()
    broker.raw[PRODUCE] = lambda request: framed(request.correlation, broker.produced(request))[:20]
    task = asyncio.create_task(kafka.put())
    await broker.until(PRODUCE, 2)
    await asyncio.sleep(0.05)
    broker.drop()
    result = await task
    assert isinstance(result, InDoubt)
    assert isinstance(result.cause, ConnectionLostError)


async def test_a_silent_broker_costs_the_attempt_its_deadline(broker: FakeBroker, kafka: Client) -> None:
    """Not a moment more, and the next attempt goes over a fresh connection."""
    await kafka.put()
    broker.silent.add(PRODUCE)
    began = kafka.loop.time()
    result = await kafka.put(timeout=0.3)
    assert 0.3 <= kafka.loop.time() - began < 0.4
    assert isinstance(result, InDoubt)
    assert isinstance(result.cause, NoAnswerError)
    broker.silent.clear()
    assert isinstance(await kafka.put(), Acked)


async def test_a_shorter_deadline_in_a_merged_request(broker: FakeBroker, kafka: Client) -> None:
    """It ends in doubt alone; its answer, when it comes, is told as a late one."""
    await kafka.put()
    broker.answering.clear()
    long = asyncio.create_task(kafka.put(0, timeout=5))
    short = asyncio.create_task(kafka.put(1, timeout=0.2))
    assert isinstance(await short, InDoubt)
    assert not long.done()
    broker.answering.set()
    assert isinstance(await long, Acked)
    assert [(partition.partition, type(result)) for partition, _, result in kafka.late] == [(1, Acked)]


async def test_stale_leaders_are_asked_for_again(broker: FakeBroker, kafka: Client) -> None:
    """NOT_LEADER (6): the next attempt waits for metadata of now."""
    await kafka.put()
    asked = broker.count(METADATA)
    broker.answers[PRODUCE] = lambda request: broker.produced(request, 6)
    assert await kafka.put() == Rejected(broker.address, 6)
    assert not kafka.transport.has_leader(TopicPartition("t", 0))
    del broker.answers[PRODUCE]
    assert isinstance(await kafka.put(), Acked)
    assert broker.count(METADATA) == asked + 1


async def test_metadata_garbage_is_asked_for_again(broker: FakeBroker) -> None:
    """A metadata answer that cannot be read costs a pause, not the client."""
    broker.raw[METADATA] = lambda request: framed(request.correlation, b"\xff" * 30)
    async with client(broker.address) as kafka:
        await broker.until(METADATA, 2)
        assert kafka.transport.problems() != ()
        del broker.raw[METADATA]
        assert isinstance(await kafka.put(), Acked)


async def test_a_producer_id_that_is_slow_in_coming_holds_up_nothing_else(broker: FakeBroker, kafka: Client) -> None:
    """Batches without idempotence go on."""
    broker.silent.add(INIT_PRODUCER_ID)
    task = asyncio.create_task(kafka.transport.producer_id())
    await broker.until(INIT_PRODUCER_ID)
    began = kafka.loop.time()
    assert isinstance(await kafka.put(acks=1), Acked)
    assert kafka.loop.time() - began < 0.3
    task.cancel()
    await asyncio.wait([task])


async def test_without_acks_a_socket_that_takes_no_bytes_ends_in_doubt(broker: FakeBroker, kafka: Client) -> None:
    """After what the kernel buffers: bounded by the deadline, and the connection is replaced."""
    assert isinstance(await kafka.put(acks=0), Unacknowledged)
    broker.stall()
    began, result = kafka.loop.time(), await kafka.put(0, b"x" * 900_000, acks=0, timeout=0.3)
    while isinstance(result, Unacknowledged):
        began, result = kafka.loop.time(), await kafka.put(0, b"x" * 900_000, acks=0, timeout=0.3)
    assert isinstance(result, InDoubt)
    assert 0.3 <= kafka.loop.time() - began < 0.4
    broker.go_on()
    assert isinstance(await kafka.put(acks=0), Unacknowledged)


async def test_without_acks_a_stuck_socket_does_not_hold_up_the_close(broker: FakeBroker, kafka: Client) -> None:
    """What could not be handed over is in doubt."""
    await kafka.put(acks=0)
    broker.stall()
    stuck = asyncio.create_task(kafka.put(0, *[b"x" * 900_000] * 16, acks=0, timeout=60))
    await asyncio.sleep(0.1)
    await kafka.transport.aclose(kafka.loop.time() + 1)
    assert isinstance(await stuck, InDoubt)


async def test_a_peer_that_does_not_read_does_not_hold_up_the_close(broker: FakeBroker, kafka: Client) -> None:
    """What was written is in doubt, what was not is not sent, and the socket is gone."""
    await kafka.put()
    broker.stall()
    written = asyncio.create_task(kafka.put(0, *[b"x" * 900_000] * 8, timeout=60))
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(kafka.put(1, timeout=60))
    await asyncio.sleep(0)
    began = kafka.loop.time()
    await kafka.transport.aclose(began + 5)
    assert kafka.loop.time() - began < 0.2
    assert isinstance(await written, InDoubt)
    assert isinstance(await waiting, NotSent)


async def test_no_payload_in_any_log(broker: FakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    """With every logger at DEBUG, aiokafka's included."""
    caplog.set_level(logging.DEBUG)
    async with client(broker.address) as kafka:
        await kafka.put(0, b"canary")
        await kafka.put(0, b"canary", acks=0)
        broker.raw[PRODUCE] = lambda _: struct.pack(">i", -5)
        await kafka.put(0, b"canary")
    assert "canary" not in caplog.text


async def test_a_frozen_batch_is_sent_byte_for_byte(broker: FakeBroker, kafka: Client) -> None:
    """Encoded once: the second attempt carries the bytes of the first."""
    await kafka.put()
    batch = kafka.batch(b"a", b"b", stamp=Stamp(7, 0, 0))
    broker.silent.add(PRODUCE)
    partition = TopicPartition("t", 0)
    await kafka.transport.produce(partition, batch, "all", kafka.loop.time() + 0.2)
    broker.silent.clear()
    await kafka.transport.ready(partition, "all")
    assert isinstance(await kafka.transport.produce(partition, batch, "all", kafka.loop.time() + 5), Acked)
    first, second = [request.produce.topics for request in broker.received if request.api == PRODUCE][-2:]
    assert first == second == [("t", [(0, batch.data)])]
