"""A first-in, first-out queue of entries that may end while they wait."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eventpub._rules.entry import Entry

_COMPACT_FROM = 64


class EntryQueue:
    """Entries in order. Those that ended are skipped, and do not pile up behind a slow head.

    Attributes:
        entries: in order, some that ended among them. To be read where a call would cost too much.
    """

    __slots__ = ("_ended", "entries")

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self._ended = 0

    def append(self, entry: Entry) -> None:
        """Add *entry* at the end."""
        entry.queue = self
        self.entries.append(entry)

    def first(self) -> Entry | None:
        """Return the first entry that has not ended, without taking it."""
        entries = self.entries
        while entries:
            if not entries[0].ended:
                return entries[0]
            entries.popleft()
            self._ended -= 1
        return None

    def popleft(self) -> Entry:
        """Take what `first` returned."""
        return self.entries.popleft()

    def extend(self, entries: Iterable[Entry]) -> None:
        """Add *entries*, whose partition knows that they are here, at the end."""
        self.entries.extend(entries)

    def take(self, limit: int) -> list[Entry]:
        """Take up to *limit* entries that have not ended."""
        if self._ended or len(self.entries) > limit:
            return list(islice(self.drain(), limit))
        taken = list(self.entries)
        self.entries.clear()
        return taken

    def drain(self) -> Iterator[Entry]:
        """Take every entry that has not ended, one after the other."""
        while self.entries:  # another deque after `note_ended`, which whoever gets them may cause
            entry = self.entries.popleft()
            if entry.ended:
                self._ended -= 1
            else:
                yield entry

    def put_back(self, entry: Entry) -> None:
        """Be again as before *entry* was taken."""
        self.entries.appendleft(entry)

    def note_ended(self) -> None:
        """Say that one queued entry has ended. Amortised constant time."""
        self._ended += 1
        # With the brokers away, entries of short budgets expire behind one of a long
        # budget: without this the queue would grow for as long as people publish.
        if self._ended >= _COMPACT_FROM and self._ended * 2 > len(self.entries):
            self.entries = deque(entry for entry in self.entries if not entry.ended)
            self._ended = 0

    def __len__(self) -> int:
        return len(self.entries) - self._ended

    def __iter__(self) -> Iterator[Entry]:
        return (entry for entry in self.entries if not entry.ended)
