"""The transport on three brokers, one of which dies or freezes: whom that delays, and for how long.

What one broker answers to a batch is in ``tests/contract``; here are the connections between
a client and several.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from eventpub.abc import Acked, Acks, ProducerId, Rejected, Stamp, TopicPartition, WireBatch
from eventpub.config import KafkaConfig
from eventpub.record import Record
from eventpub.transports.kafka import KafkaTransport
from support import readback
from support.kafka_node import ApacheKafka
from tests.fix_kafka import require_kafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

FAILOVER = 12.0
"""A session timeout of three seconds, an election, and a busy machine."""
REQUEST = 3.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """Run three brokers and a controller of their own: one broker can be lost without the quorum."""
    require_kafka()
    with ApacheKafka(tmp_path_factory.mktemp("kafka"), "split") as kafka:
        yield kafka


class Writer:
    """Writes numbered records to each of three partitions, one batch in flight, resent byte for byte."""

    def __init__(self, transport: KafkaTransport, topic: str, producer: ProducerId) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport = transport
        self.topic = topic
        self.producer = producer
        self.acked = [0, 0, 0]
        self.brokers: list[set[str]] = [set(), set(), set()]
        self.longest = [0.0, 0.0, 0.0]
        self.stop = False

    async def lane(self, number: int) -> None:
        """Write until told to stop, and then until the last one is acked."""
        while not self.stop:
            began = self.loop.time()
            await self.one(number)
            self.longest[number] = max(self.longest[number], self.loop.time() - began)
            await asyncio.sleep(0.002)

    async def one(self, number: int, acks: Acks = "all") -> None:
        """Write the next record, as often as it takes."""
        partition, batch = TopicPartition(self.topic, number), self.batch(number)
        while True:
            refusal = await self.transport.ready(partition, acks)
            assert refusal is None
            result = await self.transport.produce(partition, batch, acks, self.loop.time() + REQUEST)
            if isinstance(result, Acked):
                assert result.offset == self.acked[number]
                self.acked[number] += 1
                self.brokers[number].add(str(result.broker))
                return
            assert not isinstance(result, Rejected) or result.code in {3, 6, 7, 19}
            await asyncio.sleep(0.05)

    def batch(self, number: int) -> WireBatch:
        """Encode the next record of a partition."""
        value = b"%d" % self.acked[number]
        record = Record(self.topic, value, partition=number, timestamp=1_700_000_000_000)
        return self.transport.encode([record], Stamp(*self.producer, self.acked[number]), "none")

    def on_late(self, partition: TopicPartition, batch: WireBatch, result: Acked | Rejected, /) -> None:
        """Nothing: what is in doubt is sent again."""

    def on_partitions(self, topic: str, count: int, /) -> None:
        """Nothing: they stay three."""


@pytest.fixture
async def writer(cluster: ApacheKafka) -> AsyncIterator[Writer]:
    """Start a transport, and three lanes on a topic of three partitions and replicas."""
    await asyncio.to_thread(cluster.wait_for_brokers)
    topic = await asyncio.to_thread(readback.create_topic, cluster.bootstrap_servers, f"t-{uuid.uuid4()}", 3)
    transport = KafkaTransport(KafkaConfig(cluster.bootstrap_servers))
    writer = Writer(transport, topic, ProducerId(-1, -1))
    await transport.start(writer)
    producer = await transport.producer_id()
    assert isinstance(producer, ProducerId)
    writer.producer = producer
    lanes = [asyncio.create_task(writer.lane(number)) for number in range(3)]
    async with asyncio.timeout(FAILOVER):
        # Who leads what shows in the first acks, which a busy machine delays.
        while not all(writer.acked):  # noqa: ASYNC110 - a few milliseconds do not matter
            await asyncio.sleep(0.01)
    writer.longest = [0.0, 0.0, 0.0]
    yield writer
    writer.stop = True
    await asyncio.wait_for(asyncio.gather(*lanes), FAILOVER)
    await transport.aclose(writer.loop.time() + 1)


def led_by(cluster: ApacheKafka, writer: Writer) -> dict[int, int]:
    """Return the partition that each broker led so far."""
    ports = {f"127.0.0.1:{cluster.nodes[node].external}": node for node in cluster.brokers}
    return {ports[broker]: number for number in range(3) for broker in writer.brokers[number]}


async def until_it_moves(writer: Writer, number: int) -> float:
    """Return after how many seconds another broker acked a record of that partition."""
    began = writer.loop.time()
    async with asyncio.timeout(FAILOVER):
        while len(writer.brokers[number]) == 1:  # noqa: ASYNC110 - a few milliseconds do not matter
            await asyncio.sleep(0.01)
    return writer.loop.time() - began


def in_order_and_once(cluster: ApacheKafka, writer: Writer) -> bool:
    """Whether each partition holds exactly what was acked, in order."""
    read = readback.read_topic(cluster.bootstrap_servers, writer.topic)
    wanted = [(n, i, b"%d" % i) for n in range(3) for i in range(writer.acked[n])]
    return [(r.partition, r.offset, r.value) for r in read] == wanted


async def test_a_killed_leader_is_replaced_and_delays_nobody_else(cluster: ApacheKafka, writer: Writer) -> None:
    """Its partition goes on at the next leader, once and in order; the two others do not notice."""
    node, number = next(iter(led_by(cluster, writer).items()))
    await asyncio.to_thread(cluster.kill, node)
    try:
        assert await until_it_moves(writer, number) < FAILOVER
        others = [writer.longest[other] for other in range(3) if other != number]
        # Their followers are the dead broker's neighbours: replication goes on without it at
        # once, or after the session timeout where it was in the in-sync set.
        assert max(others) < writer.longest[number] + 0.5
    finally:
        await asyncio.to_thread(cluster.start_node, node)
    writer.stop = True
    await asyncio.sleep(0.5)
    assert await asyncio.to_thread(in_order_and_once, cluster, writer)


async def test_a_frozen_broker_is_left_for_the_next_leader(cluster: ApacheKafka, writer: Writer) -> None:
    """Its sockets stay open and silent, that of metadata perhaps among them."""
    node, number = next(iter(led_by(cluster, writer).items()))
    cluster.pause(node)
    try:
        assert await until_it_moves(writer, number) < FAILOVER
    finally:
        cluster.resume(node)
    writer.stop = True
    await asyncio.sleep(0.5)
    assert await asyncio.to_thread(in_order_and_once, cluster, writer)


async def test_a_rolling_restart_costs_moments(cluster: ApacheKafka, writer: Writer) -> None:
    """Each broker hands over its partitions; no lane waits long, and nothing is lost or doubled."""
    for node in cluster.brokers:
        await asyncio.to_thread(cluster.terminate, node)
        await asyncio.to_thread(cluster.start_node, node)
    assert max(writer.longest) < FAILOVER / 2
    writer.stop = True
    await asyncio.sleep(0.5)
    assert await asyncio.to_thread(in_order_and_once, cluster, writer)
