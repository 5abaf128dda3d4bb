"""Producer id, epoch and next sequence of one partition (rule 5; KIP-98, KIP-360)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpub.abc import Stamp

if TYPE_CHECKING:
    from eventpub.abc import ProducerId

MAX_EPOCH = 32767
_SEQUENCES = 2**31


class Sequence:
    """Where a partition's idempotent batches are numbered from.

    The next sequence moves only on an acknowledgement, so a batch that was never appended
    costs no number, and a rejected record never wedges its partition. A batch given up in
    doubt costs an epoch: the first append of the new one makes the broker refuse late
    copies of the old one. A fresh producer id would not, and closing a connection does not
    either (both seen on Apache Kafka).
    """

    __slots__ = ("_epoch", "_id", "_next", "bumps", "exhausted")

    def __init__(self) -> None:
        self._id: int | None = None
        self._epoch = 0
        self._next = 0
        self.bumps = 0
        self.exhausted: int | None = None

    @property
    def needs_id(self) -> bool:
        """Whether a producer id must be had before the next stamp (other than `exhausted`)."""
        return self._id is None

    def adopt(self, producer: ProducerId) -> None:
        """Begin with a producer id, at its epoch and sequence 0."""
        self._id, self._epoch = producer
        self._next = 0

    @property
    def stamp(self) -> Stamp:
        """The next batch's stamp."""
        assert self._id is not None  # noqa: S101 - the lane adopts an id before it takes a batch
        return Stamp(self._id, self._epoch, self._next)

    def advance(self, stamp: Stamp, records: int) -> None:
        """Move past an acknowledged batch; from 2**31 - 1 the sequence wraps to 0."""
        if self._is_current(stamp):
            self._next = (stamp.sequence + records) % _SEQUENCES

    def bump(self, stamp: Stamp) -> None:
        """Leave the epoch of *stamp*: epoch + 1, sequence 0, without asking anybody (KIP-360)."""
        if not self._is_current(stamp):
            return
        self.bumps += 1
        self._next = 0
        self._epoch += 1
        if self._epoch > MAX_EPOCH:
            self._id, self.exhausted = None, self._id

    def _is_current(self, stamp: Stamp) -> bool:
        return stamp.idempotent and (stamp.producer_id, stamp.epoch) == (self._id, self._epoch)
