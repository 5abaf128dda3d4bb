"""eventpub beside aiokafka's ``send_and_wait`` on Apache Kafka: ``make bench``.

One node, one topic of four partitions each, acks=all, idempotent. Rounds alternate between
the contenders within one process, so that a machine that slows down slows down both; what
is quoted is the median, and the ratio of medians.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import statistics
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import CONTENDERS, SOURCE, new_event
from benchmarks.load import Sample, Slices, closed_loop
from eventpub import BufferLimits, Delivery, Publisher
from support.kafka_node import ApacheKafka
from support.readback import create_topic

if TYPE_CHECKING:
    from collections.abc import Iterable

PUBLISHERS = (1, 16, 100, 1_000)
PARTITIONS = 4
AT_ONCE = 20_000


async def compare(bootstrap: str, rounds: int, seconds: float) -> dict[tuple[str, int], list[Sample]]:
    """Return the samples of every contender at every number of publishers."""
    samples: dict[tuple[str, int], list[Sample]] = {}
    for publishers in PUBLISHERS:
        for turn in range(-1, rounds):  # the first is a warm-up
            for name in CONTENDERS if turn % 2 else reversed(CONTENDERS):
                async with CONTENDERS[name](bootstrap, f"bench-{name}") as publish:
                    await publish()
                    gc.collect()
                    sample = await closed_loop(publish, publishers, seconds if turn >= 0 else 0.3)
                if turn >= 0:
                    samples.setdefault((name, publishers), []).append(sample)
    return samples


async def all_at_once(bootstrap: str) -> tuple[int, float, Slices]:
    """Publish 20,000 events from as many tasks: how many arrive, in how long, and the longest slice."""
    async with Publisher(f"kafka://{bootstrap}", source=SOURCE) as publisher:
        await publisher.publish(new_event(), topic="bench-eventpub")
        events = [new_event() for _ in range(AT_ONCE)]
        gc.collect()
        gc.disable()  # a full collection of 20,000 tasks is the interpreter's slice (30 ms), not eventpub's
        with Slices() as slices:
            began = time.perf_counter()
            reports = await asyncio.gather(*(publisher.publish(event, topic="bench-eventpub") for event in events))
            took = time.perf_counter() - began
        gc.enable()
    return sum(isinstance(report, Delivery) for report in reports), took, slices


async def memory_of_unconfirmed() -> float:
    """Return the bytes that one unconfirmed event costs over its payload, its task included."""
    count = 5_000
    limits = BufferLimits(max_records=2 * count, max_bytes=1 << 30)
    async with Publisher("kafka://127.0.0.1:1", source=SOURCE, buffer=limits) as publisher:  # nobody listens
        events = [new_event() for _ in range(count)]
        payload = sum(len(event.model_dump_json()) for event in events)
        tracemalloc.start()
        tasks = [asyncio.create_task(publisher.publish(event, topic="t")) for event in events]
        await asyncio.sleep(0.5)
        used = tracemalloc.get_traced_memory()[0] - payload
        tracemalloc.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return used / count


def table(samples: dict[tuple[str, int], list[Sample]]) -> Iterable[str]:
    """Yield the comparison as a Markdown table."""
    yield "| publishers | eventpub, events/s | aiokafka, events/s | ratio | p50 / p99, ms | aiokafka's | CPU, µs an event |"
    yield "|---|---|---|---|---|---|---|"
    for publishers in PUBLISHERS:
        ours, theirs = (median(samples[name, publishers]) for name in ("eventpub", "aiokafka"))
        yield (
            f"| {publishers:,} | {ours.rate:,.0f} | {theirs.rate:,.0f} | **{ours.rate / theirs.rate:.2f}** "
            f"| {ours.p50:.2f} / {ours.p99:.2f} | {theirs.p50:.2f} / {theirs.p99:.2f} "
            f"| {ours.cpu:.1f} beside {theirs.cpu:.1f} |"
        )


def median(samples: list[Sample]) -> Sample:
    """Return the median of each figure."""
    return Sample(*(statistics.median(getattr(sample, name) for sample in samples) for name in Sample.__slots__))


async def measure(bootstrap: str, rounds: int, seconds: float) -> list[str]:
    """Run everything and return it as lines of Markdown."""
    lines = [*table(await compare(bootstrap, rounds, seconds))]
    delivered, took, slices = await all_at_once(bootstrap)
    longest = slices.longest * 1e3
    bytes_each = await memory_of_unconfirmed()
    lines += [
        "",
        f"- {AT_ONCE:,} publishes at once: {delivered:,} delivered in {took:.2f} s, longest slice {longest:.1f} ms of CPU.",
        f"- An unconfirmed event costs {bytes_each:,.0f} bytes over its payload, its task included.",
        f"- CPython {platform.python_version()}, medians of {rounds} alternating rounds of {seconds:g} s.",
    ]
    return lines


def main() -> None:
    """Start a node, measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--write", type=Path, help="put the figures between the markers of this page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as data, ApacheKafka(Path(data)) as kafka:
        for name in CONTENDERS:
            create_topic(kafka.bootstrap_servers, f"bench-{name}", PARTITIONS)
        lines = asyncio.run(measure(kafka.bootstrap_servers, options.rounds, options.seconds))
    print("\n".join(lines))
    if options.write:
        _write(options.write, lines)


def _write(page: Path, lines: list[str]) -> None:
    begin, end = "<!-- figures -->\n", "<!-- /figures -->"
    head, _, rest = page.read_text().partition(begin)
    page.write_text(head + begin + "\n".join(lines) + "\n" + end + rest.partition(end)[2])


if __name__ == "__main__":
    main()
