"""Synthetic ledgers and logs, and a small publisher that can be broken in every way there is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from eventpub import Record
from eventpub.abc import UNSTAMPED, Acked, InDoubt, ProducerId, Stamp, TopicPartition
from eventpub.testing import Ledger, Word
from eventpub.transports.memory import MemoryBroker, MemoryTransport

if TYPE_CHECKING:
    from eventpub.abc import Acks, AttemptResult
    from eventpub.testing.ledger import Intent

TOPIC = "t"
ZERO = TopicPartition(TOPIC, 0)


class Read(NamedTuple):
    """A record as an independent reader returns it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def event(name: str, key: bytes | None = b"k", value: bytes | None = None) -> Record:
    """Return a record that is recognised as *name*."""
    return Record(TOPIC, name.encode() if value is None else value, key, [("ce_id", name.encode())])


def read(record: Record, offset: int, partition: int = 0) -> Read:
    """Return *record* as it is read at *offset*."""
    return Read(partition, offset, record.key, record.value, record.headers)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Peer:
    """A publisher on one partition, straight on the transport: one record at a time, in doubt until it is known.

    It tells the truth. Each subclass breaks one thing that publishers are known to break.
    """

    broker: MemoryBroker
    ledger: Ledger
    acks: ClassVar[Acks] = "all"
    idempotent: ClassVar[bool] = True
    request_timeout: ClassVar[float] = 0.5
    hears: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.transport = MemoryTransport(self.broker)
        self.turn = asyncio.Lock()
        self.producer = ProducerId(-1, -1)
        self.sequence = 0
        self.closed = False

    async def open(self) -> None:
        """Attach to the broker and take a producer id."""
        await self.transport.start(self)
        if self.hears:
            self.ledger.on_state("open")
        producer = await self.transport.producer_id()
        assert isinstance(producer, ProducerId)
        self.producer = producer

    async def aclose(self) -> None:
        """End what is under way."""
        self.closed = True
        await self.transport.aclose(0)

    async def publish(self, record: Record, timeout: float = 5.0) -> Word:
        """Publish *record*, and write down what became of it."""
        intent = self.ledger.intend(record, budget=timeout, acks=self.acks, idempotent=self.idempotent)
        try:
            result, word = await self.delivered(record, asyncio.get_running_loop().time() + timeout)
        except asyncio.CancelledError:
            self.say(intent, Word.CANCELLED)
            raise
        self.say(intent, word, result.offset if isinstance(result, Acked) else None)
        return word

    def say(self, intent: Intent, word: Word, offset: int | None = None) -> None:
        """Write down an outcome."""
        self.ledger.say(intent, word, partition=0, offset=offset)

    async def delivered(self, record: Record, deadline: float) -> tuple[AttemptResult | None, Word]:
        """Try until *record* is acknowledged or time is up."""
        async with self.turn:
            stamp = self.next_stamp()
            return await self.tried(record, stamp, deadline)

    async def tried(self, record: Record, stamp: Stamp, deadline: float) -> tuple[AttemptResult | None, Word]:
        """Send the same batch again and again."""
        history: list[AttemptResult] = []
        loop = asyncio.get_running_loop()
        while not self.closed and loop.time() < deadline - 0.1:
            await self.attempt(record, stamp, min(deadline, loop.time() + self.request_timeout), history)
            if isinstance(history[-1], Acked):
                self.sequence += 1
                return history[-1], Word.PERSISTED
            stamp = self.stamp_again(stamp)
            await asyncio.sleep(0.1)
        return (history[-1] if history else None), self.word(history)

    async def attempt(self, record: Record, stamp: Stamp, deadline: float, history: list[AttemptResult]) -> None:
        """Send once."""
        wire = self.transport.encode([self.written(record)], stamp, "none")
        history.append(await self.transport.produce(ZERO, wire, self.acks, deadline))

    def next_stamp(self) -> Stamp:
        """Return what the next record is stamped with."""
        return Stamp(*self.producer, self.sequence) if self.idempotent else UNSTAMPED

    def stamp_again(self, stamp: Stamp) -> Stamp:
        """Return what a resend is stamped with."""
        return stamp

    def written(self, record: Record) -> Record:
        """Return what goes to the broker for *record*."""
        return record._replace(timestamp=0)

    def word(self, history: list[AttemptResult]) -> Word:
        """Say what is true after *history*, none of which was an acknowledgement."""
        doubt = any(isinstance(result, InDoubt) for result in history)
        return Word.POSSIBLY_PERSISTED if doubt else Word.NOT_PERSISTED

    def on_late(self, *_: object) -> None:
        """Hear of a late answer."""

    def on_partitions(self, topic: str, count: int, /) -> None:
        """Hear of more partitions."""
