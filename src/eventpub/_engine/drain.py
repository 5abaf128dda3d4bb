"""Watches open events until all have ended or time is up: what ``flush`` and ``aclose`` report."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventpub.delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventpub._rules.entry import Entry
    from eventpub.exceptions import PublishError


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What became of the events that were open when a flush or close began.

    Attributes:
        confirmed: how many were acknowledged (or, with ``acks=0``, handed to the socket).
        failed: the errors of those that ended by themselves otherwise.
        unconfirmed: those ended by the close; for a flush, those still pending, with their status as of now.
        elapsed: seconds it took.
    """

    confirmed: int
    failed: tuple[PublishError, ...]
    unconfirmed: tuple[PublishError, ...]
    elapsed: float

    def __str__(self) -> str:
        return (
            f"{self.confirmed} confirmed, {len(self.failed)} failed, {len(self.unconfirmed)} unconfirmed"
            f" in {self.elapsed:.2f} s"
        )


class Drain:
    """Counts how the watched events end. Told by the engine, once per event."""

    def __init__(self, entries: Iterable[Entry], loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._started = loop.time()
        self._confirmed = 0
        self._failed: list[PublishError] = []
        self._unconfirmed: list[PublishError] = []
        self._over = asyncio.Event()
        self.pending = dict.fromkeys(entries)
        self._closing = False
        self._ended_before: frozenset[Entry] = frozenset()

    def begin_closing(self, ended: Iterable[Entry]) -> None:
        """What ends from now on is ended by the close, save *ended*, whose callers are only told now."""
        self._closing, self._ended_before = True, frozenset(ended)

    def note(self, entry: Entry) -> None:
        """*entry* has ended, or was withdrawn (then it has no outcome)."""
        if entry not in self.pending:
            return
        del self.pending[entry]
        if isinstance(entry.outcome, Delivery):
            self._confirmed += 1
        elif entry.outcome is not None:
            by_close = self._closing and entry not in self._ended_before
            by_close = by_close or entry.outcome.reason == "closing"
            (self._unconfirmed if by_close else self._failed).append(entry.outcome)
        if not self.pending:
            self.stop_waiting()

    def stop_waiting(self) -> None:
        """End `wait` now."""
        self._over.set()

    async def wait(self, deadline: float) -> None:
        """Return when all have ended, or at *deadline*."""
        if not self.pending:
            return
        timer = self._loop.call_at(deadline, self.stop_waiting)
        try:
            await self._over.wait()
        finally:
            timer.cancel()

    def report(self, still_open: Iterable[PublishError] = ()) -> DrainReport:
        """Return the result so far; *still_open* are those that a flush leaves pending."""
        unconfirmed = (*self._unconfirmed, *still_open)
        return DrainReport(self._confirmed, tuple(self._failed), unconfirmed, self._loop.time() - self._started)
