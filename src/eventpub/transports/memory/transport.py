"""`eventpub.abc.Transport` on a `MemoryBroker`: deadlines, connections and what a client knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from eventpub.abc import (
    Acks,
    AttemptResult,
    Compression,
    NotSent,
    OnResult,
    Posted,
    ProducerId,
    Rejected,
    Stamp,
    TopicPartition,
    TransportListener,
    WireBatch,
)
from eventpub.exceptions import StartError, UsageError
from eventpub.record import Record
from eventpub.transports.bell import Bell, first_ring
from eventpub.transports.memory.broker import MemoryBroker
from eventpub.transports.memory.cluster import UNKNOWN_TOPIC_OR_PARTITION
from eventpub.transports.memory.codec import encode
from eventpub.transports.memory.connection import Connection
from eventpub.transports.memory.node import Node
from eventpub.transports.produced import produced

BROKER_NOT_AVAILABLE = 8

UNKNOWN_AFTER_ANSWERS = 4
BETWEEN_ANSWERS = 0.25
KNOWN_BEFORE = 30.0
TIMER_EARLY = 1e-6  # seconds: a timer may fire within its clock's resolution before its time


@dataclass(slots=True, eq=False, repr=False)
class MemoryTransport:
    """One client of *broker*: it may be opened once, on one loop.

    Leaders are always known (metadata is current), answers take ``broker.latency``, and a
    request that was written reaches the log when the network lets it, also after `aclose`.
    """

    broker: MemoryBroker
    _listener: TransportListener | None = field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)
    _answered: bool = field(default=False, init=False)
    _greeting: asyncio.TimerHandle | None = field(default=None, init=False)
    _producer_id: ProducerId | None = field(default=None, init=False)
    _counts: dict[str, int] = field(default_factory=dict, init=False)
    _connections: dict[tuple[str, Acks], Connection] = field(default_factory=dict, init=False)
    _changed: Bell = field(default_factory=Bell, init=False)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "new" if self._loop is None else "open"
        return f"<MemoryTransport {state} on {self.broker!r}>"

    async def start(self, listener: TransportListener, /) -> None:
        """Attach to the broker, and look for an answer in the background."""
        if self._loop is not None:
            raise UsageError("a MemoryTransport is started once: make another for the same broker")
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self.broker.attach(self)
        self._greet()

    async def aclose(self, deadline: float, /) -> None:  # noqa: ARG002 - nothing here takes time
        """End every pending call with its value; no timer is left."""
        self._closed = True
        if self._greeting is not None:
            self._greeting.cancel()
        self.broker.detach(self)
        for connection in self._connections.values():
            connection.close()
        self._changed.ring()

    async def connected(self) -> None:
        """Return once a broker has answered."""
        while not self._answered:
            if reason := self.broker.refusal():
                raise StartError(reason)
            if self._closed:
                raise StartError("the transport was closed before a broker answered")
            await (self._reach() if self.broker.answering() else first_ring(self._changed))

    def problems(self) -> tuple[str, ...]:
        """Say of each broker why it is not there, unless one is."""
        if not self.broker.answering():
            return self.broker.troubles()
        return () if self._answered else ("no broker has answered yet",)

    async def partitions(self, topic: str, /, *, fresh: bool = False) -> int | Rejected:
        """Return the topic's partition count, from memory unless *fresh*."""
        if not fresh and topic in self._counts:
            return self._counts[topic]
        return await self._ask(topic)

    def has_leader(self, partition: TopicPartition, /) -> bool:
        """Whether the partition has a leader that is up."""
        return self.broker.has_leader(partition)

    async def producer_id(self, *, stale: int | None = None) -> ProducerId | Rejected:
        """Return this client's producer id, a new one if that is *stale*."""
        while (known := self.known_producer_id(stale=stale)) is None:
            if not await self._reach():
                return _closed()
            if self.known_producer_id(stale=stale) is None:
                answer = self.broker.allocate_producer_id()
                if isinstance(answer, Rejected):
                    return answer
                self._producer_id = answer
        return known

    def known_producer_id(self, *, stale: int | None = None) -> ProducerId | None:
        """Return this client's producer id, if it has one that is not *stale*."""
        return None if self._producer_id is None or self._producer_id.id == stale else self._producer_id

    async def ready(self, partition: TopicPartition, acks: Acks, /) -> Rejected | None:
        """Return when the leader's connection is free; at once if it is."""
        while not self._closed:
            connection = self._connection(partition, acks)
            if connection is not None and connection.connect():
                if connection.free:
                    return None
                await first_ring(connection.released)
            elif self.broker.exists(partition):
                await first_ring(self._changed)
            elif (refusal := await self._missing(partition)) and not self._closed:
                return refusal
        return None

    def is_ready(self, partition: TopicPartition, acks: Acks, /) -> bool:
        """Whether the leader's connection is there and free."""
        connection = None if self._closed else self._connection(partition, acks)
        return connection is not None and connection.connect() and connection.free

    def call_when_ready(self, partition: TopicPartition, acks: Acks, callback: Callable[[], None], /) -> bool:
        """Call *callback* when the leader's connection is free, or somebody else may lead."""
        connection = None if self._closed else self._connection(partition, acks)
        if connection is None or not connection.connect():
            return False
        connection.released.add(callback)
        return True

    def encode(self, records: Sequence[Record], stamp: Stamp, compression: Compression, /) -> WireBatch:
        """Encode *records* into one batch."""
        return WireBatch(encode(records, compression), len(records), stamp)

    async def produce(
        self, partition: TopicPartition, batch: WireBatch, acks: Acks, deadline: float, /
    ) -> AttemptResult:
        """Send *batch* once and return what came of it by *deadline*."""
        listener = self._started()[1]
        post = partial(self.post, partition, batch, acks, deadline)
        return await produced(post, partial(listener.on_late, partition, batch))

    def post(
        self,
        partition: TopicPartition,
        batch: WireBatch,
        acks: Acks,
        deadline: float,
        on_result: OnResult,
        /,
    ) -> Posted:
        """Send *batch* once and tell *on_result* what came of it by *deadline*."""
        connection = None if self._closed else self._connection(partition, acks)
        fault = self._why_not(connection, partition, deadline)
        if connection is None or fault is not None:
            refusal = NotSent(None if connection is None else connection.node.name, fault)
            return self._started()[0].call_soon(on_result, refusal)
        return connection.post(partition, batch, deadline, on_result)

    def _why_not(self, connection: Connection | None, partition: TopicPartition, deadline: float) -> OSError | None:
        if self._closed:
            return ConnectionAbortedError("the transport was closed")
        if connection is None:
            return ConnectionError(f"{partition} has no leader")
        if self.broker.fails_to_write(partition):
            return ConnectionError("nothing could be written")
        if self._now() >= deadline:
            return TimeoutError("the deadline had passed before")
        return None

    def on_change(self) -> None:
        """The cluster changed: whoever waits looks again, and known topics may have grown."""
        if self.broker.answering():
            for topic in tuple(self._counts):
                if (count := self.broker.count(topic)) is not None:
                    self._learn(topic, count)
        self._greet()
        self._changed.ring()
        for connection in self._connections.values():
            connection.released.ring()  # its leader may be another one now

    def _greet(self) -> None:
        # As a client of Kafka asks for metadata when it starts: who never publishes gets ready, too.
        node = None if self._answered or self._closed else self.broker.answering()
        if node is not None and self._greeting is None:
            self._greeting = self._started()[0].call_later(node.latency, self._greeted, node)

    def _greeted(self, node: Node) -> None:
        self._greeting = None
        if node.answers:
            self._answered = True
        else:
            self._greet()

    async def _ask(self, topic: str) -> int | Rejected:
        answers, patient_until = 0, self._now() + (KNOWN_BEFORE if topic in self._counts else 0)
        while await self._reach():
            answer = self.broker.describe(topic)
            if isinstance(answer, int):
                return self._learn(topic, answer)
            if answer.code != UNKNOWN_TOPIC_OR_PARTITION:
                return answer
            answers += 1
            if answers >= UNKNOWN_AFTER_ANSWERS and self._now() >= patient_until:
                self._counts.pop(topic, None)
                return answer
            await self._sleep(BETWEEN_ANSWERS)
        return _closed()

    async def _missing(self, partition: TopicPartition) -> Rejected | None:
        count = await self._ask(partition.topic)
        if isinstance(count, Rejected):
            return count
        return None if partition.partition < count else Rejected(None, UNKNOWN_TOPIC_OR_PARTITION)

    async def _reach(self) -> bool:
        """Go to a broker and back, however long it takes to find one; false once closed."""
        while not self._closed:
            node = self.broker.answering()
            if node is None:
                self.broker.turn_away()
                await first_ring(self._changed)
                continue
            await self._sleep(node.latency)
            if node.answers and not self._closed:
                self._answered = True
                return True
        return False

    async def _sleep(self, seconds: float) -> None:
        until = self._now() + seconds
        while not self._closed and (left := until - self._now()) > TIMER_EARLY:
            await first_ring(self._changed, seconds=left)

    def _learn(self, topic: str, count: int) -> int:
        before = self._counts.get(topic, count)
        self._counts[topic] = count
        if before != count and self._listener is not None:
            self._listener.on_partitions(topic, count)
        return count

    def _connection(self, partition: TopicPartition, acks: Acks) -> Connection | None:
        node = self.broker.leader(partition)
        if node is None:
            return None
        known = self._connections.get((node.name, acks))
        return known or self._new_connection(node, acks)

    def _new_connection(self, node: Node, acks: Acks) -> Connection:
        loop, listener = self._started()
        connection = Connection(node, acks, listener, self.broker.send, loop)
        self._connections[node.name, acks] = connection
        return connection

    def _now(self) -> float:
        return self._started()[0].time()

    def _started(self) -> tuple[asyncio.AbstractEventLoop, TransportListener]:
        if self._loop is None or self._listener is None:
            raise UsageError("the MemoryTransport was not started")
        return self._loop, self._listener


def _closed() -> Rejected:
    return Rejected(None, BROKER_NOT_AVAILABLE, message="the transport was closed")
