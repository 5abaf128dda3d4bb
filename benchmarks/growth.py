"""What more publishers, partitions and topics cost: events/s and processor time of an event should stay as they are.

Publishers: beside them the same tasks with nothing behind them, and both without the garbage collector.
What 50,000 tasks cost more than 1,000 there is the interpreter's, and most of it the collector's.

Partitions: the number of records that share a batch falls as the number of partitions grows,
and every batch costs its own, on both sides of the wire. So the records of a batch are told,
and what aiokafka makes of the same topics, fed by one task.

Topics: a publisher that has seen many publishes to the first ten of them, so that nothing
differs but what it has seen. A node with a heap of 256 MB makes 10,000 topics and runs out of
memory when the 6,000th is published to, so on Kafka it is 3,000; the rest of the way goes to
the broker in this process.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # confluent_kafka.admin hides it from type checkers

from benchmarks.contenders import CONTENDERS, SOURCE, new_event, records
from benchmarks.load import Sample, closed_loop, in_turns, once_opened
from benchmarks.node import PARTITIONS, one_node
from benchmarks.section import Chart, Effort, Section
from benchmarks.table import Target, table, targets
from eventpub import CRITICAL, Publisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from eventpub import Record

    Publish = Callable[[], Awaitable[object]]
    Contender = Callable[[str, str], AbstractAsyncContextManager[Publish]]

PUBLISHERS = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
COUNTS_OF_PARTITIONS = (1, 4, 12, 100, 1_000)
SEEN_ON_KAFKA = (10, 100, 1_000, 3_000)
SEEN_IN_MEMORY = (10, 100, 1_000, 10_000)
FEW, MANY = 1_000, 20_000  # publishers
PEER = "aiokafka, one task"
NOTHING = "tasks alone"
UNCOLLECTED = ", no collector"
ALLOWED = 0.15

_EACH_TWICE = 10_000  # publishers that have had their turn about twice after a second
_WAKING = 0.01  # seconds
_IN_USE = 10  # topics
_AT_ONCE = 500  # topics created, or seen, together
_PATIENT = CRITICAL.replace(delivery_timeout=120)
_MANY_LOGS = {
    "log.index.size.max.bytes": str(1 << 20),  # of each of thousands of partitions
    "broker.session.timeout.ms": "60000",  # making thousands of logs keeps the node from saying that it lives
    "broker.heartbeat.interval.ms": "2000",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One point of a curve: how many of something, what it came to, and what else is to be said of it."""

    count: int
    sample: Sample
    note: str = ""


# --- publishers -------------------------------------------------------------------------


async def with_publishers(bootstrap: str, topic: str, effort: Effort) -> dict[str, list[Step]]:
    """Return the medians at each number of publishers, and of tasks that publish nothing."""
    collected: dict[str, Contender] = {"eventpub": CONTENDERS["eventpub"], NOTHING: nothing}
    contenders = collected | {name + UNCOLLECTED: uncollected(each) for name, each in collected.items()}

    def run(name: str, publishers: int) -> Callable[[], Awaitable[Sample]]:
        seconds = max(effort.seconds, publishers / _EACH_TWICE)
        load = partial(closed_loop, publishers=publishers, seconds=seconds)
        return lambda: once_opened(contenders[name](bootstrap, topic), load)

    loads = {(name, count): run(name, count) for name, count in itertools.product(contenders, PUBLISHERS)}
    steps: dict[str, list[Step]] = {name: [] for name in contenders}
    for (name, count), sample in (await in_turns(loads, effort.rounds)).items():
        steps[name].append(Step(count, sample))
    return steps


def uncollected(contender: Contender) -> Contender:
    """Return *contender*, with the garbage collector off while it is open."""

    @asynccontextmanager
    async def opened(bootstrap: str, topic: str) -> AsyncIterator[Publish]:
        async with contender(bootstrap, topic) as publish:
            gc.disable()
            try:
                yield publish
            finally:
                gc.enable()

    return opened


