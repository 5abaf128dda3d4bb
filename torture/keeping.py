"""The sinks that an episode keeps dead letters in, and what lies in them when it is over."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from eventpub.abc import DeadLetterSink
from eventpub.deadletter import DeadLetters, SpoolSink, TopicSink
from eventpub.deadletter.headers import decode
from eventpub.deadletter.spooling.store import Quarantined, Store
from eventpub.letter import DeadLetter, Resolution
from eventpub.record import Headers
from eventpub.testing.evidence import StoredRecord
from torture.plan import Plan, SinkPlan
from torture.shelf import Shelf

Item = DeadLetter | Resolution


class _Logged(NamedTuple):
    """A record of a dead-letter topic, as its decoder wants it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int | None


class Keeping:
    """All sinks of one episode, in their order."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shelves: list[Shelf] = []
        self._spool: Path | None = None
        self._untold: list[Resolution] = []
        self._files = ExitStack()

    def dead_letters(self) -> DeadLetters | None:
        """Return what a publisher is given; nothing where the plan has no sink."""
        if not self._plan.sinks:
            return None
        sinks = [self._sink(number, plan) for number, plan in enumerate(self._plan.sinks)]
        return DeadLetters(*sinks, buffer=self._plan.letters_buffer)

    def _sink(self, number: int, plan: SinkPlan) -> DeadLetterSink:
        sink = self._made(number, plan)
        tell = sink.resolve

        async def resolve(resolutions: Sequence[Resolution], deadline: float, /) -> None:
            try:
                await tell(resolutions, deadline)
            except BaseException:
                self._untold += resolutions
                raise

        sink.resolve = resolve  # type: ignore[method-assign]  # to hear what a sink could not keep
        return sink

    def _made(self, number: int, plan: SinkPlan) -> DeadLetterSink:
        if plan.kind == "topic":
            return TopicSink()
        if plan.kind == "spool":
            self._spool = Path(self._files.enter_context(TemporaryDirectory(prefix="torture-"))) / "spool.db"
            return SpoolSink(self._spool)
        shelf = Shelf(f"shelf {number}", plan.temper, random.Random(plan.dice))
        self._shelves.append(shelf)
        return shelf

    async def read(self, topic: Callable[[str], Awaitable[tuple[str, Sequence[StoredRecord]]]]) -> list[Item] | None:
        """Return everything in all sinks; *topic* reads a topic of the plan, and says what it is called.

        What a sink was told of a letter, and could not keep, counts as kept: its publisher has done
        what it could.
        """
        if not self._plan.sinks:
            return None
        items: list[Item] = [*self._untold, *(item for shelf in self._shelves for item in shelf.kept)]
        for plan in self._plan.letter_topics:
            name, records = await topic(plan.name)
            items += (decode(_logged(name, record)) for record in records)
        return items if self._spool is None else [*items, *_spooled(self._spool)]

    def close(self) -> None:
        """Remove the files."""
        self._files.close()


def _logged(topic: str, record: StoredRecord) -> _Logged:
    return _Logged(topic, record.partition, record.offset, record.key, record.value, record.headers, None)


def _spooled(path: Path) -> list[Item]:
    items: list[Item] = []
    store = Store(path)
    try:
        after = 0
        while page := store.read(after=after, open_only=False):
            after = page[-1].position
            for stored in page:
                items += [stored.letter] if stored.resolution is None else [stored.letter, stored.resolution]
        damaged: list[Quarantined] = store.quarantined()
    finally:
        store.close()
    if damaged:
        raise AssertionError(f"damaged letters in a spool: {damaged}")
    return items
