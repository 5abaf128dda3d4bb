"""Closed loops of concurrent publishers, and what they cost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: events acknowledged per second, client CPU per event in µs, latencies in ms."""

    rate: float
    cpu: float
    p50: float
    p99: float


async def closed_loop(publish: Callable[[], Awaitable[object]], publishers: int, seconds: float) -> Sample:
    """Let *publishers* tasks publish one event after the other for *seconds*."""
    latencies: list[float] = []
    note, clock = latencies.append, time.perf_counter
    end = clock() + seconds

    async def publisher() -> None:
        began = clock()
        while began < end:
            await publish()
            now = clock()
            note(now - began)
            began = now

    began, cpu = clock(), time.process_time()
    await asyncio.gather(*(publisher() for _ in range(publishers)))
    took, cpu = clock() - began, time.process_time() - cpu
    latencies.sort()
    count = len(latencies)
    return Sample(
        rate=count / took,
        cpu=cpu / count * 1e6,
        p50=latencies[count // 2] * 1e3,
        p99=latencies[int(count * 0.99)] * 1e3,
    )


class Slices:
    """Times every callback of the event loop while it is entered: the longest held everybody else up.

    In CPU time of the thread: on two cores the broker that a write wakes takes the core away
    for longer than the write itself takes (17 ms of wall time around 1 ms of work, seen).
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self.what = ""

    def __enter__(self) -> Self:
        self._run = asyncio.Handle._run  # noqa: SLF001 - there is no public place to time one callback
        run, clock = self._run, time.thread_time

        def timed(handle: asyncio.Handle) -> None:
            began = clock()
            run(handle)
            took = clock() - began
            if took > self.longest:
                self.longest, self.what = took, repr(handle)[:160]

        asyncio.Handle._run = timed  # type: ignore[method-assign,assignment]  # noqa: SLF001 - put back below
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.Handle._run = self._run  # type: ignore[method-assign]  # noqa: SLF001 - as above
