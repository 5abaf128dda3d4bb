"""What a replay reads and writes that blocks: source, journal, its lock, and the target's log.

Decides on which thread, and in which order they are opened and closed. All of it belongs to one
worker thread.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, closing
from itertools import islice
from typing import TYPE_CHECKING, Self

from eventpub.abc import TopicPartition
from eventpub.config import KafkaConfig
from eventpub.deadletter.replaying.fold import stronger
from eventpub.deadletter.replaying.kafka_log import KafkaLogReader
from eventpub.deadletter.replaying.log_reader import LogReadError
from eventpub.deadletter.replaying.memory_log import MemoryLogReader
from eventpub.deadletter.replaying.verify import Untold, search
from eventpub.deadletter.replaying.worker import Worker
from eventpub.deadletter.spooling.journal import Journal
from eventpub.envelope import wall_clock
from eventpub.exceptions import ConfigurationError
from eventpub.letter import Resolution
from eventpub.partitioner import partition_for
from eventpub.transports.memory import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

    from eventpub._target import Target
    from eventpub.deadletter.replaying.log_reader import LogReader
    from eventpub.deadletter.replaying.source import Source
    from eventpub.deadletter.replaying.verify import Evidence
    from eventpub.deadletter.spooling.journal import JournalBatch
    from eventpub.deadletter.spooling.store import StoredLetter
    from eventpub.letter import DeadLetter, Verdict
    from eventpub.record import Record

_PAGE = 200


class Storage:
    """Letters and journal of one replay, between ``async with`` and its end.

    Args:
        source: where the letters are.
        place: the journal's file.
        target: whose log verifications read.
        look_only: change nothing and lock nobody out; a journal that does not exist is an empty one.

    Raises:
        ConfigurationError: source or journal cannot be opened.
        UsageError: another replay has the journal.
    """

    def __init__(self, source: Source, place: Path, target: Target, *, look_only: bool) -> None:
        self.source = source
        self.worker = Worker("eventpub-replay")
        self._place = place
        self._target = target
        self._look_only = look_only
        self._held = ExitStack()
        self._journal: Journal | None = None
        self._log: LogReader | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.worker.run(self._open)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._close()

    def _open(self) -> None:
        self._held.callback(self.source.close)
        self.source.open()
        if self._look_only and not self._place.exists():
            return
        journal = self._held.enter_context(closing(Journal(self._place)))
        if not self._look_only:
            self._held.enter_context(journal.locked())
        self._journal = journal

    async def _close(self) -> None:
        # Behind whatever the thread does now; a second cancellation does not take it back.
        await asyncio.shield(self.worker.run(self._held.close))
        self.worker.close()

    @property
    def journal(self) -> Journal:
        """The journal, which is there unless this only looks."""
        assert self._journal is not None  # noqa: S101 - see above
        return self._journal

    # --- reading -------------------------------------------------------------------

    async def pages(self) -> AsyncGenerator[list[StoredLetter], None]:
        """Yield the letters, in the order written, with what the journal knows of them.

        Letters of a topic may be closed: the journal knew it before the topic did.
        """
        verdicts = await self.worker.run(self._verdicts)
        letters = self.source.read()
        while page := await self.worker.run(lambda: list(islice(letters, _PAGE))):
            yield [_informed(stored, verdicts) for stored in page]

    def _verdicts(self) -> Mapping[str, Verdict]:
        return {} if self._journal is None else self._journal.verdicts()

    async def unfinished(self) -> list[JournalBatch]:
        """Return the batches that were begun and not ended."""
        return [] if self._journal is None else await self.worker.run(self._journal.unfinished)

    async def letters_of(self, batches: Sequence[JournalBatch]) -> dict[str, DeadLetter]:
        """Return the letters of *batches* that are still there, by id."""
        ids = {letter_id for batch in batches for letter_id in batch.letters}
        return await self.worker.run(self.source.find, ids) if ids else {}

    async def unreadable(self) -> int:
        """Return how many entries of the source nobody can read."""
        return await self.worker.run(lambda: self.source.unreadable)

    # --- the target's log ----------------------------------------------------------

    async def log(self) -> LogReader:
        """Return the reader of the target's log, which may be used on the worker's thread only.

        Raises:
            ConfigurationError: the target is of a kind whose log cannot be read here.
        """
        if self._log is None:
            self._log = await self.worker.run(_log_of, self._target)
            self._held.callback(self._log.close)
        return self._log

    async def search(self, letters: Sequence[DeadLetter]) -> dict[str, Evidence]:
        """Return for each of *letters*, by id, whether its event is in the log."""
        return await self.worker.run(self._search, await self.log(), letters) if letters else {}

    async def search_in(self, partition: TopicPartition, letters: Sequence[DeadLetter]) -> dict[str, Evidence]:
        """Return the same of *partition* alone, wherever the letters were meant for."""
        return await self.worker.run(search, await self.log(), partition, letters)

    @staticmethod
    def _search(log: LogReader, letters: Sequence[DeadLetter]) -> dict[str, Evidence]:
        found: dict[str, Evidence] = {}
        partitions: dict[TopicPartition, list[DeadLetter]] = {}
        for letter in letters:
            try:
                partitions.setdefault(_partition_of(letter, log), []).append(letter)
            except LogReadError as error:
                found[letter.id] = Untold(str(error))
        for partition, members in partitions.items():
            found |= search(log, partition, members)
        return found

    # --- writing -------------------------------------------------------------------

    async def settle(self, resolutions: Sequence[Resolution]) -> list[Record]:
        """Note what a verification has found; return what is to be published of it."""
        if resolutions:
            await self.worker.run(self.journal.settle, resolutions)
        return self.source.resolved(resolutions)

    async def done(self, batch: JournalBatch, resolutions: Sequence[Resolution]) -> None:
        """Note what became of an unfinished batch."""
        await self.worker.run(self.journal.done, batch.number, resolutions)

    async def void(self, batch: JournalBatch) -> None:
        """Give up an unfinished batch: its letters may go again."""
        await self.worker.run(self.journal.void, batch.number)

    async def failed(self, letters: Sequence[DeadLetter]) -> list[Record]:
        """Count one more failed replay of *letters*; return what is to be published of it."""
        return await self.worker.run(self.source.failed, letters) if letters else []


def _log_of(target: Target) -> LogReader:
    if isinstance(target, MemoryBroker):
        return MemoryLogReader(target)
    config = KafkaConfig.from_url(target) if isinstance(target, str) and target != "memory://" else target
    if not isinstance(config, KafkaConfig):
        reason = f"the log of a {type(target).__name__} cannot be read"
        raise ConfigurationError.of("target", reason, "give a kafka:// URL or a KafkaConfig to verify")
    return KafkaLogReader(config)


def _partition_of(letter: DeadLetter, log: LogReader) -> TopicPartition:
    """Return where *letter*'s event is, if it is anywhere: where it was cut for, else where its key belongs."""
    record = letter.record
    if letter.cut is not None:
        return TopicPartition(record.topic, letter.cut.partition)
    if record.partition is not None:
        return TopicPartition(record.topic, record.partition)
    if record.key is None:
        raise LogReadError("it has no key and was never in a batch: it could be in any partition")
    return TopicPartition(record.topic, partition_for(record.key, log.partitions(record.topic)))


def _informed(stored: StoredLetter, verdicts: Mapping[str, Verdict]) -> StoredLetter:
    verdict = verdicts.get(stored.letter.id)
    if verdict is None:
        return stored
    known = Resolution(id=stored.letter.id, record=stored.letter.record, verdict=verdict, at=wall_clock() / 1e9)
    return stored._replace(resolution=stronger(stored.resolution, known))
