"""A dead-letter topic as a source of a replay.

Decides how its records become letters, each once and with what became of it. Letters lie in several
partitions; one key's lie in one, so their order holds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from eventpub.abc import TopicPartition
from eventpub.config import KafkaConfig
from eventpub.deadletter import headers
from eventpub.deadletter.fold import Fold
from eventpub.deadletter.headers import NotADeadLetterError
from eventpub.deadletter.kafka_log import KafkaLogReader
from eventpub.deadletter.memory_log import MemoryLogReader
from eventpub.deadletter.store import State, StoredLetter
from eventpub.letter import DeadLetter, Resolution
from eventpub.record import Record, check_topic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from eventpub.deadletter.log_reader import LogReader
    from eventpub.transports.memory import MemoryBroker


class TopicSource:
    """The letters of one dead-letter topic.

    They are read twice: once for what became of each, which may lie anywhere, once for themselves,
    so that a large topic does not have to fit into memory.

    Args:
        config: the cluster it is on; a `MemoryBroker` in tests.
        topic: its name.

    Raises:
        ConfigurationError: an illegal topic name.
    """

    journal: Path | None = None

    def __init__(self, config: KafkaConfig | MemoryBroker, topic: str) -> None:
        check_topic(topic)
        self.config = config
        self.topic = topic
        self.name = f"topic {topic}"
        self.unreadable = 0
        self._log: LogReader | None = None

    def open(self) -> None:
        """Make a consumer; without confluent-kafka that is a `ConfigurationError`."""
        config = self.config
        self._log = KafkaLogReader(config) if isinstance(config, KafkaConfig) else MemoryLogReader(config)

    def read(self, *, open_only: bool = True) -> Iterator[StoredLetter]:
        """Yield each letter once, one partition after the other, up to the end as of now."""
        ends = self._ends()
        fold = self._fold(ends)
        seen: set[str] = set()
        for position, item in enumerate(self._items(ends), 1):
            if isinstance(item, DeadLetter) and item.id not in seen:
                seen.add(item.id)
                counted = replace(item, replays=fold.replays(item.id))
                stored = StoredLetter(position, counted, fold.resolution(item.id))
                if stored.state is State.OPEN or not open_only:
                    yield stored

    def find(self, ids: Collection[str]) -> dict[str, DeadLetter]:
        """Return those letters of *ids* that are here."""
        items = self._items(self._ends()) if ids else ()
        return {item.id: item for item in items if isinstance(item, DeadLetter) and item.id in ids}

    def failed(self, letters: Sequence[DeadLetter]) -> list[Record]:
        """Return the letters as they are to be written again, with a higher count."""
        return [headers.encode(replace(letter, replays=letter.replays + 1), self.topic) for letter in letters]

    def resolved(self, resolutions: Sequence[Resolution]) -> list[Record]:
        """Return the resolutions as records of this topic."""
        return [headers.encode_resolution(resolution, self.topic) for resolution in resolutions]

    def close(self) -> None:
        """Give the consumer up."""
        if self._log is not None:
            self._log.close()

    @property
    def _opened(self) -> LogReader:
        assert self._log is not None  # noqa: S101 - a replay opens its source first
        return self._log

    def _ends(self) -> dict[TopicPartition, tuple[int, int]]:
        partitions = [TopicPartition(self.topic, number) for number in range(self._opened.partitions(self.topic))]
        spans = [(partition, self._opened.span(partition)) for partition in partitions]
        return {partition: (span.start, span.end) for partition, span in spans}

    def _fold(self, ends: dict[TopicPartition, tuple[int, int]]) -> Fold:
        fold = Fold()
        self.unreadable = 0
        for item in self._items(ends):
            if isinstance(item, DeadLetter):
                fold.note(item)
            elif isinstance(item, Resolution):
                fold.resolve(item)
            else:
                self.unreadable += 1
        return fold

    def _items(self, ends: dict[TopicPartition, tuple[int, int]]) -> Iterator[DeadLetter | Resolution | None]:
        """Yield what each record says, ``None`` for one that nobody can read."""
        for partition, (start, end) in ends.items():
            for record in self._opened.read(partition, start, end):
                try:
                    yield headers.decode(record)
                except NotADeadLetterError:
                    yield None
