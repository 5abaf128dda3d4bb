"""A dead-letter topic as a source of a replay.

Decides how its records become letters, each once and with what became of it. Letters lie in several
partitions; one key's lie in one, where they are put in order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from eventpub.abc import TopicPartition
from eventpub.config import KafkaConfig
from eventpub.deadletter import headers
from eventpub.deadletter.headers import NotADeadLetterError
from eventpub.deadletter.replaying.fold import Fold
from eventpub.deadletter.replaying.kafka_log import KafkaLogReader
from eventpub.deadletter.replaying.memory_log import MemoryLogReader
from eventpub.deadletter.spooling.store import State, StoredLetter
from eventpub.letter import DeadLetter, Resolution
from eventpub.record import Record, check_topic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from eventpub.deadletter.replaying.log_reader import LogReader, Span
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
        """Yield each letter once, one partition after the other, up to the end as of now.

        Within a partition, which has all letters of its keys, in the order in which events were published:
        one that a slow sink refused first lies behind younger ones.
        """
        spans = self._spans()
        fold, orders = self._fold(spans)
        position = 0
        for partition, span in spans.items():
            for letter in _sorted(self._items(partition, span), orders[partition]):
                position += 1
                counted = replace(letter, replays=fold.replays(letter.id))
                stored = StoredLetter(position, counted, fold.resolution(letter.id))
                if stored.state is State.OPEN or not open_only:
                    yield stored

    def find(self, ids: Collection[str]) -> dict[str, DeadLetter]:
        """Return those letters of *ids* that are here."""
        if not ids:
            return {}
        items = (item for partition, span in self._spans().items() for item in self._items(partition, span))
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

    def _spans(self) -> dict[TopicPartition, Span]:
        partitions = [TopicPartition(self.topic, number) for number in range(self._opened.partitions(self.topic))]
        return {partition: self._opened.span(partition) for partition in partitions}

    def _fold(self, spans: Mapping[TopicPartition, Span]) -> tuple[Fold, dict[TopicPartition, list[str]]]:
        """Return what became of the letters, and their ids in order; one that lies in two partitions is in the first."""
        fold, times = Fold(), dict[str, tuple[TopicPartition, float]]()
        self.unreadable = 0
        for partition, span in spans.items():
            for item in self._items(partition, span):
                if isinstance(item, DeadLetter):
                    fold.note(item)
                    times.setdefault(item.id, (partition, item.failed_at - item.elapsed))
                elif isinstance(item, Resolution):
                    fold.resolve(item)
                else:
                    self.unreadable += 1
        orders: dict[TopicPartition, list[str]] = {partition: [] for partition in spans}
        for letter_id in sorted(times, key=lambda letter_id: (times[letter_id][1], letter_id)):
            orders[times[letter_id][0]].append(letter_id)
        return fold, orders

    def _items(self, partition: TopicPartition, span: Span) -> Iterator[DeadLetter | Resolution | None]:
        """Yield what each record says, ``None`` for one that nobody can read."""
        for record in self._opened.read(partition, span.start, span.end):
            try:
                yield headers.decode(record)
            except NotADeadLetterError:
                yield None


def _sorted(items: Iterable[DeadLetter | Resolution | None], order: Sequence[str]) -> Iterator[DeadLetter]:
    """Yield the letters among *items* in *order*; those that come early wait, and nobody else."""
    waiting: dict[str, DeadLetter] = {}
    awaited = set(order)
    turns = iter(order)
    turn = next(turns, None)
    for item in items:
        if isinstance(item, DeadLetter) and item.id in awaited:  # written again, it has had its turn or waits for it
            awaited.remove(item.id)
            waiting[item.id] = item
        while turn in waiting:
            yield waiting.pop(turn)
            turn = next(turns, None)
