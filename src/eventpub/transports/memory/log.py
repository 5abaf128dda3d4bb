"""One partition's log: records in order, and what is remembered of each producer (KIP-98, KIP-360).

Decides whether a stamped batch is new, a duplicate, out of sequence or fenced, as Apache
Kafka's ``ProducerStateManager`` does. Knows nothing of topics, leaders or faults.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from eventpub.abc import Stamp, TopicPartition
from eventpub.record import Headers
from eventpub.transports.memory.codec import Row

OUT_OF_ORDER_SEQUENCE_NUMBER = 45
INVALID_PRODUCER_EPOCH = 47

REMEMBERED_BATCHES = 5
LAST_SEQUENCE = 2**31 - 1


class Written(NamedTuple):
    """A batch as the broker remembers it: its sequences and where it went, never its bytes."""

    first: int
    last: int
    offset: int


@dataclass(slots=True)
class ProducerState:
    """What one partition remembers of one producer id: its epoch and its last five batches."""

    epoch: int
    batches: deque[Written] = field(default_factory=lambda: deque(maxlen=REMEMBERED_BATCHES))

    def offset_of(self, stamp: Stamp, count: int) -> int | None:
        """Return where an equal batch of the current epoch went, if it is one of the last five."""
        if stamp.epoch != self.epoch:
            return None
        last = advance(stamp.sequence, count - 1)
        return next((w.offset for w in self.batches if (w.first, w.last) == (stamp.sequence, last)), None)

    def refusal(self, stamp: Stamp) -> int | None:
        """Return the code that a batch which is no duplicate is refused with, or ``None``."""
        if stamp.epoch < self.epoch:
            return INVALID_PRODUCER_EPOCH
        expected = 0 if stamp.epoch > self.epoch else advance(self.batches[-1].last, 1)
        return None if stamp.sequence == expected else OUT_OF_ORDER_SEQUENCE_NUMBER

    def remember(self, stamp: Stamp, count: int, offset: int) -> None:
        """Note an appended batch; one of a newer epoch forgets, and so fences, all older ones."""
        if stamp.epoch != self.epoch:
            self.epoch = stamp.epoch
            self.batches.clear()
        self.batches.append(Written(stamp.sequence, advance(stamp.sequence, count - 1), offset))


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


class _LoggedBatch(NamedTuple):
    offset: int
    order: int
    stamp: Stamp
    rows: list[Row]


@dataclass(slots=True)
class PartitionLog:
    """The records of one partition, and the state of the producers that wrote them.

    ``replicated`` is the offset up to which the replicas have followed, while they lag.
    """

    partition: TopicPartition
    end_offset: int = 0
    replicated: int | None = None
    _batches: list[_LoggedBatch] = field(default_factory=list)
    _producers: dict[int, ProducerState] = field(default_factory=dict)

    def duplicate(self, stamp: Stamp, count: int) -> int | None:
        """Return the offset of an equal batch that is already here. Bytes are not compared."""
        state = self._producers.get(stamp.producer_id)
        return None if state is None else state.offset_of(stamp, count)

    def refusal(self, stamp: Stamp) -> int | None:
        """Return 45 or 47 if *stamp* may not be appended now. An unknown producer may begin anywhere."""
        state = self._producers.get(stamp.producer_id)
        return None if state is None else state.refusal(stamp)

    def append(self, stamp: Stamp, rows: list[Row], order: int) -> int:
        """Write a batch and return the offset of its first record; *order* ranks it among all partitions."""
        batch = _LoggedBatch(self.end_offset, order, stamp, rows)
        self._append(batch)
        return batch.offset

    def truncate(self, offset: int) -> None:
        """Lose all batches that reach beyond *offset*, and what was remembered of them."""
        kept = [batch for batch in self._batches if batch.offset + len(batch.rows) <= offset]
        self.end_offset = 0
        self._batches.clear()
        self._producers.clear()
        for batch in kept:
            self._append(batch)

    def _append(self, batch: _LoggedBatch) -> None:
        self._batches.append(batch)
        self.end_offset += len(batch.rows)
        stamp = batch.stamp
        if stamp.idempotent:
            state = self._producers.setdefault(stamp.producer_id, ProducerState(stamp.epoch))
            state.remember(stamp, len(batch.rows), batch.offset)

    def forget_producers(self) -> None:
        """Lose all producer state, as a broker does when producer ids expire."""
        self._producers.clear()

    def records(self) -> Iterator[tuple[int, LoggedRecord]]:
        """Yield every record that consumers may see, in order, with the rank of its batch."""
        for batch in self._batches:
            if self.replicated is not None and batch.offset >= self.replicated:
                return
            for index, row in enumerate(batch.rows):
                yield batch.order, self._record(batch, index, row)

    def _record(self, batch: _LoggedBatch, index: int, row: Row) -> LoggedRecord:
        stamp = batch.stamp
        if stamp.idempotent:
            stamp = stamp._replace(sequence=advance(stamp.sequence, index))
        topic, partition = self.partition
        return LoggedRecord(topic, partition, batch.offset + index, *row, stamp)


def advance(sequence: int, by: int) -> int:
    """Return the sequence *by* records after *sequence*; `LAST_SEQUENCE` is followed by 0."""
    return (sequence + by) & LAST_SEQUENCE
