"""uvloop beside asyncio's own event loop, eventpub on both."""

from __future__ import annotations

import asyncio
import gc
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from benchmarks.contenders import CONTENDERS
from benchmarks.load import Sample, closed_loop, median, once_opened
from benchmarks.node import PARTITIONS, one_node
from benchmarks.section import Chart, Effort, Section
from benchmarks.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLISHERS = (1, 16, 100, 1_000)
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
TOPIC = "loops"

Found = dict[tuple[str, int], Sample]


def run(bootstrap: str, name: str, publishers: int, seconds: float) -> Sample:
    """Return what a closed loop comes to on an event loop of its own."""
    load = partial(closed_loop, publishers=publishers, seconds=seconds)
    gc.collect()
    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        return runner.run(once_opened(CONTENDERS["eventpub"](bootstrap, TOPIC), load))


def compare(bootstrap: str, effort: Effort) -> Found:
    """Return the medians on each loop with each number of publishers, the loops in turns."""
    found: Found = {}
    for publishers in PUBLISHERS:
        taken: dict[str, list[Sample]] = {name: [] for name in LOOPS}
        for turn in range(effort.rounds + 1):  # the first warms up
            for name in LOOPS if turn % 2 else reversed(LOOPS):
                sample = run(bootstrap, name, publishers, effort.seconds)
                taken[name] += [sample] if turn else []
        found |= {(name, publishers): median(samples) for name, samples in taken.items()}
    return found


def measure(effort: Effort) -> Section:
    """Measure on both."""
    with one_node({TOPIC: PARTITIONS}) as node:
        found = compare(node.bootstrap_servers, effort)
    cpu = {name: [(float(count), found[name, count].cpu) for count in PUBLISHERS] for name in LOOPS}
    title = "Client CPU per event on two event loops"
    header = ("publishers", "asyncio, events/s", "uvloop, events/s", "ratio", "asyncio: p50 / p99, ms; CPU", "uvloop's")
    return Section(
        "loops", tuple(table(header, rows(found))), (Chart("loops", title, "publishers", "µs an event", cpu, "bars"),)
    )


def rows(found: Found) -> Iterator[tuple[str, ...]]:
    """Yield both loops at each number of publishers."""
    for publishers in PUBLISHERS:
        plain, fast = found["asyncio", publishers], found["uvloop", publishers]
        yield (
            f"{publishers:,}",
            f"{plain.rate:,.0f}",
            f"{fast.rate:,.0f}",
            f"**{fast.rate / plain.rate:.2f}x**",
            *(f"{sample.p50:.2f} / {sample.p99:.2f}; {sample.cpu:.1f} µs" for sample in (plain, fast)),
        )
