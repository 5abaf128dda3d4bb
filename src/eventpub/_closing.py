"""The close of a publisher: it runs once, whoever asks for it, and hurries when one who asked is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from eventpub._engine.drain import DrainReport

    Close: TypeAlias = Callable[[asyncio.Future[None]], Coroutine[Any, Any, DrainReport]]


class Closing:
    """One close, on *loop*, in a task that no caller's cancellation reaches."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._hurry: asyncio.Future[None] = loop.create_future()
        self._task: asyncio.Task[DrainReport] | None = None

    @property
    def begun(self) -> bool:
        """Whether somebody asked for it."""
        return self._task is not None

    async def run(self, close: Close) -> DrainReport:
        """Run *close* unless it runs already, and return its report; it is given what says that it has to hurry.

        Cancelled, this waits until the close has hurried to its end, then lets the cancellation through.
        """
        if self._task is None:
            self._task = self._loop.create_task(self._once(close))
        try:
            return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            await self._hurry_up(self._task)
            raise

    async def _once(self, close: Close) -> DrainReport:
        try:
            return await close(self._hurry)
        finally:
            self._hurry.cancel()

    async def _hurry_up(self, task: asyncio.Task[DrainReport]) -> None:
        if not self._hurry.done():
            self._hurry.set_result(None)
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                continue  # once more: whoever cancels again still wants nothing left behind
