"""A memory broker with topic ``t``, and clients of it that send one stamped batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from eventpub.abc import Acked, Acks, AttemptResult, Rejected, TopicPartition, WireBatch
from eventpub.transports.memory import MemoryBroker, MemoryTransport
from support import virtual_time
from tests.contract import client as by_hand

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], AbstractEventLoop]]:
    """Give each test a virtual-time loop."""
    return {"virtual": virtual_time.new_loop}


NOW = by_hand.TIMESTAMP


class Client(by_hand.Client):
    """One transport, driven by hand; a batch is handed over whether it could be written or not."""

    transport: MemoryTransport

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(MemoryTransport(broker), "t")
        self.broker = broker

    async def send(
        self,
        batch: WireBatch,
        partition: int = 0,
        *,
        topic: str = "t",
        acks: Acks = "all",
        timeout: float = 1.0,
    ) -> AttemptResult:
        """Send *batch* once, and return what came of it within *timeout* seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        return await self.transport.produce(TopicPartition(topic, partition), batch, acks, deadline)

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
