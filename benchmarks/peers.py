"""eventpub beside what else publishes to Kafka from asyncio, at 1 to 1,000 concurrent publishers.

Each contender has a process of its own, so that nobody pays for what another one imports, and
waits in it while the others have their rounds: a machine that slows down slows all of them
down. Ratios are medians of the ratios of one turn.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import statistics
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import TYPE_CHECKING

from benchmarks.contenders import CONTENDERS, versions
from benchmarks.load import Sample, closed_loop, median
from benchmarks.node import PARTITIONS, one_node
from benchmarks.section import Chart, Effort, Section
from benchmarks.table import Target, table, targets

if TYPE_CHECKING:
    Rounds = dict[tuple[str, int], list[Sample]]
    Medians = dict[tuple[str, int], Sample]

OURS = "eventpub"
PUBLISHERS = (1, 16, 100, 1_000)
WARM_UP = 0.3
_FEW = 16  # publishers
_TOPICS = {name: f"peers-{number}" for number, name in enumerate(CONTENDERS)}
_ROUND_TRIP = {1: 1.0, 16: 1.1, 100: 2.0, 1_000: 10.0}  # times aiokafka's send_and_wait
_MOST_CPU = 18.0  # µs an event at 1,000 publishers


def measure(effort: Effort) -> Section:
    """Return events/s, latencies and CPU of all contenders."""
    with one_node(dict.fromkeys(_TOPICS.values(), PARTITIONS)) as node:
        return section_of(_compare(node.bootstrap_servers, effort), effort)


def section_of(rounds: Rounds, effort: Effort) -> Section:
    """Return the tables and pictures of *rounds*, by contender and number of publishers, in turns."""
    medians = {of: median(samples) for of, samples in rounds.items()}
    header = ("publishers", *(f"{count:,}" for count in PUBLISHERS))
    lines = [
        "Events/s, and in brackets how many times that eventpub publishes:",
        "",
        *table(header, (_rates(rounds, medians, name) for name in CONTENDERS)),
        "",
        "Latency in ms (p50 / p99), and client CPU per event in µs:",
        "",
        *table(header, (_costs(medians, name) for name in CONTENDERS)),
        "",
        *targets(goals(rounds)),
        "",
        *_foot(effort),
    ]
    charts = (
        _chart("peers-rate", "Events per second, by concurrent publishers", "events/s", medians, "rate"),
        _chart("peers-cpu", "Client CPU per event, by concurrent publishers", "µs an event", medians, "cpu"),
    )
    return Section("peers", tuple(lines), charts)


def goals(rounds: Rounds) -> list[Target]:
    """Return what was aimed at beside the peers; of confluent-kafka's two, the faster one counts."""
    found = [
        Target(f"aiokafka's `send_and_wait`, {_publishers(count)}", _times(rounds, "aiokafka", count), bound)
        for count, bound in _ROUND_TRIP.items()
    ]
    by_hand = min(_times(rounds, name, 100) for name in ("confluent-kafka", "confluent-kafka, linger 0"))
    cpu = median(rounds[OURS, 1_000]).cpu
    return [
        *found,
        Target("hand-rolled confluent-kafka, 100 publishers", by_hand, 1.0),
        Target("client CPU per event, 1,000 publishers", cpu, _MOST_CPU, " µs", at_most=True),
    ]


def _compare(bootstrap_servers: str, effort: Effort) -> Rounds:
    """Return what each turn had."""
    rounds: Rounds = {(name, count): [] for name in CONTENDERS for count in PUBLISHERS}
    with ExitStack() as stack:
        apart = {name: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for name in CONTENDERS}
        for publishers in PUBLISHERS:
            rounds_each, seconds_each = _cut(effort, publishers)
            for turn in range(-1, rounds_each):  # the first is a warm-up, of the broker too
                seconds = seconds_each if turn >= 0 else WARM_UP
                for name in CONTENDERS if turn % 2 else reversed(CONTENDERS):
                    sample = apart[name].submit(one_round, bootstrap_servers, name, publishers, seconds).result()
                    if turn >= 0:
                        rounds[name, publishers].append(sample)
    return rounds


def _cut(effort: Effort, publishers: int) -> tuple[int, float]:
    """Return more and shorter rounds: the machine's speed changes by the second, by more than few publishers differ."""
    cuts = 4 if publishers <= _FEW else 2
    return cuts * effort.rounds, effort.seconds / cuts


def one_round(bootstrap_servers: str, name: str, publishers: int, seconds: float) -> Sample:
    """Let a contender publish in this process, with a connection and an event loop of its own."""
    logging.getLogger("eventpub").setLevel(logging.ERROR)  # that there are no dead letters is known
    return asyncio.run(_round(bootstrap_servers, name, publishers, seconds))


async def _round(bootstrap_servers: str, name: str, publishers: int, seconds: float) -> Sample:
    async with CONTENDERS[name](bootstrap_servers, _TOPICS[name]) as publish:
        await publish()
        gc.collect()
        return await closed_loop(publish, publishers, seconds)


def _rates(rounds: Rounds, medians: Medians, name: str) -> list[str]:
    rates = {count: f"{medians[name, count].rate:,.0f}" for count in PUBLISHERS}
    if name == OURS:
        return [f"**{name}**", *(f"**{rate}**" for rate in rates.values())]
    return [name, *(f"{rate} ({_times(rounds, name, count):.2f}x)" for count, rate in rates.items())]


def _costs(medians: Medians, name: str) -> list[str]:
    samples = [medians[name, count] for count in PUBLISHERS]
    return [name, *(f"{taken.p50:.2f} / {taken.p99:.2f}; {taken.cpu:,.1f} µs" for taken in samples)]


def _times(rounds: Rounds, peer: str, publishers: int) -> float:
    turns = zip(rounds[OURS, publishers], rounds[peer, publishers], strict=True)
    return statistics.median(ours.rate / theirs.rate for ours, theirs in turns)


def _publishers(count: int) -> str:
    return "1 publisher" if count == 1 else f"{count:,} publishers"


def _chart(name: str, title: str, y: str, medians: Medians, figure: str) -> Chart:
    series = {
        contender: [(float(count), float(getattr(medians[contender, count], figure))) for count in PUBLISHERS]
        for contender in CONTENDERS
    }
    return Chart(name, title, "concurrent publishers", y, series, log_x=True, log_y=True)


def _foot(effort: Effort) -> list[str]:
    few, many = ("{} of {:g} s".format(*_cut(effort, publishers)) for publishers in (_FEW, _FEW + 1))
    return [
        f"- {versions()}; medians of alternating rounds, {few} with up to {_FEW} publishers, else {many}.",
        "- In brackets: medians of the ratios of one turn.",
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
