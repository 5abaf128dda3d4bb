"""Waiting for something to change, without asking again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Gate:
    """Coroutines and callbacks that wait for a change; each change wakes them all, in the order they came.

    Whoever is woken looks for itself whether the change was the one it waited for.
    """

    _waiters: dict[asyncio.Future[None] | Callable[[], None], None] = field(default_factory=dict)

    async def wait(self, seconds: float | None = None) -> None:
        """Return at the next `open`, or after *seconds*."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters[waiter] = None
        timer = None if seconds is None else loop.call_later(seconds, _wake, waiter)
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)
            if timer is not None:
                timer.cancel()

    def call(self, callback: Callable[[], None]) -> None:
        """Call *callback* in the turn of the loop after the next `open`."""
        self._waiters[callback] = None

    def open(self) -> None:
        """Wake everybody who waits now."""
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if isinstance(waiter, asyncio.Future):
                _wake(waiter)
            else:
                asyncio.get_running_loop().call_soon(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
