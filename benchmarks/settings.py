"""What ``linger`` and ``compression`` buy and cost, on Apache Kafka: ``python -m benchmarks.settings``.

An open loop: events are published at a steady pace by `Publisher.publish_nowait`, whether or
not earlier ones are confirmed, to twelve partitions of one node, acks=all, idempotent. The
settings take turns, and every figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

from benchmarks.contenders import SOURCE
from eventpub import CRITICAL, Delivery, DeliveryProfile, Event, Publisher, Record
from eventpub.abc import UNSTAMPED, AttemptDetails, Compression, OutcomeDetails
from eventpub.cloudevents import Encoder
from eventpub.transports.kafka.wire import encode
from support.kafka_node import ApacheKafka
from support.readback import create_topic

TOPIC, PARTITIONS = "bench-settings", 12
TICK = 0.01
PLAIN = CRITICAL.replace(dead_letter=False)
PROFILES = {
    "0 (default)": PLAIN,
    "20 ms": PLAIN.replace(linger=0.02),
    "100 ms": PLAIN.replace(linger=0.1),
}


class LineItem(Event, type="order.line", topic=TOPIC, key="order"):
    """Some 250 bytes of JSON, as unlike each other as such events are."""

    order: str
    sku: str
    title: str
    quantity: int
    price: float
    tags: list[str]


def line_item(number: int) -> LineItem:
    """Return the event with that number."""
    return LineItem(
        order=f"{number * 7919 % 1_000_003:08d}",
        sku=f"SKU-{number * 104_729 % 99_991:06d}",
        title=f"A thing of kind {number % 311} in colour {number % 17}, size {number % 11}",
        quantity=number % 9 + 1,
        price=number * 37 % 10_000 / 100,
        tags=[f"tag-{number % 29}", f"warehouse-{number % 5}", "spring", "ships-at-once"],
    )


@dataclass(frozen=True, slots=True)
class Round:
    """Records a batch, client CPU per event in µs, milliseconds from the call to the outcome."""

    batch: float
    cpu: float
    p50: float
    p99: float


class Watch:
    """Counts batches, and how long events took."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.took: list[float] = []

    def on_attempt(self, details: AttemptDetails) -> None:
        """Note the size of a batch."""
        self.batches.append(details.records)

    def on_outcome(self, details: OutcomeDetails) -> None:
        """Note how long an event took."""
        if not isinstance(details.outcome, Delivery):
            raise details.outcome
        self.took.append(details.outcome.elapsed)


async def steady(bootstrap: str, profile: DeliveryProfile, rate: int, seconds: float) -> Round:
    """Publish *rate* events a second for *seconds*."""
    watch = Watch()
    async with Publisher(f"kafka://{bootstrap}", source=SOURCE, profile=profile, hooks=[watch]) as publisher:
        await publisher.publish_many([line_item(number) for number in range(PARTITIONS * 10)])
        watch.batches.clear()
        watch.took.clear()
        clock = asyncio.get_running_loop().time
        began, cpu, sent = clock(), time.process_time(), 0
        while sent < rate * seconds:
            await asyncio.sleep(TICK)
            due = min(int((clock() - began) * rate), int(rate * seconds))
            for number in range(sent, due):
                publisher.publish_nowait(line_item(number))
            sent = due
        await publisher.flush()
        cpu = time.process_time() - cpu
    watch.took.sort()
    count = len(watch.took)
    p50, p99 = watch.took[count // 2] * 1e3, watch.took[int(count * 0.99)] * 1e3
    return Round(statistics.mean(watch.batches), cpu / count * 1e6, p50, p99)


def median(rounds: list[Round]) -> Round:
    """Return the median of each figure."""
    return Round(*(statistics.median(getattr(one, field.name) for one in rounds) for field in fields(Round)))


def lingering(bootstrap: str, rounds: int, rate: int, seconds: float) -> Iterator[str]:
    """Yield what lingering does, as a table."""
    seen: dict[str, list[Round]] = {name: [] for name in PROFILES}
    for _ in range(rounds):
        for name, profile in PROFILES.items():
            seen[name].append(asyncio.run(steady(bootstrap, profile, rate, seconds)))
    yield f"| linger, at {rate:,} events/s | records a batch | CPU, µs an event | p50 / p99, ms |"
    yield "|---|---|---|---|"
    for name, samples in seen.items():
        one = median(samples)
        yield f"| {name} | {one.batch:.1f} | {one.cpu:.0f} | {one.p50:.1f} / {one.p99:.1f} |"


def compressing() -> Iterator[str]:
    """Yield what each codec makes of batches of 1, 10 and 100 events, and how long it takes."""
    yield "| codec | bytes an event, batches of 1 / 10 / 100 | µs an event, batches of 100 |"
    yield "|---|---|---|"
    for codec in get_args(Compression):
        sizes = [len(encoded(codec, count)) / count for count in (1, 10, 100)]
        took = min(timed(codec) for _ in range(20))
        yield f"| {codec} | {sizes[0]:.0f} / {sizes[1]:.0f} / {sizes[2]:.0f} | {took:.1f} |"


def records(count: int) -> list[Record]:
    """Return *count* events as they go on the wire."""
    encoder = Encoder(SOURCE)
    return [encoder.encode(line_item(number))._replace(timestamp=1) for number in range(count)]


def encoded(codec: Compression, count: int) -> bytes:
    """Return a batch of *count* events."""
    return encode(records(count), UNSTAMPED, codec).data


def timed(codec: Compression) -> float:
    """Return what encoding takes, µs an event."""
    batch = records(100)
    began = time.thread_time()
    for _ in range(20):
        encode(batch, UNSTAMPED, codec)
    return (time.thread_time() - began) / 2000 * 1e6


def main() -> None:
    """Start a node, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rate", type=int, default=500)
    options = parser.parse_args()
    print("\n".join(compressing()), end="\n\n")
    with tempfile.TemporaryDirectory() as data, ApacheKafka(Path(data)) as kafka:
        create_topic(kafka.bootstrap_servers, TOPIC, PARTITIONS)
        print("\n".join(lingering(kafka.bootstrap_servers, options.rounds, options.rate, options.seconds)))


if __name__ == "__main__":
    main()
