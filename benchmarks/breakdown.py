"""Where the microseconds of an event go: a sampling profile of 1,000 publishers on Apache Kafka.

The processor time of the process drives the samples, so waiting counts nothing. A sample
belongs to the stage of the innermost frame that `PLACES` knows: what a stage calls in the
standard library or in C counts as its own. The share of a stage times the processor time
of an event is what it costs.

Alone, ``python -m benchmarks.breakdown --functions 30`` also names the functions.
"""

from __future__ import annotations

import argparse
import asyncio
import dis
import gc
import inspect
import logging
import signal
import statistics
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Self

from benchmarks.contenders import CONTENDERS
from benchmarks.load import Sample, closed_loop
from benchmarks.node import PARTITIONS, one_node
from benchmarks.section import Chart, Effort, Section

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

PUBLISHERS = 1_000
TOPIC = "breakdown"
_INTERVAL = 0.001  # seconds; the kernel's own tick may be longer
_WARM_UP = 0.5
_RESUME = dis.opmap["RESUME"]
_AFTER_AWAIT = 3  # what the argument of RESUME says then

STAGES = {
    "construct": "pydantic validates the payload; id, time and key are made",
    "serialise": "the payload as JSON",
    "envelope": "headers, key and record",
    "hash": "murmur2 of the key",
    "admit": "the call itself: checks, budget, room, a future",
    "queue": "the topic's and the partition's queue, until a batch is cut",
    "append": "the records as a batch, its checksum included",
    "send": "requests, sockets, answers",
    "settle": "acknowledgements, room given back, callers told",
    "wake": "the event loop's own turns, tasks resumed, what they held freed",
    "trace": "spans and metrics, none of which anybody asked for here",
    "collect": "the garbage collector",
    "load": "the loop that publishes",
    "elsewhere": "modules of eventpub that the table of places does not have",
}

PLACES = {
    "benchmarks": "load",
    "benchmarks.contenders:new_event": "construct",
    "pydantic": "construct",
    "eventpub": "elsewhere",
    "eventpub.event": "construct",
    "eventpub.subject": "construct",
    "eventpub._floats": "serialise",
    "eventpub.serializer": "serialise",
    "eventpub.cloudevents": "envelope",
    "eventpub.content_mode": "envelope",
    "eventpub.envelope": "envelope",
    "eventpub.key": "envelope",
    "eventpub.record": "envelope",
    "eventpub.record:Record.size": "admit",
    "eventpub.partitioner": "hash",
    "anyio": "admit",
    "eventpub._closing": "settle",
    "eventpub._home": "admit",
    "eventpub._fairness": "settle",
    "eventpub._rules.admission": "admit",
    "eventpub._rules.admission:Admission.give_back": "settle",
    "eventpub._rules.admission:Admission.next_waiter": "settle",
    "eventpub._rules.deadlines": "admit",
    "eventpub._rules.deadlines:Deadlines.discard": "settle",
    "eventpub._rules.entry": "admit",
    "eventpub._rules.entry:Entry.add_headers": "trace",
    "eventpub.budget": "admit",
    "eventpub.intake": "admit",
    "eventpub.profile": "admit",
    "eventpub.profiles": "admit",
    "eventpub.publisher": "admit",
    "eventpub._engine.budget_timer": "admit",
    "eventpub._engine.callers": "settle",
    "eventpub._engine.engine": "settle",
    "eventpub._engine.engine:Engine.accept": "admit",
    "eventpub._engine.keyed_defaultdict": "queue",
    "eventpub._engine.lane": "queue",
    "eventpub._engine.lane:Lane._encode": "append",
    "eventpub._engine.lane:Lane._encode_here": "append",
    "eventpub._engine.topic": "queue",
    "eventpub._rules.batch": "queue",
    "eventpub._rules.cutting": "queue",
    "eventpub._rules.partition": "queue",
    "eventpub._rules.queue": "queue",
    "eventpub._rules.sequence": "queue",
    "aiokafka.codec": "append",
    "aiokafka.record": "append",
    "eventpub.transports.kafka.wire.batches": "append",
    "aiokafka": "send",
    "asyncio.selector_events": "send",
    "asyncio.sslproto": "send",
    "asyncio.streams": "send",
    "eventpub.abc": "send",
    "eventpub.transports.kafka": "send",
    "eventpub._engine.attempt_log": "settle",
    "eventpub._engine.hooks": "settle",
    "eventpub._rules.attempts": "settle",
    "eventpub._rules.partition:Partition.record": "settle",
    "eventpub._rules.partition:Partition._acked": "settle",
    "eventpub._engine.abandoned": "settle",
    "eventpub._engine.counters": "settle",
    "eventpub._rules.round_trip": "queue",
    "eventpub._rules.round_trip:RoundTrip.measure": "settle",
    "eventpub._rules.partition:Partition._settle_acked": "settle",
    "eventpub.delivery": "settle",
    "asyncio": "wake",
    "selectors": "wake",
    "eventpub._engine.noop": "trace",
    "eventpub.instrumentation": "trace",
    "opentelemetry": "trace",
}
"""Stages by module, a package's modules included, or by ``module:function``."""

RESUMED = {
    "benchmarks.load:closed_loop.<locals>.publisher": "wake",
    "eventpub.publisher:Publisher.publish": "wake",
}
"""Coroutines whose time after their first await is another stage's.

The interpreter looks for signals at calls and at the first instruction of a function, not
where a coroutine is resumed: the whole way from the event loop to it shows up behind it.
"""


class Place(NamedTuple):
    """Where a sample was taken: a stage, and the innermost function."""

    stage: str
    function: str


