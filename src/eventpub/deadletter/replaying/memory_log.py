"""Reads the log of a `MemoryBroker`, for tests and documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpub.deadletter.replaying.log_reader import LogReadError, Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventpub.abc import TopicPartition
    from eventpub.deadletter.logged import Logged
    from eventpub.transports.memory import MemoryBroker


class MemoryLogReader:
    """Reads the logs of a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def partitions(self, topic: str) -> int:
        """Return how many partitions *topic* has."""
        count = self._broker.count(topic)
        if count is None:
            raise LogReadError(f"topic {topic} could not be read: there is none")
        return count

    def span(self, partition: TopicPartition, since: int | None = None) -> Span:  # noqa: ARG002 - all is read
        """Return all of *partition*."""
        if partition.partition >= self.partitions(partition.topic):
            raise LogReadError(f"{partition} does not exist")
        return Span(0, 0, len(self._broker.records(*partition)), in_sync=True)

    def read(self, partition: TopicPartition, start: int, end: int) -> Iterator[Logged]:
        """Yield what lies from *start* to before *end*."""
        yield from self._broker.records(*partition)[start:end]

    def close(self) -> None:
        """Do nothing: it holds nothing."""
