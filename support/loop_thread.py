"""An event loop in a thread of its own, for servers that must go on while a test's loop is blocked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE = 10.0


class LoopThread:
    """Runs coroutines, from `start` to `stop`, in one thread. Every method may be called from any other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None

    def start(self) -> None:
        """Start the thread; return once its loop runs."""
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name=self._name, daemon=True)
        self._thread.start()
        started.wait()

    def stop(self) -> None:
        """Cancel what still runs there, and return when the thread has ended. Safe to call twice."""
        if self._thread is None or self._over is None:
            return
        self.soon(self._over.set)
        self._thread.join()
        self._thread = None

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float = _PATIENCE) -> T:
        """Run *coroutine* there and return its result.

        Raises:
            TimeoutError: it took longer than *timeout* seconds.
        """
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def soon(self, callback: Callable[[], object]) -> None:
        """Have *callback* called there, in the loop's next turn."""
        self.loop.call_soon_threadsafe(callback)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, once started."""
        if self._loop is None:
            raise RuntimeError(f"{self._name} was not started")
        return self._loop

    def _run(self, started: threading.Event) -> None:
        asyncio.run(self._until_over(started))

    async def _until_over(self, started: threading.Event) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        started.set()
        await self._over.wait()
