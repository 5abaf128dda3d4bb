"""eventpub beside what else publishes to Kafka from asyncio, at 1 to 1,000 concurrent publishers.

Rounds alternate between the contenders within one process, so that a machine that slows down
slows all of them down; what is quoted is the median of the rounds, and the ratio of medians.
"""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

from benchmarks.contenders import CONTENDERS, versions
from benchmarks.load import Sample, closed_loop, median
from benchmarks.node import PARTITIONS, one_node
from benchmarks.section import Chart, Effort, Section
from benchmarks.table import Target, table, targets

if TYPE_CHECKING:
    Medians = dict[tuple[str, int], Sample]

OURS = "eventpub"
PUBLISHERS = (1, 16, 100, 1_000)
WARM_UP = 0.3
_TOPICS = {name: f"peers-{number}" for number, name in enumerate(CONTENDERS)}
_ROUND_TRIP = {1: 1.0, 16: 1.1, 100: 2.0, 1_000: 10.0}  # times aiokafka's send_and_wait
_MOST_CPU = 18.0  # µs an event at 1,000 publishers


def measure(effort: Effort) -> Section:
    """Return events/s, latencies and CPU of all contenders."""
    with one_node(dict.fromkeys(_TOPICS.values(), PARTITIONS)) as node:
        medians = asyncio.run(_compare(node.bootstrap_servers, effort))
    return section_of(medians, effort)


def section_of(medians: Medians, effort: Effort) -> Section:
    """Return the tables and pictures of *medians*."""
    header = ("publishers", *(f"{count:,}" for count in PUBLISHERS))
    lines = [
        "Events/s, and in brackets how many times that eventpub publishes:",
        "",
        *table(header, (_rates(medians, name) for name in CONTENDERS)),
        "",
        "Latency in ms (p50 / p99), and client CPU per event in µs:",
        "",
        *table(header, (_costs(medians, name) for name in CONTENDERS)),
        "",
        *targets(goals(medians)),
        "",
        *_foot(effort),
    ]
    charts = (
        _chart("peers-rate", "Events per second, by concurrent publishers", "events/s", medians, "rate"),
        _chart("peers-cpu", "Client CPU per event, by concurrent publishers", "µs an event", medians, "cpu"),
    )
    return Section("peers", tuple(lines), charts)


def goals(medians: Medians) -> list[Target]:
    """Return what was aimed at beside the peers; of confluent-kafka's two, the faster one counts."""
    found = [
        Target(f"aiokafka's `send_and_wait`, {_publishers(count)}", _times(medians, "aiokafka", count), bound)
        for count, bound in _ROUND_TRIP.items()
    ]
    by_hand = min(_times(medians, name, 100) for name in ("confluent-kafka", "confluent-kafka, linger 0"))
    cpu = medians[OURS, 1_000].cpu
    return [
        *found,
        Target("hand-rolled confluent-kafka, 100 publishers", by_hand, 1.0),
        Target("client CPU per event, 1,000 publishers", cpu, _MOST_CPU, " µs", at_most=True),
    ]


async def _compare(bootstrap_servers: str, effort: Effort) -> Medians:
    samples: dict[tuple[str, int], list[Sample]] = {(name, count): [] for name in CONTENDERS for count in PUBLISHERS}
    for publishers in PUBLISHERS:
        for turn in range(-1, effort.rounds):  # the first is a warm-up, of the broker too
            for name in CONTENDERS if turn % 2 else reversed(CONTENDERS):
                sample = await _round(bootstrap_servers, name, publishers, effort.seconds if turn >= 0 else WARM_UP)
                if turn >= 0:
                    samples[name, publishers].append(sample)
    return {of: median(taken) for of, taken in samples.items()}


async def _round(bootstrap_servers: str, name: str, publishers: int, seconds: float) -> Sample:
    async with CONTENDERS[name](bootstrap_servers, _TOPICS[name]) as publish:
        await publish()
        gc.collect()
        return await closed_loop(publish, publishers, seconds)


def _rates(medians: Medians, name: str) -> list[str]:
    rates = {count: f"{medians[name, count].rate:,.0f}" for count in PUBLISHERS}
    if name == OURS:
        return [f"**{name}**", *(f"**{rate}**" for rate in rates.values())]
    return [name, *(f"{rate} ({_times(medians, name, count):.2f}x)" for count, rate in rates.items())]


def _costs(medians: Medians, name: str) -> list[str]:
    samples = [medians[name, count] for count in PUBLISHERS]
    return [name, *(f"{taken.p50:.2f} / {taken.p99:.2f}; {taken.cpu:,.1f} µs" for taken in samples)]


def _times(medians: Medians, peer: str, publishers: int) -> float:
    return medians[OURS, publishers].rate / medians[peer, publishers].rate


def _publishers(count: int) -> str:
    return "1 publisher" if count == 1 else f"{count:,} publishers"


def _chart(name: str, title: str, y: str, medians: Medians, figure: str) -> Chart:
    series = {
        contender: [(float(count), float(getattr(medians[contender, count], figure))) for count in PUBLISHERS]
        for contender in CONTENDERS
    }
    return Chart(name, title, "concurrent publishers", y, series, log_x=True, log_y=True)


def _foot(effort: Effort) -> list[str]:
    return [
        f"- {versions()}; medians of {effort.rounds} alternating rounds of {effort.seconds:g} s.",
        "- *aiokafka* is `send_and_wait`. *aiokafka, one task*: a queue, and one task that calls `send`.",
        "- *confluent-kafka* is a `Producer`, a thread that polls, and a future for each report; with its default",
        "  `linger.ms` of 5, and with 0, which serves few publishers better.",
        "- *confluent-kafka AIO* is `AIOProducer`. Its batches carry neither headers nor timestamps, so its records",
        "  have none. By default it looks each half second whether its buffer of 1,000 was idle for a second, and",
        "  hears reports only when it looks. Here it has `batch_size=100` and `buffer_timeout=0.05`, which served",
        "  it best of what was tried; it looks each 0.1 s at the most.",
        "- *FastStream* is `KafkaBroker.publish`, on aiokafka; it adds a header of its own.",
        "- *floor* is no client but what none on this event loop could leave out: the same event and encoder, requests",
        "  of aiokafka's batches one at a time, a future for each event; no budgets, retries, limits or outcomes.",
    ]
