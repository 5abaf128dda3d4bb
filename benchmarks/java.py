"""eventpub beside Apache Kafka's own ``kafka-producer-perf-test``, on the same broker and topic.

Java counts records whose callback was called; eventpub counts events, each made, encoded and
awaited by its own task. Both write as many bytes a record.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
from typing import TYPE_CHECKING

from benchmarks.contenders import eventpub, records
from benchmarks.load import closed_loop
from benchmarks.node import PARTITIONS, one_node
from benchmarks.section import Effort, Section
from benchmarks.table import Target, table, targets
from support.kafka_node import JARS, java_version

if TYPE_CHECKING:
    from collections.abc import Sequence

TOPIC = "java"
PUBLISHERS = 1_000
WARM_UP = 200_000
"""Records of Java that do not count: so many until its compiler was done with what is called most."""
RECORDS_A_SECOND = 100_000
"""How many count for each second of a round; more than it does, so that it runs longer rather than shorter."""
SHARE = 0.35
_STEADY = re.compile(r"\d+ steady state records sent, ([\d.]+) records/sec")


def measure(effort: Effort) -> Section:
    """Return the rates of both, in turns, after a round of eventpub that warms it up."""
    ours, theirs = [], []
    with one_node({TOPIC: PARTITIONS}) as node:
        asyncio.run(_eventpub(node.bootstrap_servers, min(effort.seconds, 1.0)))
        for _ in range(effort.rounds):
            theirs.append(_java(node.bootstrap_servers, effort.seconds))
            ours.append(asyncio.run(_eventpub(node.bootstrap_servers, effort.seconds)))
    return section_of(ours, theirs, effort)


def section_of(ours: Sequence[float], theirs: Sequence[float], effort: Effort) -> Section:
    """Return the medians and their ratio."""
    eventpub_rate, java_rate = statistics.median(ours), statistics.median(theirs)
    goal = Target("Java's own producer perf tool, 1,000 publishers", eventpub_rate / java_rate, SHARE)
    lines = [
        *table(
            ("", "records/s", "of them"),
            [
                ("`kafka-producer-perf-test`", f"{java_rate:,.0f}", _range(theirs)),
                (f"eventpub, {PUBLISHERS:,} publishers", f"{eventpub_rate:,.0f}", _range(ours)),
            ],
        ),
        "",
        *targets([goal]),
        "",
        f"- Medians of {effort.rounds} rounds in turns, eventpub's of {effort.seconds:g} s; beside them the least and the most.",
        f"- Java {java_version()}: acks=all, idempotent, records of {record_size():,} bytes (ours with key and headers),",
        f"  `--throughput -1`, after {WARM_UP:,} records that do not count. Its records have no key and no headers: it",
        "  makes one payload and fills a batch of one partition after the other.",
    ]
    return Section("java", tuple(lines))


def record_size() -> int:
    """Return the bytes of key, value and headers of what eventpub publishes."""
    return records(TOPIC)().size


def steady_rate(said: str) -> float:
    """Return the records a second that the tool reports for what came after its warm-up.

    Raises:
        RuntimeError: it reports none.
    """
    found = _STEADY.search(said)
    if found is None:
        raise RuntimeError(f"kafka-producer-perf-test reports no steady state:\n{said}")
    return float(found.group(1))


def _java(bootstrap_servers: str, seconds: float) -> float:
    count = WARM_UP + int(RECORDS_A_SECOND * seconds)
    tool = ["java", "-Xmx256m", "-cp", f"{JARS}/*", "org.apache.kafka.tools.ProducerPerformance"]
    where = ["--bootstrap-server", bootstrap_servers, "--topic", TOPIC]
    what = ["--num-records", str(count), "--warmup-records", str(WARM_UP), "--record-size", str(record_size())]
    how = ["--throughput", "-1", "--command-property", "acks=all", "enable.idempotence=true"]
    said = subprocess.run([*tool, *where, *what, *how], capture_output=True, text=True, check=False, timeout=600)
    return steady_rate(said.stdout + said.stderr)


async def _eventpub(bootstrap_servers: str, seconds: float) -> float:
    async with eventpub(bootstrap_servers, TOPIC) as publish:
        await publish()
        return (await closed_loop(publish, PUBLISHERS, seconds)).rate


def _range(rates: Sequence[float]) -> str:
    return f"{min(rates):,.0f} to {max(rates):,.0f}"
