"""One thread for what blocks: files and consumers are not thread-safe, and the event loop must not wait for them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Worker:
    """Runs calls one after the other, in the order in which they were made, on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, call: Callable[_P, _T], /, *args: _P.args, **more: _P.kwargs) -> _T:
        """Return what *call* returns. Cancelled, a call that has begun comes to its end all the same."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*args, **more))

    def close(self) -> None:
        """Let the thread end once it has nothing left to do."""
        self._pool.shutdown(wait=False)
