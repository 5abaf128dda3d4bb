"""A transport in the hands of a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from eventpub.abc import (
    UNSTAMPED,
    Acked,
    Acks,
    AttemptResult,
    Compression,
    Rejected,
    Stamp,
    TopicPartition,
    WireBatch,
)
from eventpub.config import KafkaConfig
from eventpub.record import Record
from eventpub.transports.kafka import KafkaTransport


class Client:
    """A started transport, and what it told without being asked."""

    def __init__(self, config: KafkaConfig) -> None:
        self.transport = KafkaTransport(config, client_id="test")
        self.loop = asyncio.get_running_loop()
        self.late: list[tuple[TopicPartition, WireBatch, Acked | Rejected]] = []
        self.counts: list[tuple[str, int]] = []

    def on_late(self, partition: TopicPartition, batch: WireBatch, result: Acked | Rejected, /) -> None:
        """Keep a late answer."""
        self.late.append((partition, batch, result))

    def on_partitions(self, topic: str, count: int, /) -> None:
        """Keep a partition count."""
        self.counts.append((topic, count))

    def batch(self, *values: bytes, stamp: Stamp = UNSTAMPED, compression: Compression = "none") -> WireBatch:
        """Encode records with these values."""
        records = [Record("t", value, b"k", timestamp=1_700_000_000_000) for value in values or (b"v",)]
        return self.transport.encode(records, stamp, compression)

    async def put(
        self, number: int = 0, *values: bytes, acks: Acks = "all", timeout: float = 5.0, topic: str = "t"
    ) -> AttemptResult:
        """Wait until a batch could be written, and send it once."""
        partition = TopicPartition(topic, number)
        refusal = await self.transport.ready(partition, acks)
        if refusal is not None:
            return refusal
        return await self.transport.produce(partition, self.batch(*values), acks, self.loop.time() + timeout)


@contextlib.asynccontextmanager
async def client(servers: str, **settings: Any) -> AsyncIterator[Client]:
    """Start a transport; close it afterwards, and see that this takes no time."""
    started = Client(KafkaConfig(servers, **settings))
    await started.transport.start(started)
    try:
        yield started
    finally:
        began = started.loop.time()
        await started.transport.aclose(began + 5)
        assert started.loop.time() - began < 0.5, "closing waited for somebody"