@asynccontextmanager
async def nothing(_bootstrap: str, topic: str) -> AsyncIterator[Publish]:
    """Yield a function that makes and encodes an event, and waits for one task that wakes all waiters at a time."""
    next_record, loop = records(topic), asyncio.get_running_loop()
    waiting: list[tuple[Record, asyncio.Future[None]]] = []

    async def publish() -> object:
        waiter = loop.create_future()
        waiting.append((next_record(), waiter))
        return await waiter

    async def wake() -> None:
        while True:
            await asyncio.sleep(_WAKING)
            woken = waiting.copy()
            waiting.clear()
            for _, waiter in woken:
                waiter.set_result(None)

    waking = asyncio.create_task(wake())
    try:
        yield publish
    finally:
        waking.cancel()
        await asyncio.wait([waking])


# --- partitions -------------------------------------------------------------------------


async def with_partitions(bootstrap: str, effort: Effort) -> dict[str, list[Step]]:
    """Return the medians of eventpub with few and with many publishers, and of the peer with few."""
    batches: dict[tuple[str, int], float] = {}

    def ours(publishers: int, partitions: int) -> Callable[[], Awaitable[Sample]]:
        async def run() -> Sample:
            target = f"kafka://{bootstrap}"
            async with Publisher(target, source=SOURCE, topic_for=lambda _: _topic(partitions)) as publisher:
                await publisher.publish(new_event())
                sample = await closed_loop(lambda: publisher.publish(new_event()), publishers, effort.seconds)
                counted = publisher.statistics()
            batches[_ours(publishers), partitions] = counted.persisted / counted.attempts
            return sample

        return run

    def peers(partitions: int) -> Callable[[], Awaitable[Sample]]:
        load = partial(closed_loop, publishers=FEW, seconds=effort.seconds)
        return lambda: once_opened(CONTENDERS[PEER](bootstrap, _topic(partitions)), load)

    loads = {(PEER, partitions): peers(partitions) for partitions in COUNTS_OF_PARTITIONS}
    for publishers, partitions in itertools.product((FEW, MANY), COUNTS_OF_PARTITIONS):
        loads[_ours(publishers), partitions] = ours(publishers, partitions)
    steps: dict[str, list[Step]] = {_ours(FEW): [], _ours(MANY): [], PEER: []}
    for (name, partitions), sample in (await in_turns(loads, effort.rounds)).items():
        records = batches.get((name, partitions))
        steps[name].append(Step(partitions, sample, "" if records is None else f"{records:,.1f}"))
    return steps


def _topic(partitions: int) -> str:
    return f"partitions-{partitions}"


def _ours(publishers: int) -> str:
    return f"eventpub, {publishers:,} publishers"


# --- topics -----------------------------------------------------------------------------


async def with_topics(target: str, counts: Sequence[int], effort: Effort) -> list[Step]:
    """Return the medians of publishers that have seen so many topics each, and how long that took them."""
    loads: dict[int, Callable[[], Awaitable[Sample]]] = {}
    took: dict[int, float] = {}
    async with AsyncExitStack() as opened:
        for count in counts:
            publisher = await opened.enter_async_context(Publisher(target, source=SOURCE, profile=_PATIENT))
            took[count] = await see(publisher, count)
            loads[count] = partial(closed_loop, _to_few(publisher), FEW, effort.seconds)
        samples = await in_turns(loads, effort.rounds)
    return [Step(count, sample, f"{took[count]:.1f} s") for count, sample in samples.items()]


def _to_few(publisher: Publisher) -> Callable[[], Awaitable[object]]:
    names = itertools.cycle([_name(number) for number in range(_IN_USE)])
    return lambda: publisher.publish(new_event(), topic=next(names))


