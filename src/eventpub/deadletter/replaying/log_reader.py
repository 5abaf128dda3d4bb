"""What it takes to read topics: dead letters, and whether an event is in the log.

The seam only: logs are read in ``kafka_log`` and ``memory_log``, and what is made of the records is
decided by whoever reads (``topic_source``, ``verify``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from eventpub.exceptions import EventPubError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventpub.abc import TopicPartition
    from eventpub.deadletter.logged import Logged


class LogReadError(EventPubError):
    """A log could not be read: no broker answered, or this client may not. The cause is chained."""


class Span(NamedTuple):
    """What of a partition has to be read.

    Attributes:
        first: the oldest offset that is still there.
        start: the first that may matter: none before it is as young as was asked for.
        end: the offset that comes next, as of now.
        in_sync: whether all replicas have what the leader has; else it may have more than it shows.
    """

    first: int
    start: int
    end: int
    in_sync: bool


class LogReader(Protocol):
    """Reads partitions. Not thread-safe; every call blocks, and may raise `LogReadError`."""

    def partitions(self, topic: str) -> int:
        """Return how many partitions *topic* has."""

    def span(self, partition: TopicPartition, since: int | None = None) -> Span:
        """Return what of *partition* may hold records with timestamps from *since* on (milliseconds)."""

    def read(self, partition: TopicPartition, start: int, end: int) -> Iterator[Logged]:
        """Yield what lies from offset *start* to before *end*, in order; read uncommitted."""

    def close(self) -> None:
        """Give up what it holds. Safe to call twice."""
