"""Concurrent publishers, in closed loops or at a given rate, and what they cost."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    Publish = Callable[[], Awaitable[object]]

_Name = TypeVar("_Name")


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: events acknowledged per second, client CPU per event in µs, latencies in ms."""

    rate: float
    cpu: float
    p50: float
    p99: float


async def closed_loop(publish: Publish, publishers: int, seconds: float) -> Sample:
    """Let *publishers* tasks publish one event after the other for *seconds*, and each at least one."""
    latencies: list[float] = []
    note, clock = latencies.append, time.perf_counter
    end = clock() + seconds

    async def publisher() -> None:
        now = clock()
        while True:
            began = now
            await publish()
            now = clock()
            note(now - began)
            if now >= end:
                return

    began, cpu = clock(), time.process_time()
    await asyncio.gather(*(publisher() for _ in range(publishers)))
    return _sample(latencies, clock() - began, time.process_time() - cpu)


async def paced(publish: Publish, publishers: int, rate: float, seconds: float) -> Sample:
    """Let *publishers* tasks publish *rate* events a second together, for *seconds*.

    Each has its turns at even distances, the turns of all are spread evenly, and who is late
    for one goes on at once. Latencies count from the call: the event loop wakes sleepers once
    a millisecond, which is nobody's latency.
    """
    latencies: list[float] = []
    note, clock, loop = latencies.append, time.perf_counter, asyncio.get_running_loop()
    start, pause = loop.time() + 0.01, publishers / rate

    async def publisher(due: float) -> None:
        while due < start + seconds:
            if (early := due - loop.time()) > 0:
                await asyncio.sleep(early)
            began = clock()
            await publish()
            note(clock() - began)
            due += pause

    began, cpu = clock(), time.process_time()
    await asyncio.gather(*(publisher(start + number / rate) for number in range(publishers)))
    return _sample(latencies, clock() - began, time.process_time() - cpu)


def _sample(latencies: list[float], took: float, cpu: float) -> Sample:
    count = len(latencies)
    p50, p99 = (quantile(latencies, share) * 1e3 for share in (0.5, 0.99))
    return Sample(rate=count / took, cpu=cpu / count * 1e6, p50=p50, p99=p99)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that *share* of *values* lie below."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


async def once_opened(
    opened: AbstractAsyncContextManager[Publish], load: Callable[[Publish], Awaitable[Sample]]
) -> Sample:
    """Open a contender, let it publish one event, and return what it comes to under *load*."""
    async with opened as publish:
        await publish()
        gc.collect()
        return await load(publish)


async def in_turns(loads: dict[_Name, Callable[[], Awaitable[Sample]]], rounds: int) -> dict[_Name, Sample]:
    """Return the medians of each of *loads*: once to warm up, then *rounds* times, each second time in reverse."""
    taken: dict[_Name, list[Sample]] = {name: [] for name in loads}
    for turn in range(rounds + 1):
        for name in loads if turn % 2 else reversed(loads):
            gc.collect()
            sample = await loads[name]()
            if turn:
                taken[name].append(sample)
    return {name: median(samples) for name, samples in taken.items()}


def median(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure."""
    return Sample(*(statistics.median(getattr(sample, name) for sample in samples) for name in Sample.__slots__))


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
            # Not the callback that leaves: what follows behind it is not what is timed.
            if took > self.longest and asyncio.Handle._run is timed:  # noqa: SLF001 - as above
                self.longest, self.what = took, repr(handle)[:160]

        asyncio.Handle._run = timed  # type: ignore[method-assign,assignment]  # noqa: SLF001 - put back below
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.Handle._run = self._run  # type: ignore[method-assign]  # noqa: SLF001 - as above
