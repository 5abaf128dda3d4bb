"""What keeping track of faults costs where none happens: ``python -m benchmarks.fault_handling``.

The engine as it is beside one that watches no budget and keeps no attempt, on a transport that
acknowledges at once. Rounds alternate; the difference of the medians is quoted per event.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import mock

from eventpub import Publisher, Record
from eventpub._rules import partition as rules
from eventpub.abc import Acked, ProducerId, WireBatch
from eventpub.delivery import Attempt, AttemptOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventpub._rules.entry import Entry
    from eventpub.abc import Acks, Compression, Stamp, TopicPartition, TransportListener

ROUNDS = 15
EVENTS = 40_000
AT_ONCE = 500
_ACKED = Attempt(0.0, 0.0, None, AttemptOutcome.ACKED)


class Instant:
    """A transport of one partition whose broker has answered before it was asked."""

    def __init__(self) -> None:
        self._offset = 0

    async def start(self, _: TransportListener, /) -> None:
        """Nothing to start."""

    async def aclose(self, _: float, /) -> None:
        """Nothing to close."""

    async def connected(self) -> None:
        """It is."""

    def problems(self) -> tuple[str, ...]:
        """There are none."""
        return ()

    async def partitions(self, _: str, /, *, fresh: bool = False) -> int:  # noqa: ARG002 - the seam's
        """One."""
        return 1

    def has_leader(self, _: TopicPartition, /) -> bool:
        """It does."""
        return True

    async def producer_id(self, *, stale: int | None = None) -> ProducerId:  # noqa: ARG002 - the seam's
        """Always the same."""
        return ProducerId(1, 0)

    async def ready(self, _: TopicPartition, _acks: Acks, /) -> None:
        """At once."""

    def encode(self, records: Sequence[Record], stamp: Stamp, _: Compression, /) -> WireBatch:
        """Encode nothing: that is not what is measured."""
        return WireBatch(b"", len(records), stamp)

    async def produce(self, _: TopicPartition, batch: WireBatch, _acks: Acks, _deadline: float, /) -> Acked:
        """Acknowledge."""
        await asyncio.sleep(0)
        self._offset += batch.count
        return Acked("here", self._offset - batch.count)


class Unwatched:
    """Budgets that nobody watches."""

    def add(self, _: Entry) -> bool:
        """Forget it."""
        return False

    def discard(self, _: Entry) -> None:
        """Nothing is kept."""

    def next_due(self) -> None:
        """Never."""

    def __iter__(self) -> Iterator[Entry]:
        return iter(())


def _acked(*_: object) -> Attempt:
    return _ACKED


def _nothing(*_: object) -> None:
    """Measure no round trip."""


@contextmanager
def careless(publisher: Publisher) -> Iterator[None]:
    """Let *publisher* keep track of nothing that only faults need."""
    publisher._engine._deadlines = Unwatched()  # type: ignore[union-attr]  # noqa: SLF001 - on purpose
    with (
        mock.patch.object(rules, "describe", _acked),
        mock.patch.object(rules.Partition, "_measure", _nothing),
    ):
        yield


@contextmanager
def as_it_is(_: Publisher) -> Iterator[None]:
    """Change nothing."""
    yield


async def measure(variant: object) -> float:
    """Return the CPU seconds that an event takes."""
    async with Publisher(Instant()) as publisher:
        record = Record("t", b"x" * 100, b"key", timestamp=1)
        with variant(publisher):  # type: ignore[operator]  # one of the two above
            await _publish(publisher, record, AT_ONCE)
            gc.collect()
            began = time.process_time()
            await _publish(publisher, record, EVENTS)
            return (time.process_time() - began) / EVENTS


async def _publish(publisher: Publisher, record: Record, count: int) -> None:
    async def one() -> None:
        for _ in range(count // AT_ONCE):
            await publisher.publish(record)

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))


def main() -> None:
    """Measure in turn, and print the medians and their difference."""
    taken: dict[str, list[float]] = {"as it is": [], "careless": []}
    for turn in range(ROUNDS + 1):  # the first is a warm-up
        pair = [("as it is", as_it_is), ("careless", careless)]
        for name, variant in pair if turn % 2 else reversed(pair):
            seconds = asyncio.run(measure(variant))
            if turn:
                taken[name].append(seconds)
    medians = {name: statistics.median(seconds) * 1e6 for name, seconds in taken.items()}
    differences = [(a - b) * 1e6 for a, b in zip(taken["as it is"], taken["careless"], strict=True)]
    for name, median in medians.items():
        print(f"{name}: {median:.2f} µs an event")
    print(f"fault handling: {statistics.median(differences):.2f} µs an event, median of {ROUNDS} pairs")


if __name__ == "__main__":
    main()
