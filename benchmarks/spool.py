"""How many dead letters a second become durable in a spool: ``python -m benchmarks.spool``.

Letters of about 1 kB; 1, 10, 100 and 1,000 coroutines await each write before the next. Beside the
rate stand the CPU time of a letter, its making included, and the event loop's longest stall: how
much later than asked for a timer of 1 ms came.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import uuid_utils

from eventpub.deadletter.spool import SpoolSink
from eventpub.delivery import PersistenceStatus
from eventpub.letter import Cut, DeadLetter
from eventpub.record import Record

WRITERS = (1, 10, 100, 1_000)
VALUE = b"x" * 700
HEADERS = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"task.created"),
    ("ce_source", b"/benchmarks/spool"),
    ("ce_time", b"2026-01-01T00:00:00.000000Z"),
    ("content-type", b"application/json"),
)


class Figures(NamedTuple):
    """One round: letters a second, CPU per letter in µs, and the loop's longest stall in ms."""

    rate: float
    cpu: float
    stall: float


def new_letter() -> DeadLetter:
    """Return a letter of about 1 kB, as an unreachable cluster leaves it."""
    number = str(uuid_utils.uuid7())
    record = Record("tasks", VALUE, b"42", (("ce_id", number.encode()), *HEADERS), timestamp=1_750_000_000_000)
    return DeadLetter(
        id=number,
        record=record,
        event_id=number,
        event_type="task.created",
        profile="critical",
        status=PersistenceStatus.NOT_PERSISTED,
        stage="send",
        reason="budget",
        error="UnavailableError",
        message="tasks: no broker took it within 30 s",
        kafka_code=None,
        kafka_error=None,
        attempts=3,
        first_attempt_at=1_750_000_000.0,
        last_attempt_at=1_750_000_029.5,
        failed_at=1_750_000_030.0,
        elapsed=30.0,
        budget=30.0,
        request_timeout=10.0,
        client_id="benchmark",
        cut=Cut(0, 41, 7, 0, 17),
    )


async def measure(path: Path, writers: int, seconds: float) -> Figures:
    """Let *writers* coroutines write for *seconds* into a new spool."""
    sink = SpoolSink(path)
    await sink.open()
    loop = asyncio.get_running_loop()
    end = time.perf_counter() + seconds
    count = 0

    async def write() -> None:
        nonlocal count
        while time.perf_counter() < end:
            (failure,) = await sink.write([new_letter()], loop.time() + 30)
            if failure is not None:
                raise failure
            count += 1

    watch = asyncio.create_task(longest_stall())
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(write() for _ in range(writers)))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    watch.cancel()
    (stall,) = await asyncio.gather(watch)
    await sink.aclose(loop.time() + 30)
    return Figures(count / took, cpu / count * 1e6, stall * 1e3)


async def longest_stall() -> float:
    """Return, once cancelled, the longest time that the loop held up a timer."""
    longest = 0.0
    try:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began - 0.001)
    except asyncio.CancelledError:
        return longest


def main() -> None:
    """Measure in a directory of the disk that is asked for, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--directory", type=Path, help="on the disk to measure; a temporary one if not given")
    options = parser.parse_args()
    print("| writers | letters/s | CPU, µs a letter | longest stall of the loop, ms |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        for writers in WRITERS:
            figures = asyncio.run(measure(Path(directory) / f"{writers}.db", writers, options.seconds))
            print(f"| {writers:,} | {figures.rate:,.0f} | {figures.cpu:.0f} | {figures.stall:.1f} |")
    print(f"\nCPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}.")


if __name__ == "__main__":
    main()
