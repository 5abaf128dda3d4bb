"""Latency of 100 publishers at half of the maximum rate, beside the broker's own round trip.

The round trip is known in two ways: of one raw Produce request after the other while nothing
else goes on, and of the attempts of the very run, which wait behind each other in the broker.
What eventpub adds is what lies between the two percentiles.
"""

from __future__ import annotations

import asyncio
import statistics
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.contenders import CONTENDERS, SOURCE, new_event
from benchmarks.load import Sample, closed_loop, in_turns, once_opened, paced, quantile
from benchmarks.node import PARTITIONS, one_node
from benchmarks.raw import RawProducer
from benchmarks.section import Chart, Effort, Section
from benchmarks.table import Target, table, targets
from eventpub import Publisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from eventpub.abc import AttemptDetails

PUBLISHERS = 100
TOPIC = "latency"
_MARGIN = 2.0  # milliseconds that the target allows at p99


class Attempts:
    """A hook that notes how long each attempt took, in seconds."""

    def __init__(self) -> None:
        self.took: list[float] = []

    def on_attempt(self, details: AttemptDetails) -> None:
        """Note it."""
        self.took.append(details.attempt.duration)


async def maximum(bootstrap: str, effort: Effort) -> float:
    """Return the events a second of a closed loop."""
    opened = CONTENDERS["eventpub"]
    load = partial(closed_loop, publishers=PUBLISHERS, seconds=effort.seconds)
    found = await in_turns({"": lambda: once_opened(opened(bootstrap, TOPIC), load)}, effort.rounds)
    return found[""].rate


async def compare(bootstrap: str, rate: float, effort: Effort) -> tuple[dict[str, Sample], Attempts]:
    """Return every contender's medians at *rate*, and the attempts behind eventpub's."""
    attempts = Attempts()
    load = partial(paced, publishers=PUBLISHERS, rate=rate, seconds=effort.seconds)

    def run(name: str) -> Callable[[], Awaitable[Sample]]:
        opened = partial(_noting, attempts) if name == "eventpub" else CONTENDERS[name]
        return lambda: once_opened(opened(bootstrap, TOPIC), load)

    return await in_turns({name: run(name) for name in CONTENDERS}, effort.rounds), attempts


@asynccontextmanager
async def _noting(attempts: Attempts, bootstrap: str, topic: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    target = f"kafka://{bootstrap}"
    async with Publisher(target, source=SOURCE, topic_for=lambda _: topic, hooks=[attempts]) as publisher:

        async def publish() -> object:
            return await publisher.publish(new_event())

        yield publish


def measure(effort: Effort) -> Section:
    """Measure the broker alone, then the maximum, then everybody at half of it."""
    with one_node({TOPIC: PARTITIONS}) as node:
        with RawProducer(node.bootstrap_servers, TOPIC) as raw:
            list(raw.round_trips(effort.seconds))  # the broker's own warming up
            alone = [trip * 1e3 for trip in raw.round_trips(effort.seconds)]
        rate = asyncio.run(maximum(node.bootstrap_servers, effort)) / 2
        samples, attempts = asyncio.run(compare(node.bootstrap_servers, rate, effort))
    trips = [trip * 1e3 for trip in attempts.took]
    header = (f"{PUBLISHERS} publishers, {rate:,.0f} events/s wanted", "events/s", "p50, ms", "p99, ms")
    lines = [
        *table(header, rows(samples, alone, trips)),
        "",
        *targets(goals(samples["eventpub"], alone, trips)),
    ]
    bars = {name: [(50.0, sample.p50), (99.0, sample.p99)] for name, sample in samples.items()}
    title = f"Latency of {PUBLISHERS} publishers at {rate:,.0f} events/s"
    chart = Chart("latency", title, "percentile", "ms", bars, "bars", log_y=True)
    return Section("latency", tuple(lines), (chart,))


def rows(samples: dict[str, Sample], alone: list[float], trips: list[float]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the percentiles of the broker and of everybody, in milliseconds."""
    for name, trip in (("one raw Produce request alone", alone), ("the attempts of eventpub's run", trips)):
        yield name, "", f"{quantile(trip, 0.5):.2f}", f"{quantile(trip, 0.99):.2f}"
    for name, sample in samples.items():
        yield name, f"{sample.rate:,.0f}", f"{sample.p50:.2f}", f"{sample.p99:.2f}"


def goals(ours: Sample, alone: list[float], trips: list[float]) -> Iterator[Target]:
    """Yield what eventpub adds to the round trip, beside what it may add."""
    for name, known in (("a raw request alone", alone), ("an attempt of the run", trips)):
        trip = statistics.median(known)
        for share, took, allowed in ((50, ours.p50, trip), (99, ours.p99, _MARGIN + 2 * trip)):
            added = took - quantile(known, share / 100)
            yield Target(f"p{share} over that of {name}", added, round(allowed, 2), " ms", at_most=True)
