"""A memory broker with topic ``t``, and clients of it that send one stamped batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from eventpub.abc import (
    UNSTAMPED,
    Acked,
    Acks,
    AttemptResult,
    ProducerId,
    Rejected,
    Stamp,
    TopicPartition,
    WireBatch,
)
from eventpub.record import Record
from eventpub.transports.memory import MemoryBroker, MemoryTransport
from support import virtual_time

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

NOW = 1_700_000_000_000


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], AbstractEventLoop]]:
    """Give each test a virtual-time loop."""
    return {"virtual": virtual_time.new_loop}


class Client:
    """One transport, driven by hand: batches are stamped as the test says."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.transport = MemoryTransport(broker)
        self.producer = ProducerId(-1, -1)
        self.late: list[tuple[TopicPartition, WireBatch, Acked | Rejected]] = []
        self.counts: list[tuple[str, int]] = []

    def on_late(self, partition: TopicPartition, batch: WireBatch, result: Acked | Rejected, /) -> None:
        self.late.append((partition, batch, result))

    def on_partitions(self, topic: str, count: int, /) -> None:
        self.counts.append((topic, count))

    async def open(self) -> None:
        await self.transport.start(self)
        producer = await self.transport.producer_id()
        assert isinstance(producer, ProducerId)
        self.producer = producer

    def batch(
        self,
        sequence: int | None,
        *values: bytes,
        epoch: int = 0,
        key: bytes | None = b"k",
        timestamp: int = NOW,
    ) -> WireBatch:
        """Encode *values* as one batch; without a sequence, one that has no producer id."""
        stamp = UNSTAMPED if sequence is None else Stamp(self.producer.id, self.producer.epoch + epoch, sequence)
        return self.encode([Record("t", value, key, timestamp=timestamp) for value in values], stamp)

    def encode(self, records: list[Record], stamp: Stamp) -> WireBatch:
        return self.transport.encode(records, stamp, "none")

    async def send(
        self, batch: WireBatch, partition: int = 0, topic: str = "t", acks: Acks = "all", timeout: float = 1.0
    ) -> AttemptResult:
        """Send *batch* once, and return what came of it within *timeout* seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        return await self.transport.produce(TopicPartition(topic, partition), batch, acks, deadline)

    async def put(self, sequence: int, *values: bytes, epoch: int = 0, partition: int = 0) -> AttemptResult:
        """Send *values* once as the batch of that sequence."""
        return await self.send(self.batch(sequence, *values, epoch=epoch), partition)

    def log(self, partition: int | None = None, topic: str = "t") -> list[bytes | None]:
        """Return the values that a consumer would read."""
        return [record.value for record in self.broker.records(topic, partition)]


def acked(offset: int, broker: int = 1) -> Acked:
    """Return what a batch appended at *offset* comes back as."""
    return Acked(f"memory:{broker}", offset)


def code(result: AttemptResult) -> int:
    """Return the code of a refusal that wrote nothing."""
    assert isinstance(result, Rejected), result
    assert result.offset == -1
    return result.code


@pytest.fixture
def broker() -> MemoryBroker:
    """A broker whose wall clock stands at `NOW`, with topic ``t`` of four partitions."""
    broker = MemoryBroker(now=lambda: NOW)
    broker.create_topic("t", 4)
    return broker


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def connect(broker: MemoryBroker) -> AsyncIterator[Connect]:
    """Open any number of clients, of *broker* or of another one."""
    clients: list[Client] = []

    async def connect(to: MemoryBroker = broker) -> Client:
        client = Client(to)
        await client.open()
        clients.append(client)
        return client

    yield connect
    for client in clients:
        await client.transport.aclose(0)


@pytest.fixture
async def client(connect: Connect) -> Client:
    """A client of *broker*."""
    return await connect()