class Profile:
    """Samples this thread between ``with`` and its end. Only in the main thread, one at a time."""

    def __init__(self) -> None:
        self.places: Counter[Place] = Counter()

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGPROF, self._take)
        gc.callbacks.append(_note_collection)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL, _INTERVAL)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.callbacks.remove(_note_collection)
        signal.signal(signal.SIGPROF, self._before)

    def _take(self, _signal: int, frame: FrameType | None) -> None:
        if frame is not None:
            self.places[place_of(frame)] += 1

    def stages(self) -> dict[str, float]:
        """Return the share of each stage."""
        found: Counter[str] = Counter()
        for place, count in self.places.items():
            found[place.stage] += count
        return {stage: found[stage] / max(1, found.total()) for stage in STAGES}

    def functions(self, stage: str | None = None) -> list[tuple[Place, float]]:
        """Return each function's share, those of *stage* only if one is given; the largest come first."""
        total = max(1, self.places.total())
        return [
            (place, count / total)
            for place, count in self.places.most_common()
            if stage is None or place.stage == stage
        ]


def _note_collection(_phase: str, _: dict[str, int]) -> None:
    """Be called: a signal that came during a collection is noticed at the first instruction of this."""


def place_of(frame: FrameType) -> Place:
    """Return where the time went that ended in *frame*."""
    if frame.f_code is _note_collection.__code__:
        return Place("collect", "gc")
    if _has_only_begun(frame) and frame.f_back is not None:
        frame = frame.f_back  # the time before its first instruction was the caller's
    function = _name(frame)
    outer: FrameType | None = frame
    while outer is not None:
        name = _name(outer)
        stage = RESUMED[name] if name in RESUMED and _was_resumed(outer) else stage_of(name)
        if stage is not None:
            return Place(stage, function)
        outer = outer.f_back
    return Place("elsewhere", function)  # not even asyncio.run is below it


@lru_cache(maxsize=4096)
def stage_of(name: str) -> str | None:
    """Return the stage of ``module:function``, ``None`` if the table knows neither."""
    if name in PLACES:
        return PLACES[name]
    module = name.partition(":")[0]
    return next((PLACES[package] for package in _packages(module) if package in PLACES), None)


def _packages(module: str) -> Iterator[str]:
    while module:
        yield module
        module = module.rpartition(".")[0]


def _name(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_qualname}"


def _has_only_begun(frame: FrameType) -> bool:
    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == _RESUME


def _was_resumed(frame: FrameType) -> bool:
    return frame.f_lasti > _first_await(frame.f_code)


@lru_cache(maxsize=64)
def _first_await(code: CodeType) -> int:
    resumes = (at.offset for at in dis.get_instructions(code) if at.opname == "RESUME" and at.arg == _AFTER_AWAIT)
    return next(resumes, len(code.co_code))


async def profile(bootstrap: str, effort: Effort, publishers: int = PUBLISHERS) -> tuple[Profile, list[Sample]]:
    """Return what the samples of all rounds show, and what the rounds came to."""
    samples = []
    taken = Profile()
    async with CONTENDERS["eventpub"](bootstrap, TOPIC) as publish:
        await closed_loop(publish, publishers, _WARM_UP)
        for _ in range(effort.rounds):
            gc.collect()
            with taken:
                samples.append(await closed_loop(publish, publishers, effort.seconds))
    return taken, samples


def table(taken: Profile, cpu: float) -> Iterator[str]:
    """Yield the stages as a Markdown table, *cpu* being the microseconds of one event."""
    yield "| stage | what | share | µs an event |"
    yield "|---|---|---|---|"
    for stage, share in taken.stages().items():
        yield f"| {stage} | {STAGES[stage]} | {share:.1%} | {share * cpu:.1f} |"
    yield f"| **all** | | | **{cpu:.1f}** |"


def measure(effort: Effort) -> Section:
    """Profile, and return the stages."""
    with one_node({TOPIC: PARTITIONS}) as node:
        taken, samples = asyncio.run(profile(node.bootstrap_servers, effort))
    return _section(taken, samples)


def _section(taken: Profile, samples: list[Sample]) -> Section:
    cpu = statistics.median(sample.cpu for sample in samples)
    lines = [
        *table(taken, cpu),
        "",
        f"- {PUBLISHERS:,} publishers, {taken.places.total():,} samples of {len(samples)} rounds.",
        f"- Client CPU per event: {cpu:.1f} µs (target: at most 18).",
    ]
    if unknown := taken.functions("elsewhere"):
        lines.append("- Elsewhere: " + ", ".join(f"`{place.function}`" for place, _ in unknown[:5]) + ".")
    bars = {stage: [(float(PUBLISHERS), share * cpu)] for stage, share in taken.stages().items()}
    chart = Chart("breakdown", "Where the microseconds of an event go", "publishers", "µs an event", bars, "bars")
    return Section("breakdown", tuple(lines), (chart,))


def main() -> None:
    """Print the table, and the functions that cost most."""
    parser = argparse.ArgumentParser(description=inspect.cleandoc(__doc__ or ""))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--functions", type=int, default=0, help="how many functions to name")
    given = parser.parse_args()
    logging.getLogger("eventpub").setLevel(logging.ERROR)  # that there are no dead letters is known
    with one_node({TOPIC: PARTITIONS}) as node:
        taken, samples = asyncio.run(profile(node.bootstrap_servers, Effort(given.rounds, given.seconds)))
    section = _section(taken, samples)
    print("\n".join(section.lines))
    cpu = statistics.median(sample.cpu for sample in samples)
    for place, share in taken.functions()[: given.functions]:
        print(f"{share:6.1%} {share * cpu:6.2f} µs  {place.stage:10} {place.function}")


if __name__ == "__main__":
    main()
