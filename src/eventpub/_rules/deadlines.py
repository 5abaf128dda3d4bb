"""The open entries, by the ends of their budgets in buckets of 50 ms: one timer does for all.

A ``call_later`` per publish costs 2.3 µs and a heap of thousands; a bucket costs 0.2.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eventpub._rules.entry import Entry

BUCKET = 0.05


class Deadlines:
    """Every open entry, by the end of its budget. An entry is due at most `BUCKET` seconds late."""

    __slots__ = ("_buckets", "_order")

    def __init__(self) -> None:
        # Dicts without values: what is due together ends in the order of the publishes, and a
        # schedule of faults repeats to the last outcome. Sets go by memory addresses.
        # By when they begin, in units of `BUCKET`.
        self._buckets: dict[float, dict[Entry, None]] = {}
        self._order: list[float] = []

    def add(self, entry: Entry) -> bool:
        """Watch *entry*; return whether it opened a bucket (the timer may have to be set anew)."""
        begin = entry.deadline / BUCKET // 1  # not int(), which is a call
        bucket = self._buckets.get(begin)
        is_new = bucket is None
        if bucket is None:
            bucket = self._buckets[begin] = {}
            heapq.heappush(self._order, begin)
        bucket[entry] = None
        entry.bucket = bucket
        return is_new

    @staticmethod
    def discard(entry: Entry) -> None:
        """Stop watching *entry*, which has ended."""
        entry.bucket.pop(entry, None)

    @staticmethod
    def discard_all(entries: Iterable[Entry]) -> None:
        """Stop watching *entries*, which have ended."""
        for entry in entries:
            entry.bucket.pop(entry, None)

    def next_due(self) -> float | None:
        """Return when the earliest bucket that holds an entry ends."""
        while self._order and not self._buckets[self._order[0]]:
            del self._buckets[heapq.heappop(self._order)]
        return (self._order[0] + 1) * BUCKET if self._order else None

    def due(self, now: float, limit: int) -> list[Entry]:
        """Return up to *limit* entries whose bucket has ended. The caller ends them, which discards them."""
        when = self.next_due()
        if when is None or when > now:
            return []
        bucket = self._buckets[self._order[0]]
        return [entry for entry, _ in zip(bucket, range(limit), strict=False)]

    def __iter__(self) -> Iterator[Entry]:
        return (entry for bucket in self._buckets.values() for entry in bucket)

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))
