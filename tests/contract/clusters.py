"""What the contract suite runs on: the same questions to memory, to a wire, to Apache Kafka."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import TYPE_CHECKING, ClassVar, Protocol

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions  # confluent_kafka.admin hides it from type checkers

from eventpub.config import KafkaConfig
from eventpub.testing import EmbeddedKafka
from eventpub.transports.kafka import KafkaTransport
from eventpub.transports.memory import MemoryBroker, MemoryTransport
from support import readback
from support.readback import ReadRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventpub.abc import Transport
    from support.kafka_node import ApacheKafka

_NOBODY_LISTENS = "127.0.0.1:1"


class Faults(Protocol):
    """The verbs that memory and the embedded broker share."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def down(self) -> None: ...
    def up(self) -> None: ...
    def latency(self, seconds: float) -> None: ...
    def leaderless(self, topic: str, partition: int) -> None: ...
    def leader_back(self, topic: str, partition: int) -> None: ...


class Cluster:
    """A cluster under test. ``lacks`` says what cannot be shown on it, and why."""

    lacks: ClassVar[Mapping[str, str]] = {}

    def needs(self, *abilities: str) -> None:
        """Skip the test where one of *abilities* is lacking."""
        for ability in abilities:
            if reason := self.lacks.get(ability):
                pytest.skip(f"no {ability} here: {reason}")

    @property
    def faults(self) -> Faults:
        """The verbs; ask for the ability ``faults`` before."""
        raise NotImplementedError

    def transport(self) -> Transport:
        """Return a new transport to it."""
        raise NotImplementedError

    def nowhere(self) -> Transport:
        """Return a new transport to where nobody answers."""
        raise NotImplementedError

    async def create_topic(self, partitions: int = 1, *, max_message_bytes: int = 0, compacted: bool = False) -> str:
        """Create a topic under a name of its own."""
        raise NotImplementedError

    async def add_partitions(self, topic: str, total: int) -> None:
        """Let *topic* have *total* partitions."""
        raise NotImplementedError

    async def read(self, topic: str) -> list[ReadRecord]:
        """Return what another client reads, by partition and offset."""
        raise NotImplementedError


class Memory(Cluster):
    """`MemoryBroker`, in virtual time."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(auto_create=False)
        self._names = (f"t{number}" for number in itertools.count())

    @property
    def faults(self) -> Faults:
        return self.broker

    def transport(self) -> Transport:
        return MemoryTransport(self.broker)

    def nowhere(self) -> Transport:
        gone = MemoryBroker()
        gone.down()
        return MemoryTransport(gone)

    async def create_topic(self, partitions: int = 1, *, max_message_bytes: int = 0, compacted: bool = False) -> str:
        name, size = next(self._names), max_message_bytes or 1_048_588
        self.broker.create_topic(name, partitions, max_message_bytes=size, compacted=compacted)
        return name

    async def add_partitions(self, topic: str, total: int) -> None:
        self.broker.add_partitions(topic, total)

    async def read(self, topic: str) -> list[ReadRecord]:
        return sorted(
            ReadRecord(r.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
            for r in self.broker.records(topic)
        )


class _OverTheWire(Cluster):
    bootstrap_servers: str

    def transport(self) -> Transport:
        return KafkaTransport(KafkaConfig(self.bootstrap_servers))

    def nowhere(self) -> Transport:
        return KafkaTransport(KafkaConfig(_NOBODY_LISTENS))

    async def read(self, topic: str) -> list[ReadRecord]:
        return await asyncio.to_thread(readback.read_topic, self.bootstrap_servers, topic)


class Embedded(_OverTheWire):
    """librdkafka's mock cluster, over TCP."""

    lacks: ClassVar = {
        "deduplication": "librdkafka's mock cluster writes a resend again, and checks no sequences",
        "validation": "librdkafka's mock cluster takes every batch",
        "growth": "librdkafka's mock cluster adds no partitions to a topic",
    }

    def __init__(self, kafka: EmbeddedKafka) -> None:
        self._kafka = kafka
        self.bootstrap_servers = kafka.bootstrap_servers
        self._names = (f"t{number}" for number in itertools.count())

    @property
    def faults(self) -> Faults:
        return self._kafka

    async def create_topic(self, partitions: int = 1, *, max_message_bytes: int = 0, compacted: bool = False) -> str:
        if max_message_bytes or compacted:
            self.needs("validation")
        name = next(self._names)
        self._kafka.create_topic(name, partitions)
        return name


class Kafka(_OverTheWire):
    """The session's node of Apache Kafka."""

    lacks: ClassVar = {"faults": "the node belongs to the whole session"}

    def __init__(self, node: ApacheKafka) -> None:
        self.bootstrap_servers = node.bootstrap_servers

    async def create_topic(self, partitions: int = 1, *, max_message_bytes: int = 0, compacted: bool = False) -> str:
        config = {"cleanup.policy": "compact"} if compacted else {}
        if max_message_bytes:
            config["max.message.bytes"] = str(max_message_bytes)
        name = f"t-{uuid.uuid4()}"
        await asyncio.to_thread(readback.create_topic, self.bootstrap_servers, name, partitions, config=config)
        return await self._led(name)

    async def add_partitions(self, topic: str, total: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        await asyncio.to_thread(admin.create_partitions([NewPartitions(topic, total)])[topic].result, 15)
        await self._led(topic)

    async def _led(self, topic: str) -> str:
        # A leader is in the metadata some milliseconds before it knows itself that it is one,
        # and answers code 6 until then. A consumer waits for it.
        await self.read(topic)
        return topic
