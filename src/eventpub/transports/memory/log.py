"""One partition's log: batches in order, the state of their producers, and what a consumer reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from eventpub.abc import Stamp, TopicPartition
from eventpub.record import Headers
from eventpub.transports.memory.codec import decode
from eventpub.transports.memory.producer_state import ProducerState, advance


@dataclass(frozen=True, slots=True, repr=False)
class LoggedRecord:
    """One record as a consumer reads it, with the identity its producer gave it.

    ``stamp`` holds the record's own sequence; it is `eventpub.abc.UNSTAMPED` without a producer id.
    The ``repr`` shows sizes, never contents.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    stamp: Stamp

    def __repr__(self) -> str:
        key = "none" if self.key is None else f"{len(self.key)}B"
        value = "none" if self.value is None else f"{len(self.value)}B"
        where = f"{self.topic}[{self.partition}]@{self.offset}"
        return f"<LoggedRecord {where} value={value} key={key} headers={len(self.headers)}>"


class LoggedBatch(NamedTuple):
    """A batch in the log: its bytes as they came, not its records, of which tests make millions.

    ``size`` counts its records, ``order`` ranks it among the batches of all partitions, and
    ``appended_at`` replaces the timestamps of its records.
    """

    stamp: Stamp
    size: int
    data: bytes
    order: int
    appended_at: int | None = None


@dataclass(slots=True)
class PartitionLog:
    """The batches of one partition, and what is remembered of the producers that wrote them.

    ``replicated`` is the offset up to which the replicas have followed, while they lag.
    """

    partition: TopicPartition
    end_offset: int = 0
    replicated: int | None = None
    _batches: list[LoggedBatch] = field(default_factory=list)
    _producers: dict[int, ProducerState] = field(default_factory=dict)

    def refusal(self, stamp: Stamp) -> int | None:
        """Return 45 or 47 if *stamp* is not what comes next. An unknown producer may begin anywhere."""
        state = self._producers.get(stamp.producer_id)
        return None if state is None else state.refusal(stamp)

    def duplicate(self, stamp: Stamp, count: int) -> int | None:
        """Return the offset of an equal batch that is already here. Bytes are not compared."""
        state = self._producers.get(stamp.producer_id)
        return None if state is None else state.offset_of(stamp, count)

    def append(self, batch: LoggedBatch) -> int:
        """Write *batch* and return the offset of its first record."""
        offset = self.end_offset
        self._batches.append(batch)
        self.end_offset += batch.size
        if batch.stamp.idempotent:
            self._remember(batch, offset)
        return offset

    def truncate(self, offset: int) -> None:
        """Lose all batches that reach beyond *offset*, and what was remembered of them."""
        batches = self._batches
        self.end_offset, self._batches, self._producers = 0, [], {}
        for batch in batches:
            if self.end_offset + batch.size > offset:
                return
            self.append(batch)

    def forget_producers(self) -> None:
        """Lose all producer state, as a broker does when producer ids expire."""
        self._producers.clear()

    def records(self) -> Iterator[tuple[int, LoggedRecord]]:
        """Yield every record that consumers may see, in order, with the rank of its batch."""
        offset = 0
        for batch in self._batches:
            if self.replicated is not None and offset >= self.replicated:
                return
            for record in self._read(batch, offset):
                yield batch.order, record
            offset += batch.size

    def _remember(self, batch: LoggedBatch, offset: int) -> None:
        state = self._producers.get(batch.stamp.producer_id)
        if state is None:
            state = self._producers[batch.stamp.producer_id] = ProducerState(batch.stamp.epoch)
        state.remember(batch.stamp, batch.size, offset)

    def _read(self, batch: LoggedBatch, offset: int) -> Iterator[LoggedRecord]:
        topic, partition = self.partition
        for index, (created_at, key, value, headers) in enumerate(decode(batch.data)):
            timestamp = created_at if batch.appended_at is None else batch.appended_at
            stamp = _stamp_of(batch.stamp, index)
            yield LoggedRecord(topic, partition, offset + index, timestamp, key, value, headers, stamp)


def _stamp_of(stamp: Stamp, index: int) -> Stamp:
    return stamp._replace(sequence=advance(stamp.sequence, index)) if stamp.idempotent else stamp
