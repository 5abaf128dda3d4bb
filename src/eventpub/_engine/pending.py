"""A publish whose outcome is awaited later, or never."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from eventpub._engine.attempt_log import unheard
from eventpub.exceptions import PublishError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from eventpub._engine.engine import Engine
    from eventpub._rules.entry import Entry
    from eventpub.delivery import Delivery

_log = logging.getLogger("eventpub.delivery")


class PendingDelivery:
    """What ``publish_nowait`` returns. Await it any number of times, or not at all.

    Cancelling a task that awaits it leaves the delivery alone; `cancel` withdraws the
    event. An error that nobody asked for is logged once, when the handle is dropped.
    """

    __slots__ = ("_callbacks", "_done", "_engine", "_entry", "_heard", "_waiters")

    def __init__(self, entry: Entry, engine: Engine) -> None:
        self._entry = entry
        self._engine = engine
        self._waiters: list[asyncio.Future[None]] = []
        self._callbacks: list[Callable[[PendingDelivery], object]] = []
        self._heard = False
        self._done = False
        entry.waiter = self._settled

    def done(self) -> bool:
        """Whether the outcome is known, or the event was withdrawn."""
        return self._done

    def cancel(self) -> bool:
        """Withdraw the event, if no attempt to write it can have begun; say whether that was so.

        Afterwards awaiting it raises `asyncio.CancelledError`. Where it returns false, the
        delivery goes on, and its outcome is still to be had here.
        """
        withdrawn = self._engine.withdraw(self._entry)
        if withdrawn:
            self._settled(None)
        return withdrawn

    def add_done_callback(self, callback: Callable[[PendingDelivery], object]) -> None:
        """Call *callback* with this handle once it is done; soon, if it is already."""
        if self.done():
            self._engine.loop.call_soon(callback, self)
        else:
            self._callbacks.append(callback)

    def __await__(self) -> Generator[asyncio.Future[None], None, Delivery]:
        self._heard = True
        if not self.done():
            future = self._engine.loop.create_future()
            self._waiters.append(future)
            yield from future
        outcome = self._entry.outcome
        if outcome is None:
            raise asyncio.CancelledError
        if isinstance(outcome, PublishError):
            raise outcome
        return outcome

    def _settled(self, _outcome: object) -> None:
        self._done = True
        for future in self._waiters:
            if not future.done():
                future.set_result(None)
        for callback in self._callbacks:
            self._engine.loop.call_soon(callback, self)
        self._waiters, self._callbacks = [], []

    def __del__(self) -> None:
        outcome = self._entry.outcome
        if not self._heard and isinstance(outcome, PublishError):
            _log.warning("nobody awaited this outcome: %s", outcome, extra=unheard(outcome))

    def __repr__(self) -> str:
        return f"<PendingDelivery {self._entry.record.topic} {self._entry.outcome or 'pending'}>"
