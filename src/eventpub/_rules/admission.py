"""Room for unconfirmed events: how much is taken, and who gets what is given back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eventpub._rules.queue import EntryQueue

if TYPE_CHECKING:
    from eventpub._rules.entry import Entry
    from eventpub.buffer import BufferLimits


@dataclass(slots=True)
class Admission:
    """Counts unconfirmed records and bytes against `BufferLimits`; first come, first served."""

    limits: BufferLimits
    records: int = 0
    bytes: int = 0
    waiters: EntryQueue = field(default_factory=EntryQueue)

    def try_acquire(self, size: int) -> bool:
        """Take room for one record of *size* bytes, if there is any and nobody waits for it."""
        if not self._fits(size) or (self.waiters.entries and self.waiters):
            return False
        self.records += 1
        self.bytes += size
        return True

    @property
    def full(self) -> bool:
        """Whether somebody waits for room, or the next record would have to."""
        return bool(self.waiters) or self.records >= self.limits.max_records or self.bytes >= self.limits.max_bytes

    def _fits(self, size: int) -> bool:
        # A record larger than the whole byte limit is let through alone: refusing it
        # would make it wait for ever, and the broker's size check gives a better error.
        return not self.records or (
            self.records < self.limits.max_records and self.bytes + size <= self.limits.max_bytes
        )

    def give_back(self, records: int, size: int) -> None:
        """Return room. The caller admits the waiters that now fit in the same step (`next_waiter`)."""
        self.records -= records
        self.bytes -= size

    def next_waiter(self) -> Entry | None:
        """Take room for the longest waiting entry and return it, or ``None`` while it does not fit."""
        entry = self.waiters.first()
        if entry is None or not self._fits(entry.size):
            return None
        self.records += 1
        self.bytes += entry.size
        entry.has_room = True
        return self.waiters.popleft()
