"""A burst: 20,000 events from as many tasks in one moment, and the bytes that each costs while it waits."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import time
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.contenders import SOURCE, new_event
from benchmarks.load import Slices
from benchmarks.node import PARTITIONS, one_node
from benchmarks.section import Effort, Section
from benchmarks.table import Target, targets
from eventpub import BufferLimits, Delivery, Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TOPIC = "at-once"
AT_ONCE = 20_000
UNCONFIRMED = 5_000
_LONGEST_SLICE = 20.0  # ms
_MOST_BYTES = 3 * 1024


@dataclass(frozen=True, slots=True)
class Burst:
    """What became of one: how many arrived, in how many seconds, and the longest slice in ms of CPU."""

    delivered: int
    seconds: float
    longest: float
    what: str


def measure(effort: Effort) -> Section:
    """Return the bursts of as many rounds, after one that does not count."""
    with one_node({TOPIC: PARTITIONS}) as node:
        bursts = [asyncio.run(burst(node.bootstrap_servers)) for _ in range(effort.rounds + 1)][1:]
    return section_of(bursts, asyncio.run(bytes_of_unconfirmed()))


def section_of(bursts: Sequence[Burst], bytes_each: float) -> Section:
    """Return the figures as text; of slices the longest of all rounds counts."""
    longest = max(bursts, key=lambda found: found.longest)
    delivered = min(found.delivered for found in bursts)
    seconds = statistics.median(found.seconds for found in bursts)
    goals = [
        Target(f"longest slice, {AT_ONCE:,} at once", longest.longest, _LONGEST_SLICE, " ms", at_most=True),
        Target("an unconfirmed event over its payload", bytes_each, _MOST_BYTES, " bytes", at_most=True),
    ]
    lines = [
        *targets(goals),
        "",
        f"- Of {AT_ONCE:,} publishes at once {delivered:,} were delivered, in {seconds:.2f} s",
        f"  (median of {len(bursts)} rounds; the longest slice is that of all of them, in CPU time).",
        f"- The bytes are those of Python's own allocator, of {UNCONFIRMED:,} events, each with its task.",
    ]
    return Section("at_once", tuple(lines))


async def burst(bootstrap_servers: str) -> Burst:
    """Publish 20,000 events from as many tasks."""
    async with Publisher(f"kafka://{bootstrap_servers}", source=SOURCE) as publisher:
        await publisher.publish(new_event(), topic=TOPIC)
        events = [new_event() for _ in range(AT_ONCE)]
        with _without_collections(), Slices() as slices:
            began = time.perf_counter()
            reports = await asyncio.gather(*(publisher.publish(event, topic=TOPIC) for event in events))
            took = time.perf_counter() - began
    delivered = sum(isinstance(report, Delivery) for report in reports)
    return Burst(delivered, took, slices.longest * 1e3, slices.what)


async def bytes_of_unconfirmed() -> float:
    """Return the bytes that one unconfirmed event costs over its payload, its task included."""
    limits = BufferLimits(max_records=2 * UNCONFIRMED, max_bytes=1 << 30)
    async with Publisher("kafka://127.0.0.1:1", source=SOURCE, buffer=limits) as publisher:  # nobody listens
        events = [new_event() for _ in range(UNCONFIRMED)]
        payload = sum(len(event.model_dump_json()) for event in events)
        tracemalloc.start()
        tasks = [asyncio.create_task(publisher.publish(event, topic=TOPIC)) for event in events]
        await asyncio.sleep(0.5)
        used = tracemalloc.get_traced_memory()[0] - payload
        tracemalloc.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return used / UNCONFIRMED


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Keep the garbage collector away: a full collection of 20,000 tasks is the interpreter's slice (30 ms)."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
