"""What telemetry costs an event: ``python -m benchmarks.telemetry``.

Each kind of process is one of its own, because the API remembers its provider: no telemetry
at all, the API without an SDK, an SDK that samples nothing, one that records every span, and
one that collects metrics. The kinds alternate, each round is the least of many short runs
(what a shared machine adds is not the code's), and what is quoted is the median round.

Two figures each: the calls that telemetry adds to an event, alone; and the CPU of a whole
publish through the memory transport, in batches, beside the one without telemetry.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
import timeit
from typing import TYPE_CHECKING

from eventpub import Publisher
from eventpub._engine.noop import NoOpRecorder
from eventpub._rules.entry import Entry
from eventpub.cloudevents import Encoder
from eventpub.delivery import Attempt, AttemptOutcome, Delivery
from eventpub.instrumentation import Telemetry
from eventpub.profile import CRITICAL
from eventpub.transports.memory import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventpub.abc import Recorder
    from eventpub.record import Record

from benchmarks.contenders import SOURCE, new_event

KINDS = ("none", "no SDK", "SDK, sampling nothing", "SDK, recording", "SDK, metrics")
LIMITS = {"no SDK": 1.5, "SDK, sampling nothing": 6.0}
_AT_ONCE = 100
_HISTORY = (Attempt(0.0, 0.001, "127.0.0.1:9092", AttemptOutcome.ACKED),)


def prepare(kind: str) -> None:
    """Set the providers of this process."""
    if kind in {"SDK, sampling nothing", "SDK, recording"}:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

        sampler = ALWAYS_ON if kind == "SDK, recording" else ALWAYS_OFF
        trace.set_tracer_provider(TracerProvider(sampler=sampler, shutdown_on_exit=False))
    if kind == "SDK, metrics":
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))


def recorder_for(kind: str) -> Recorder:
    """Return what the engine is given."""
    return NoOpRecorder() if kind == "none" else Telemetry("benchmark", SOURCE)


def calls(recorder: Recorder) -> Callable[[], None]:
    """Return what telemetry does for a hundred events: at each one's start, headers included, and at their batch's end."""
    event = new_event()
    record: Record = Encoder(SOURCE).encode(event)
    delivery = Delivery(record.topic, 0, 1, 2, event.envelope.id, 1, 0.001)
    entry = Entry(event, event.envelope.id, record, record.size, CRITICAL, 0.0, 1.0)

    deliveries = [delivery] * _AT_ONCE

    def batch() -> None:
        tokens = []
        for _ in range(_AT_ONCE):
            entry.record = record
            headers, token = recorder.started(event, record, None)
            if headers:
                entry.add_headers(headers)
            tokens.append(token)
        recorder.delivered(record.topic, tokens, deliveries, _HISTORY, 0.001)

    return batch


def of_calls(kind: str) -> float:
    """Return the microseconds of `calls`, less those of an empty loop's."""
    number = 4
    timers = [timeit.Timer(calls(recorder)) for recorder in (recorder_for(kind), NoOpRecorder())]
    full, empty = (min(timer.repeat(150, number)) for timer in timers)
    return (full - empty) / number / _AT_ONCE * 1e6


async def of_publish(kind: str) -> float:
    """Return the CPU of a publish in microseconds, a hundred at a time."""
    async with Publisher(MemoryBroker(), source=SOURCE) as publisher:
        if kind == "none":
            publisher._engine.recorder = publisher._intake.recorder = NoOpRecorder()  # type: ignore[union-attr]  # noqa: SLF001 - there is no switch
        events = [new_event() for _ in range(_AT_ONCE)]
        least = float("inf")
        for _ in range(30):
            gc.collect()
            gc.disable()
            began = time.process_time()
            await asyncio.gather(*(publisher.publish(event) for event in events))
            least = min(least, time.process_time() - began)
            gc.enable()
    return least / _AT_ONCE * 1e6


def measure(kind: str) -> dict[str, float]:
    """Return both figures of *kind*, in this process."""
    prepare(kind)
    return {"calls": of_calls(kind), "publish": asyncio.run(of_publish(kind))}


def rounds(count: int) -> dict[str, list[dict[str, float]]]:
    """Measure every kind *count* times, each in a process of its own, in turns."""
    samples: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for turn in range(count):
        for kind in KINDS if turn % 2 else reversed(KINDS):
            command = [sys.executable, "-m", "benchmarks.telemetry", "--kind", kind]
            told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
            samples[kind].append(json.loads(told))
    return samples


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kind", choices=KINDS, help="measure this one here, and print it as JSON")
    options = parser.parse_args()
    if options.kind:
        print(json.dumps(measure(options.kind)))
        return
    samples = rounds(options.rounds)
    base = statistics.median(sample["publish"] for sample in samples["none"])
    print("| telemetry | its calls, µs an event | limit | a publish, µs of CPU | more than without |")
    print("|---|---|---|---|---|")
    for kind, taken in samples.items():
        alone, whole = (statistics.median(sample[figure] for sample in taken) for figure in ("calls", "publish"))
        limit = LIMITS.get(kind, "")
        print(f"| {kind} | {alone:.2f} | {limit} | {whole:.1f} | {whole - base:+.1f} |")


if __name__ == "__main__":
    main()
