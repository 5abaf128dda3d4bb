"""The options that the commands of ``eventpub dlq`` share: which place, and which letters in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

from eventpub.cli import connection
from eventpub.deadletter.replaying.filters import Filters
from eventpub.deadletter.replaying.source import Source, SpoolSource
from eventpub.deadletter.replaying.topic_source import TopicSource
from eventpub.deadletter.spooling.store import StoredLetter
from eventpub.delivery import PersistenceStatus
from eventpub.envelope import wall_clock
from eventpub.exceptions import UsageError

Status = Literal["not-persisted", "possibly-persisted", "persisted"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the letters are.

    Attributes:
        spool: The spool's file.
        topic: The dead-letter topic, on the cluster that EVENTPUB_BOOTSTRAP_SERVERS names.
        app: Your application's publisher, or a function that makes it, as module:name.
    """

    spool: Path | None = None
    topic: str | None = None
    app: str | None = None

    def source(self) -> SpoolSource | TopicSource:
        """Return it as something to read, not open yet.

        Raises:
            UsageError: no place was given, or two.
        """
        if self.spool is not None and self.topic is None:
            return SpoolSource(self.spool)
        if self.topic is not None and self.spool is None:
            return TopicSource(connection.cluster(self.app), self.topic)
        raise UsageError("where are the letters? Give --spool PATH or --topic NAME, one of them")

    @contextmanager
    def opened(self) -> Iterator[Source]:
        """Give it, open."""
        source = self.source()
        try:
            source.open()
            yield source
        finally:
            source.close()

    def __str__(self) -> str:
        return f"spool {self.spool}" if self.spool is not None else f"topic {self.topic}"

    @property
    def option(self) -> str:
        """How a command line names it."""
        return f"--spool {self.spool}" if self.spool is not None else f"--topic {self.topic}"


@Parameter(name="*", group="Which letters (default: all)")
@dataclass(frozen=True, kw_only=True)
class Which:
    """The filters; a letter is meant if it passes each of them. All but the two times may be given several times.

    Attributes:
        topic_of: The topic that its event was meant for.
        type: Its event's CloudEvents type.
        reason: Why it was not delivered, such as budget, attempts, rejected or closing.
        status: Whether its event is in the log, as far as is known by now.
        key: Its record's key, as text.
        id: Its own id.
        older_than: Given up at least so long ago: 90s, 15m, 2h, 1d.
        newer_than: Given up at most so long ago.
    """

    topic_of: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    reason: tuple[str, ...] = ()
    status: tuple[Status, ...] = ()
    key: tuple[str, ...] = ()
    id: tuple[str, ...] = ()
    older_than: timedelta | None = None
    newer_than: timedelta | None = None

    def filters(self) -> Filters:
        """Return them for those who read letters."""
        return Filters(
            topics=self.topic_of,
            types=self.type,
            reasons=self.reason,
            statuses=tuple(PersistenceStatus(each.replace("-", " ")) for each in self.status),
            keys=tuple(each.encode() for each in self.key),
            ids=self.id,
            older_than=None if self.older_than is None else self.older_than.total_seconds(),
            newer_than=None if self.newer_than is None else self.newer_than.total_seconds(),
        )

    def among(self, source: Source, *, open_only: bool) -> Iterator[StoredLetter]:
        """Yield the letters of *source* that are meant, in the order written."""
        filters, now = self.filters(), wall_clock() / 1e9
        return (stored for stored in source.read(open_only=open_only) if filters.match(stored, now))


NOWHERE = Place()
EVERYTHING = Which()
