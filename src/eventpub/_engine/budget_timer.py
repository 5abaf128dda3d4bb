"""The one timer of all budgets: set for the earliest that is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from eventpub._rules.deadlines import Deadlines
    from eventpub._rules.entry import Entry

_EXPIRED_AT_ONCE = 500  # entries, before the event loop gets its turn
_RESOLUTION = 0.001  # seconds: timers may fire within the clock's resolution before their time


class BudgetTimer:
    """Calls *expire* with entries whose budgets are over.

    Args:
        deadlines: every open entry, by the end of its budget.
        expire: ends those that it is given.
        loop: whose clock the budgets go by.
        context: *expire* runs in it.
    """

    __slots__ = ("_context", "_deadlines", "_expire", "_handle", "_loop", "_rings_at")

    def __init__(
        self,
        deadlines: Deadlines,
        expire: Callable[[Sequence[Entry]], None],
        loop: asyncio.AbstractEventLoop,
        context: Context,
    ) -> None:
        self._deadlines = deadlines
        self._expire = expire
        self._loop = loop
        self._context = context
        self._handle: asyncio.Handle | None = None
        self._rings_at = 0.0

    def set(self) -> None:
        """Ring when the earliest budget is over, and not later than was said before."""
        due = self._deadlines.next_due()
        if self._handle is not None:
            # Noted here, because uvloop returns a handle that has no when() for what is due now.
            if due is not None and self._rings_at <= due:
                return
            self._handle.cancel()
        self._handle = None
        if due is not None:
            self._handle, self._rings_at = self._loop.call_at(due, self._ring, context=self._context), due

    def cancel(self) -> None:
        """Ring no more."""
        if self._handle is not None:
            self._handle.cancel()

    def _ring(self) -> None:
        self._handle = None
        if due := self._deadlines.due(self._loop.time() + _RESOLUTION, _EXPIRED_AT_ONCE):
            self._expire(due)
        self.set()
