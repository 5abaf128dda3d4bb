"""Waiting for a change without polling: a bell wakes everybody, and each looks for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Waiter = asyncio.Future[None] | Callable[[], None]


class Bell:
    """Wakes all who wait, in the order they came. A ring that nobody hears is not kept."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[Waiter, None] = {}

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def ring(self) -> None:
        """Wake everybody; they run in the next turn of the loop."""
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not isinstance(waiter, asyncio.Future):
                asyncio.get_running_loop().call_soon(waiter)
            else:
                _end(waiter)

    def add(self, waiter: Waiter) -> None:
        """Let *waiter*, a future, end with the next ring, or be called in the turn after it."""
        self._waiting[waiter] = None

    def discard(self, waiter: Waiter) -> None:
        """Forget *waiter*."""
        self._waiting.pop(waiter, None)


async def first_ring(*bells: Bell, seconds: float | None = None) -> None:
    """Wait until one of *bells* rings, or for so many *seconds*. May be cancelled; costs no task."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    timer = None if seconds is None else loop.call_later(seconds, _end, future)
    for bell in bells:
        bell.add(future)
    try:
        await future
    finally:
        if timer is not None:
            timer.cancel()
        for bell in bells:
            bell.discard(future)


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
