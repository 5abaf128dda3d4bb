"""Ten million events, one after the other of 1,000 publishers: whether the memory of the process stays as it is.

Alone, ``python -m benchmarks.soak --events 200000`` goes a shorter way.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import itertools
import logging
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import psutil

from benchmarks.contenders import CONTENDERS
from benchmarks.node import PARTITIONS, one_node
from benchmarks.section import Chart, Effort, Section
from benchmarks.table import Target, table, targets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EVENTS = 10_000_000
PUBLISHERS = 1_000
TOPIC = "soak"
_EVERY = 30.0  # seconds
_ALLOWED = 0.05  # of what is resident after the warm-up
_WARM_UP = 0.1  # of the events


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one time: events acknowledged, seconds passed, mebibytes resident."""

    acknowledged: int
    seconds: float
    resident: float


class Soak:
    """Publishes *events* and looks at the process every *every* seconds, at the start and at the end."""

    def __init__(self, publish: Callable[[], Awaitable[object]], events: int, every: float = _EVERY) -> None:
        self.looks: list[Look] = []
        self._publish = publish
        self._turns = iter(range(events))
        self._acknowledged = 0
        self._every = every
        self._process = psutil.Process()
        self._began = time.perf_counter()

    async def run(self) -> None:
        """Publish all of them. What a publish raises ends the soak."""
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as publishers:
                for _ in range(PUBLISHERS):
                    publishers.create_task(self._publish_some())
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        self._look()

    async def _publish_some(self) -> None:
        for _ in self._turns:
            await self._publish()
            self._acknowledged += 1

    async def _watch(self) -> None:
        for number in itertools.count():
            self._look()
            await asyncio.sleep(self._began + (number + 1) * self._every - time.perf_counter())

    def _look(self) -> None:
        seconds = time.perf_counter() - self._began
        look = Look(self._acknowledged, seconds, self._process.memory_info().rss / (1 << 20))
        self.looks.append(look)
        print(f"{seconds:7.0f} s {look.acknowledged:12,} events {look.resident:8.1f} MiB", flush=True)


def alone(bootstrap: str, events: int) -> list[Look]:
    """Soak in a process of its own: what other benchmarks left behind in this one would hide what it takes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(in_this_process, bootstrap, events).result()


def in_this_process(bootstrap: str, events: int) -> list[Look]:
    """Return what was seen on the way."""
    logging.getLogger("eventpub").setLevel(logging.ERROR)  # that there are no dead letters is known
    return asyncio.run(soak(bootstrap, events))


async def soak(bootstrap: str, events: int) -> list[Look]:
    """Return what was seen on the way."""
    async with CONTENDERS["eventpub"](bootstrap, TOPIC) as publish:
        await publish()
        run = Soak(publish, events)
        await run.run()
    return run.looks


def measure(_: Effort, events: int = EVENTS) -> Section:
    """Publish *events*, however long that takes."""
    with one_node({TOPIC: PARTITIONS}) as node:
        looks = alone(node.bootstrap_servers, events)
    shown = looks[:: max(1, len(looks) // 12)]
    if shown[-1] is not looks[-1]:
        shown.append(looks[-1])
    header = ("seconds", "events acknowledged", "resident, MiB")
    rows = ((f"{look.seconds:,.0f}", f"{look.acknowledged:,}", f"{look.resident:,.1f}") for look in shown)
    lines = (*table(header, rows), "", *targets([goal(looks)]))
    points = [(look.acknowledged / 1e6, look.resident) for look in looks]
    chart = Chart("soak", "Resident memory of the client", "million events", "MiB", {"eventpub": points})
    return Section("soak", lines, (chart,))


def goal(looks: list[Look]) -> Target:
    """Return how much more was resident at the end than after the first tenth of the events."""
    last = looks[-1]
    warm = next(look for look in looks if look.acknowledged >= _WARM_UP * last.acknowledged)
    what = f"resident after {last.acknowledged:,} events, of that after {warm.acknowledged:,}"
    return Target(what, last.resident / warm.resident, 1 + _ALLOWED, at_most=True)


def main() -> None:
    """Soak for as many events as are wanted."""
    parser = argparse.ArgumentParser(description=inspect.cleandoc(__doc__ or ""))
    parser.add_argument("--events", type=int, default=EVENTS)
    print("\n".join(measure(Effort(), parser.parse_args().events).lines))


if __name__ == "__main__":
    main()
