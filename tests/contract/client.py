"""One transport driven by hand: batches are stamped as the test says, and sent one at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventpub.abc import UNSTAMPED, ProducerId, Stamp, TopicPartition
from eventpub.record import Record

if TYPE_CHECKING:
    from eventpub.abc import Acked, Acks, AttemptResult, Compression, Rejected, Transport, WireBatch

TIMESTAMP = 1_700_000_000_000


class Client:
    """Listens to its transport, and keeps what it was told."""

    def __init__(self, transport: Transport, topic: str) -> None:
        self.transport = transport
        self.topic = topic
        self.producer = ProducerId(-1, -1)
        self.late: list[tuple[TopicPartition, WireBatch, Acked | Rejected]] = []
        self.counts: list[tuple[str, int]] = []

    def on_late(self, partition: TopicPartition, batch: WireBatch, result: Acked | Rejected, /) -> None:
        """Take note of a late answer."""
        self.late.append((partition, batch, result))

    def on_partitions(self, topic: str, count: int, /) -> None:
        """Take note of another partition count."""
        self.counts.append((topic, count))

    async def open(self) -> None:
        """Start, and take a producer id."""
        await self.transport.start(self)
        producer = await self.transport.producer_id()
        assert isinstance(producer, ProducerId)
        self.producer = producer

    async def aclose(self) -> None:
        """Close the transport, with a second to spare."""
        await self.transport.aclose(asyncio.get_running_loop().time() + 1)

    def at(self, partition: int = 0) -> TopicPartition:
        """Return a partition of the topic."""
        return TopicPartition(self.topic, partition)

    def stamp(self, sequence: int | None, epoch: int = 0) -> Stamp:
        """Return the stamp of that sequence, *epoch* epochs on; without one, that of no producer."""
        if sequence is None:
            return UNSTAMPED
        return Stamp(self.producer.id, self.producer.epoch + epoch, sequence)

    def batch(
        self,
        sequence: int | None,
        *values: bytes | None,
        epoch: int = 0,
        key: bytes | None = b"k",
        timestamp: int = TIMESTAMP,
    ) -> WireBatch:
        """Encode *values* as one batch."""
        records = [Record(self.topic, value, key, timestamp=timestamp) for value in values]
        return self.encode(records, self.stamp(sequence, epoch))

    def encode(self, records: list[Record], stamp: Stamp, compression: Compression = "none") -> WireBatch:
        """Encode *records* as one batch."""
        return self.transport.encode(records, stamp, compression)

    async def ready(self, partition: int = 0, acks: Acks = "all") -> Rejected | None:
        """Wait until a batch of *partition* could be written."""
        return await self.transport.ready(self.at(partition), acks)

    async def produce(
        self, batch: WireBatch, partition: int = 0, *, acks: Acks = "all", timeout: float = 1.0
    ) -> AttemptResult:
        """Hand *batch* over as it is, ready or not, and return what came of it within *timeout* seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        return await self.transport.produce(self.at(partition), batch, acks, deadline)

    async def send(
        self, batch: WireBatch, partition: int = 0, *, acks: Acks = "all", timeout: float = 1.0
    ) -> AttemptResult:
        """Send *batch* as soon as it can be written, and return what came of it within *timeout* seconds of then."""
        assert await self.ready(partition, acks) is None
        return await self.produce(batch, partition, acks=acks, timeout=timeout)

    async def put(self, sequence: int, *values: bytes, epoch: int = 0, partition: int = 0) -> AttemptResult:
        """Send *values* once, as the batch of that sequence."""
        return await self.send(self.batch(sequence, *values, epoch=epoch), partition)
