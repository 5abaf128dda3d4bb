"""A broker's end of a connection, played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from eventpub.abc import UNSTAMPED, Acked, Acks, AttemptResult, ProducerId, Rejected, Stamp, TopicPartition, WireBatch
from eventpub.config import Address
from eventpub.transports.kafka.answers import ClusterMetadata, ProduceAnswer, ProduceReply, TopicMetadata, Topics
from eventpub.transports.kafka.errors import ConnectionFault, UnreachableError
from eventpub.transports.kafka.merge import Outbox
from eventpub.transports.produced import produced

HERE = Address("here", 9092)
THERE = Address("there", 9092)
STAMPED = Stamp(7, 0, 0)


def batch(data: bytes = b"batch", stamp: Stamp = UNSTAMPED) -> WireBatch:
    """Return a batch of one record."""
    return WireBatch(data, 1, stamp)


def partition(number: int, topic: str = "t") -> TopicPartition:
    """Return one of the partitions of the topic ``t``."""
    return TopicPartition(topic, number)


@dataclass
class Written:
    """A Produce request as it was written."""

    topics: Topics
    acks: Acks
    timeout: float
    reply: ProduceReply
    at: float

    @property
    def numbers(self) -> list[int]:
        """The partitions in it."""
        return [number for _, batches in self.topics for number, _ in batches]

    def answer(self, *codes: int, offset: int = 40, throttle: float = 0.0) -> None:
        """Answer each partition with its code, 0 if there are not as many."""
        named = [TopicPartition(topic, number) for topic, batches in self.topics for number, _ in batches]
        padded = [*codes, *[0] * len(named)]
        results: dict[TopicPartition, Acked | Rejected] = {
            name: Rejected("here", code) if code else Acked("here", offset)
            for name, code in zip(named, padded, strict=False)
        }
        self.reply.answered(ProduceAnswer(results, throttle))


@dataclass(eq=False)
class FakeLink:
    """A connection that was made; what was written on it is in ``written``."""

    broker: str = "here:9092"
    session_lifetime: float = 0.0
    on_lost: Callable[[ConnectionFault], None] | None = None
    usable: bool = True
    written: list[Written] = field(default_factory=list)
    aborted: ConnectionFault | None = None
    metadata_answers: Callable[[list[str]], ClusterMetadata] | None = None
    asked: list[list[str]] = field(default_factory=list)
    silent: bool = False

    def produce(self, topics: Topics, acks: Acks, timeout: float, reply: ProduceReply, /) -> None:
        """Note the request."""
        self.written.append(Written(topics, acks, timeout, reply, asyncio.get_running_loop().time()))

    def abort(self, fault: ConnectionFault, /) -> None:
        """End as a connection does: replies first, then whoever owns it."""
        if not self.usable:
            return
        self.usable, self.aborted = False, fault
        for request in self.written:
            request.reply.lost(fault)
        if self.on_lost is not None:
            self.on_lost(fault)

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""

    async def metadata(self, topics: list[str], /) -> ClusterMetadata:
        """Answer as told, or never."""
        self.asked.append(topics)
        await asyncio.sleep(3600 if self.silent else 0.001)
        if self.metadata_answers is None:
            return cluster()
        return self.metadata_answers(topics)

    async def init_producer_id(self) -> ProducerId | Rejected:
        """Answer at once."""
        return ProducerId(1, 0)


def cluster(*topics: TopicMetadata, brokers: dict[int, Address] | None = None) -> ClusterMetadata:
    """Return a metadata answer of one broker, or of those given."""
    return ClusterMetadata(brokers or {1: HERE}, topics)


def led(topic: str, count: int, node: int | None = 1) -> TopicMetadata:
    """Return what is said of a topic all of whose partitions are led by *node*."""
    return TopicMetadata(topic, 0, dict.fromkeys(range(count), node))


@dataclass
class FakeConnect:
    """Makes connections as the test says: by default at once, each a new one."""

    plan: list[FakeLink | ConnectionFault | float] = field(default_factory=list)
    made: list[FakeLink] = field(default_factory=list)
    attempts: list[tuple[float, Address]] = field(default_factory=list)

    async def __call__(self, address: Address) -> FakeLink:
        """Take the next step of the plan: a link, a fault, or that many seconds of silence."""
        self.attempts.append((asyncio.get_running_loop().time(), address))
        step = self.plan.pop(0) if self.plan else FakeLink(str(address))
        if isinstance(step, float):
            await asyncio.sleep(step)
            raise UnreachableError(f"{address} did not answer")
        if isinstance(step, ConnectionFault):
            raise step
        self.made.append(step)
        return step


async def settle(turns: int = 5) -> None:
    """Let everything that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def send(outbox: Outbox, to: TopicPartition, wire: WireBatch, deadline: float) -> AttemptResult:
    """Post *wire*, and return what came of it."""
    unheard: list[Acked | Rejected] = []  # the outbox tells its own notes
    return await produced(partial(outbox.post, to, wire, deadline), unheard.append)
