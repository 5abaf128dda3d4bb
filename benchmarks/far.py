"""A broker that is far away: 1,000 publishers over 5 and 50 ms of round trip, eventpub and its peers."""

from __future__ import annotations

import asyncio
import statistics
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.contenders import CONTENDERS, FLOOR
from benchmarks.delay import delayed
from benchmarks.load import Sample, closed_loop, in_turns, once_opened
from benchmarks.node import PARTITIONS, one_node
from benchmarks.raw import RawProducer
from benchmarks.section import Chart, Effort, Section
from benchmarks.table import Target, table, targets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.kafka_node import ApacheKafka

PUBLISHERS = 1_000
ADDED = (0.005, 0.05)
TOPIC = "far"
_KNOWN_AFTER = 1.0  # seconds of raw requests
_WARM_UP = 2.0


async def compare(bootstrap: str, effort: Effort) -> dict[str, Sample]:
    """Return the medians of every contender."""
    load = partial(closed_loop, publishers=PUBLISHERS, seconds=effort.seconds)

    def run(name: str) -> Callable[[], Awaitable[Sample]]:
        return lambda: once_opened(CONTENDERS[name](bootstrap, TOPIC), load)

    return await in_turns({name: run(name) for name in CONTENDERS}, effort.rounds)


def at_a_distance(node: ApacheKafka, added: float, effort: Effort) -> tuple[float, dict[str, Sample]]:
    """Return the round trip that *added* seconds make, and the medians at that distance."""
    with delayed(node, added) as bootstrap:
        with RawProducer(bootstrap, TOPIC) as raw:
            trip = statistics.median(raw.round_trips(_KNOWN_AFTER))
        return trip, asyncio.run(compare(bootstrap, effort))


def measure(effort: Effort) -> Section:
    """Measure at each distance."""
    with one_node({TOPIC: PARTITIONS}) as node:
        with RawProducer(node.bootstrap_servers, TOPIC) as raw:
            list(raw.round_trips(_WARM_UP))  # the broker's: it answers its first requests in 5 ms
        found = {added: at_a_distance(node, added, effort) for added in ADDED}
    lines = [line for added, (trip, samples) in found.items() for line in (*told(added, trip, samples), "")]
    lines += targets(goal(added, samples) for added, (_, samples) in found.items())
    rates = {name: [(added * 1e3, samples[name].rate) for added, (_, samples) in found.items()] for name in CONTENDERS}
    title = f"{PUBLISHERS:,} publishers and a broker that is far away"
    return Section("far", tuple(lines), (Chart("far", title, "added round trip, ms", "events/s", rates, "bars"),))


def told(added: float, trip: float, samples: dict[str, Sample]) -> list[str]:
    """Return one distance as a table."""
    header = (f"{added * 1e3:g} ms added, {trip * 1e3:.1f} ms seen", "events/s", "ratio", "p50 / p99, ms", "CPU, µs")
    ours = samples["eventpub"].rate
    return table(header, (_row(name, sample, ours) for name, sample in samples.items()))


def _row(name: str, sample: Sample, ours: float) -> tuple[str, str, str, str, str]:
    latency = f"{sample.p50:.1f} / {sample.p99:.1f}"
    return name, f"{sample.rate:,.0f}", f"{ours / sample.rate:.2f}x", latency, f"{sample.cpu:.1f}"


def goal(added: float, samples: dict[str, Sample]) -> Target:
    """Return eventpub beside the best of the others."""
    best = max((name for name in samples if name not in {"eventpub", FLOOR}), key=lambda name: samples[name].rate)
    ratio = samples["eventpub"].rate / samples[best].rate
    return Target(f"the best peer at {added * 1e3:g} ms, {best}", ratio, 1.0)
