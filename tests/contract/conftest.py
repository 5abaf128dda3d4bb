"""One suite, three tiers: each test runs once on each, on the kind of loop that the tier needs.

Memory runs in virtual time; the others are real sockets, in real time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import cache, partial
from pathlib import Path

import pytest

from eventpub.testing import EmbeddedKafka
from support import virtual_time
from tests.contract.client import Client
from tests.contract.clusters import Cluster, Embedded, Kafka, Memory
from tests.fix_loop import LoopFactory, real_loop

_HERE = Path(__file__).parent
_KAFKA_TIMEOUT = 120  # the first test starts the node


@cache
def _tiers(config: pytest.Config) -> dict[str, LoopFactory]:
    real = real_loop(config)
    # An object for each: a test's factory tells its tier.
    return {"memory": virtual_time.new_loop, "wire": partial(real), "kafka": partial(real)}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, LoopFactory]:
    """Run each test that asks for a cluster once on each tier."""
    return _tiers(config) if "cluster" in getattr(item, "fixturenames", ()) else {"plain": real_loop(config)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a wire, or Apache Kafka."""
    for item in items:
        tier = _tier(item) if _HERE in item.path.parents else None
        if tier in {"wire", "kafka"}:
            item.add_marker(tier)
        if tier == "kafka":
            item.add_marker(pytest.mark.timeout(_KAFKA_TIMEOUT))


def _tier(item: pytest.Item) -> str | None:
    chosen = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return next(
        (name for name, factory in _tiers(item.config).items() if any(factory is each for each in chosen)), None
    )


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster of this test's tier."""
    tier = _tier(request.node)
    if tier == "memory":
        yield Memory()
    elif tier == "wire":
        with EmbeddedKafka() as kafka:
            yield Embedded(kafka)
    else:
        yield Kafka(request.getfixturevalue("kafka_node"))


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def connect(cluster: Cluster) -> AsyncIterator[Connect]:
    """Open clients, each with a topic of its own unless one is given."""
    clients: list[Client] = []

    async def connect(topic: str | None = None, *, partitions: int = 4) -> Client:
        client = Client(cluster.transport(), topic or await cluster.create_topic(partitions))
        clients.append(client)
        await client.open()
        assert await client.transport.partitions(client.topic) == partitions
        return client

    yield connect
    for client in clients:
        await client.aclose()


@pytest.fixture
async def client(connect: Connect) -> Client:
    """A client with a topic of four partitions."""
    return await connect()


@pytest.fixture
async def lost(cluster: Cluster) -> AsyncIterator[Client]:
    """A client whose brokers do not answer."""
    client = Client(cluster.nowhere(), "t")
    await client.transport.start(client)
    yield client
    await client.aclose()
