"""Event loops whose clock jumps: an hour of back-off passes in milliseconds.

Only ``loop.time()`` jumps, and only when nothing is ready to run; sockets and executor
threads are real, and time stands still while they are waited for. A hand-made thread that
answers through ``call_soon_threadsafe`` is not seen and loses against any timer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import looptime

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

# After this many real seconds in which every task waits for something that no timer
# brings, the loop raises `looptime.IdleTimeoutError`: a deadlock fails at once.
_IDLE_TIMEOUT = 1.0


def new_loop(*, noop_cycles: int = 42) -> asyncio.AbstractEventLoop:
    """Make a loop that starts at time 0 and jumps to its next timer whenever it would wait.

    Args:
        noop_cycles: Empty turns before each jump. 42 lets chains of callbacks settle between
            two timers; 0 makes thousands of short steps half again as quick.
    """
    loop = looptime.new_event_loop(start=0, idle_timeout=_IDLE_TIMEOUT, noop_cycles=noop_cycles)
    join = loop.shutdown_default_executor

    async def join_without_limit(_timeout: float | None = None) -> None:
        await join()

    # From Python 3.13 on the 300 s that executor threads get to end are a timer of the loop. A
    # hand-made thread joins them, so the clock would jump there at once.
    loop.shutdown_default_executor = join_without_limit  # type: ignore[method-assign]  # the class is looptime's
    return loop


def runner() -> asyncio.Runner:
    """Make a runner on a virtual-time loop, for synchronous tests that step an asynchronous world.

    Tasks live on between two ``run`` calls, and time stands still there: a Hypothesis state
    machine keeps one and calls it from its (synchronous) rules.
    """
    return asyncio.Runner(loop_factory=lambda: new_loop(noop_cycles=0))


def run(main: Coroutine[object, object, T]) -> T:
    """Run one coroutine from time 0 to its end, as `asyncio.run` does."""
    with runner() as virtual:
        return virtual.run(main)
