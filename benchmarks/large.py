"""Large events, 100 kB and 1 MB, with every compression: events/s, and how long the event loop is held up.

The longest slice is in processor time of the loop's thread, without the garbage collector. What holds the
loop by its nature does so in each round, so the median of the rounds' longest counts; beside it stands the
longest of all, which on a shared machine is mostly a write to the socket that the kernel took long for.
And aiokafka's, which compresses on the loop.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, get_args

import uuid_utils
from aiokafka import AIOKafkaProducer

from benchmarks.contenders import SOURCE, TaskCreated
from benchmarks.load import Sample, Slices, closed_loop, in_turns
from benchmarks.node import PARTITIONS, one_node
from benchmarks.section import Chart, Effort, Section
from benchmarks.table import Target, table, targets
from eventpub import CRITICAL, Publisher
from eventpub.abc import Compression
from eventpub.cloudevents import Encoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    Publish = Callable[[], Awaitable[object]]

PUBLISHERS = 16
SIZES = (100_000, 1_000_000)  # the larger one is close to what a topic takes, 1,048,588
TOPIC = "large"
CODECS: tuple[Compression, ...] = get_args(Compression)
_LONGEST = 5.0  # milliseconds of encoding that the loop may be held
_TEXTS = 8
_NOTES = (
    f"- {PUBLISHERS} publishers; bytes and MB before compression.",
    "- Longest slice: median of the rounds' longest; *of all*: the longest of all rounds.",
)


@dataclass(frozen=True, slots=True)
class Held:
    """How one contender did, and the longest slice of each round, in milliseconds."""

    sample: Sample
    longest: Sequence[float]

    @property
    def usual(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.longest)


Found = dict[tuple[int, Compression, str], Held]


def texts(size: int) -> list[str]:
    """Return texts of *size* characters that compress as prose does, to about a third."""
    rng = random.Random(size)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(2_000)]
    return [" ".join(rng.choices(words, k=size // 3))[:size] for _ in range(_TEXTS)]


@asynccontextmanager
async def eventpub(bootstrap: str, codec: Compression, new_event: Callable[[], TaskCreated]) -> AsyncIterator[Publish]:
    """Yield ``publish`` with *codec* in the profile."""
    profile = CRITICAL.replace(compression=codec)
    target = f"kafka://{bootstrap}"
    async with Publisher(target, source=SOURCE, topic_for=lambda _: TOPIC, profile=profile) as publisher:
        yield lambda: publisher.publish(new_event())


@asynccontextmanager
async def aiokafka(bootstrap: str, codec: Compression, new_event: Callable[[], TaskCreated]) -> AsyncIterator[Publish]:
    """Yield ``send_and_wait`` of the same bytes with the same codec."""
    encoder = Encoder(SOURCE, topic_for=lambda _: TOPIC)
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        enable_idempotence=True,
        acks="all",
        compression_type=None if codec == "none" else codec,
        max_request_size=2 << 20,
    )
    await producer.start()

    async def publish() -> object:
        record = encoder.encode(new_event())
        headers = list(record.headers)
        return await producer.send_and_wait(TOPIC, record.value, key=record.key, headers=headers)

    try:
        yield publish
    finally:
        await producer.stop()


CONTENDERS: dict[str, Callable[..., AbstractAsyncContextManager[Publish]]] = {
    "eventpub": eventpub,
    "aiokafka": aiokafka,
}


async def compare(bootstrap: str, effort: Effort) -> Found:
    """Return how each contender did with each size and codec."""
    found: Found = {}
    for size in SIZES:
        of_size = cycle(texts(size))
        for codec in CODECS:
            async with AsyncExitStack() as opened:
                publishes = {
                    name: await opened.enter_async_context(contender(bootstrap, codec, partial(_event, of_size)))
                    for name, contender in CONTENDERS.items()
                }
                compared = await _in_turns(publishes, effort)
            found |= {(size, codec, name): figures for name, figures in compared.items()}
    return found


def _event(of_size: Iterator[str]) -> TaskCreated:
    return TaskCreated(task_id=str(uuid_utils.uuid4()), title=next(of_size), done=False, estimate=3)


async def _in_turns(publishes: dict[str, Publish], effort: Effort) -> dict[str, Held]:
    longest: dict[str, list[float]] = {name: [] for name in publishes}

    def run(name: str) -> Callable[[], Awaitable[Sample]]:
        return lambda: _timed(publishes[name], longest[name], effort.seconds)

    samples = await in_turns({name: run(name) for name in publishes}, effort.rounds)
    return {name: Held(sample, longest[name][1:]) for name, sample in samples.items()}  # the first was to warm up


async def _timed(publish: Publish, longest: list[float], seconds: float) -> Sample:
    gc.disable()  # a full collection is the interpreter's slice
    try:
        with Slices() as slices:
            return await closed_loop(publish, PUBLISHERS, seconds)
    finally:
        gc.enable()
        longest.append(slices.longest * 1e3)


def measure(effort: Effort) -> Section:
    """Measure every size with every codec."""
    with one_node({TOPIC: PARTITIONS}) as node:
        found = asyncio.run(compare(node.bootstrap_servers, effort))
    ours = {of[:2]: held.usual for of, held in found.items() if of[2] == "eventpub"}
    goals = (
        Target(f"longest slice, {size // 1_000:,} kB, {codec}", slice_, _LONGEST, " ms", at_most=True)
        for (size, codec), slice_ in ours.items()
    )
    header = ("bytes", "codec", "", "events/s", "MB/s", "p99, ms", "CPU, ms an event", "longest slice, ms", "of all")
    lines = (*table(header, rows(found)), "", *targets(goals), "", *_NOTES)
    bars: dict[str, list[tuple[float, float]]] = {
        codec: [(size / 1e3, ours[size, codec]) for size in SIZES] for codec in CODECS
    }
    title = "How long large events hold the event loop at the most"
    return Section("large", lines, (Chart("large", title, "event, kB", "ms", bars, "bars", log_y=True),))


def rows(found: Found) -> Iterator[tuple[str, ...]]:
    """Yield a row for each."""
    for (size, codec, name), held in found.items():
        sample = held.sample
        rate = f"{sample.rate:,.0f}", f"{sample.rate * size / 1e6:,.0f}"
        cost = f"{sample.p99:.0f}", f"{sample.cpu / 1e3:.2f}"
        yield f"{size:,}", codec, name, *rate, *cost, f"{held.usual:.1f}", f"{max(held.longest):.1f}"
