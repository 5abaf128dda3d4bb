"""What a partition remembers of a producer: whether a stamp is next, a duplicate, or refused.

As Apache Kafka's ``ProducerStateManager`` and ``ProducerAppendInfo`` decide it (KIP-98, KIP-360).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from eventpub.abc import Stamp

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
    """The epoch of one producer id on one partition, and its last five batches in that epoch."""

    epoch: int
    batches: deque[Written] = field(default_factory=lambda: deque(maxlen=REMEMBERED_BATCHES))

    def refusal(self, stamp: Stamp) -> int | None:
        """Return the code that a batch which is no duplicate is refused with; ``None`` if it is next."""
        if stamp.epoch < self.epoch:
            return INVALID_PRODUCER_EPOCH
        expected = 0 if stamp.epoch > self.epoch else advance(self.batches[-1].last, 1)
        return None if stamp.sequence == expected else OUT_OF_ORDER_SEQUENCE_NUMBER

    def offset_of(self, stamp: Stamp, count: int) -> int | None:
        """Return where a batch of equal first and last sequence went, if it is remembered."""
        if stamp.epoch != self.epoch:
            return None
        sequences = stamp.sequence, advance(stamp.sequence, count - 1)
        return next((written.offset for written in self.batches if written[:2] == sequences), None)

    def remember(self, stamp: Stamp, count: int, offset: int) -> None:
        """Note an appended batch. One of a newer epoch makes all older ones forgotten, and fenced."""
        if stamp.epoch != self.epoch:
            self.epoch = stamp.epoch
            self.batches.clear()
        self.batches.append(Written(stamp.sequence, advance(stamp.sequence, count - 1), offset))


def advance(sequence: int, by: int) -> int:
    """Return the sequence *by* records after *sequence*; `LAST_SEQUENCE` is followed by 0."""
    return (sequence + by) & LAST_SEQUENCE