async def see(publisher: Publisher, count: int) -> float:
    """Publish one event to each of *count* topics; return the seconds that it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for first in range(0, count, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, count))
        await asyncio.gather(*(publisher.publish(new_event(), topic=_name(number)) for number in numbers))
    return loop.time() - began


def _name(number: int) -> str:
    return f"topic-{number}"


def create(bootstrap: str, count: int) -> None:
    """Create *count* topics of one partition; each is there some time after its name is."""
    admin = AdminClient({"bootstrap.servers": bootstrap})  # kept until the end: its futures die with it
    for first in range(0, count, _AT_ONCE):
        topics = [NewTopic(_name(number), 1) for number in range(first, min(first + _AT_ONCE, count))]
        for created in admin.create_topics(topics, request_timeout=60, operation_timeout=60).values():
            created.result(60)


# --- the section ------------------------------------------------------------------------


def measure(effort: Effort) -> Section:
    """Measure the three, each on a node of its own."""
    with one_node({"publishers": PARTITIONS}) as node:
        publishers = asyncio.run(with_publishers(node.bootstrap_servers, "publishers", effort))
    with one_node({_topic(count): count for count in COUNTS_OF_PARTITIONS}, _MANY_LOGS) as node:
        partitions = asyncio.run(with_partitions(node.bootstrap_servers, effort))
    with one_node({}, _MANY_LOGS) as node:
        create(node.bootstrap_servers, max(SEEN_ON_KAFKA))
        on_kafka = asyncio.run(with_topics(node.url, SEEN_ON_KAFKA, effort))
    in_memory = asyncio.run(with_topics("memory://", SEEN_IN_MEMORY, effort))
    topics = {"Apache Kafka": on_kafka, "memory": in_memory}
    goals = [
        *_goals("publishers", publishers["eventpub"]),
        *(goal for name, steps in partitions.items() if name != PEER for goal in _goals(f"partitions, {name}", steps)),
        *(goal for name, steps in topics.items() for goal in _goals(f"topics seen, {name}", steps)),
    ]
    lines = [
        *told("publishers", publishers),
        "",
        *told("partitions", partitions, "records a batch"),
        "",
        *told("topics seen", topics, "to see them"),
        "",
        *targets(goals),
    ]
    charts = (
        _chart("publishers", publishers),
        _chart("partitions", partitions),
        _chart("topics", topics),
    )
    return Section("growth", tuple(lines), charts)


def told(what: str, curves: dict[str, list[Step]], note: str = "") -> list[str]:
    """Return curves as one table."""
    header = (what, "", "events/s", "CPU, µs an event", *([note] if note else []))
    return table(header, (row for name, steps in curves.items() for row in _rows(name, steps, noted=bool(note))))


def _rows(name: str, steps: list[Step], *, noted: bool) -> Iterator[tuple[str, ...]]:
    for step in steps:
        row = (f"{step.count:,}", name, f"{step.sample.rate:,.0f}", f"{step.sample.cpu:.1f}")
        yield (*row, step.note) if noted else row


def _goals(what: str, steps: list[Step]) -> Iterator[Target]:
    """Yield how far the curve strays in the direction that costs; the other one is no fault."""
    first = steps[0].sample
    yield Target(f"{what}: least events/s", min(step.sample.rate for step in steps) / first.rate, 1 - ALLOWED)
    most = max(step.sample.cpu for step in steps) / first.cpu
    yield Target(f"{what}: most CPU per event", most, 1 + ALLOWED, at_most=True)


def _chart(what: str, curves: dict[str, list[Step]]) -> Chart:
    series = {}
    for name, steps in curves.items():
        first = steps[0].sample
        series[f"{name}: events/s"] = [(float(step.count), step.sample.rate / first.rate) for step in steps]
        series[f"{name}: CPU"] = [(float(step.count), step.sample.cpu / first.cpu) for step in steps]
    title = f"Growth of {what}: flat is 1"
    return Chart(f"growth-{what}", title, what, "times the first", series, log_x=True)
