"""What the tests of replays share: a spool with letters in it, and what lies in a log afterwards."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from eventpub import Publisher, Record
from eventpub.deadletter import headers
from eventpub.deadletter.spooling.journal import Journal, JournalBatch
from eventpub.deadletter.spooling.store import Store, StoredLetter
from eventpub.transports.memory import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from eventpub.letter import DeadLetter, Resolution

FAILED = 1_750_000_000.25

T = TypeVar("T")


def elsewhere(call: Callable[[], T]) -> T:
    """Return what *call* returns on another thread: a test may open files of eventpub's, its loop may not."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def one_partition() -> MemoryBroker:
    """Return a broker whose topic ``tasks`` has one partition."""
    broker = MemoryBroker()
    broker.create_topic("tasks", 1)
    return broker


def spool(path: Path, letters: Sequence[DeadLetter], resolutions: Sequence[Resolution] = ()) -> Path:
    """Write *letters* and what became of them into a spool, and return its path."""

    def write() -> Path:
        with closing(Store(path, create=True)) as store:
            store.append(letters)
            store.resolve(resolutions)
        return path

    return elsewhere(write)


def stored(path: Path, *, open_only: bool = False) -> list[StoredLetter]:
    """Return what lies in a spool."""

    def read() -> list[StoredLetter]:
        with closing(Store(path)) as store:
            return store.read(limit=10_000, open_only=open_only)

    return elsewhere(read)


def unfinished(path: Path) -> list[JournalBatch]:
    """Return the batches that a journal holds."""

    def read() -> list[JournalBatch]:
        with closing(Journal(path)) as journal:
            return journal.unfinished()

    return elsewhere(read)


@contextlib.contextmanager
def being_replayed(path: Path) -> Iterator[None]:
    """Hold the lock of a journal."""
    with contextlib.ExitStack() as held:
        journal = elsewhere(lambda: held.enter_context(closing(Journal(path))))
        elsewhere(lambda: held.enter_context(journal.locked()))
        try:
            yield
        finally:
            elsewhere(held.close)


def verdicts(path: Path) -> list[str | None]:
    """Return what became of each letter."""
    return [None if each.resolution is None else each.resolution.verdict for each in stored(path)]


def values(broker: MemoryBroker, topic: str = "tasks") -> list[str]:
    """Return the values in the log, in order."""
    return [(record.value or b"").decode() for record in broker.records(topic)]


async def publish(broker: MemoryBroker, records: Iterable[Record]) -> None:
    """Write *records*."""
    async with Publisher(broker, source="/tests") as publisher:
        (await publisher.publish_many(list(records))).raise_for_failures()


async def dead_letter_topic(broker: MemoryBroker, letters: Iterable[DeadLetter], topic: str = "tasks.dlq") -> None:
    """Write *letters* into a dead-letter topic."""
    await publish(broker, [headers.encode(letter, topic) for letter in letters])
