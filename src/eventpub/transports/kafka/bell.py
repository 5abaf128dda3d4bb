"""Waiting for a change without polling: a bell wakes everybody, and each looks for itself."""

from __future__ import annotations

import asyncio


class Bell:
    """Wakes all who wait, in the order they came. A ring that nobody hears is not kept."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], None] = {}

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def ring(self) -> None:
        """Wake everybody; they run in the next turn of the loop."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def add(self, future: asyncio.Future[None]) -> None:
        """Let *future* end with the next ring."""
        self._waiting[future] = None

    def discard(self, future: asyncio.Future[None]) -> None:
        """Forget *future*."""
        self._waiting.pop(future, None)


async def first_ring(*bells: Bell) -> None:
    """Wait until one of *bells* rings. May be cancelled; costs no task."""
    future = asyncio.get_running_loop().create_future()
    for bell in bells:
        bell.add(future)
    try:
        await future
    finally:
        for bell in bells:
            bell.discard(future)
