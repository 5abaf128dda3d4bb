# ruff: noqa: S608 - put together from names of columns, never from what a user said
"""What a replay is about to send, and what was acknowledged: durable before the first byte goes out.

A batch stands here from `Journal.begin` until it is done or void. Whatever is still here when the
next replay begins may have been sent. What follows from that is decided in ``replay``.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from eventpub.abc import Stamp, TopicPartition, WireBatch
from eventpub.deadletter.spooling import rows, store
from eventpub.deadletter.spooling.database import BusyError, Database
from eventpub.envelope import wall_clock
from eventpub.exceptions import UsageError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from eventpub.letter import Resolution, Verdict

_TIMEOUT = 5.0
_UNTIL_THE_HOLDER_IS_NAMED = 0.2  # seconds: whoever just got the lock has said its pid by then

_BATCH = "topic, partition, data, records, producer_id, epoch, sequence, letters, begun_at"
_BEGIN = f"insert into batches ({_BATCH}, checksum) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UNFINISHED = f"select number, {_BATCH}, checksum from batches order by number"
_END = "delete from batches where number = ?"
_SETTLE = """
    insert into verdicts (id, verdict, partition, "offset", at) values (?, ?, ?, ?, ?)
    on conflict (id) do update set
        verdict = excluded.verdict, partition = excluded.partition, "offset" = excluded."offset", at = excluded.at
"""


class JournalBatch(NamedTuple):
    """A batch that was begun and not ended.

    Attributes:
        number: rises in the order begun.
        partition: where it was to go.
        wire: to be sent again byte for byte.
        letters: ids of the dead letters in it, in order; empty where they cannot be read.
        begun_at: seconds since the epoch.
        intact: ``False`` if this is not what was written: never to be sent.
    """

    number: int
    partition: TopicPartition
    wire: WireBatch
    letters: tuple[str, ...]
    begun_at: float
    intact: bool = True


class Journal:
    """The journal in the file at *path*: a spool's own, or a file by itself, which is made if need be.

    Synchronous; used by one thread at a time. Each change is one transaction and durable on return.

    Raises:
        ConfigurationError: the file cannot be opened or made, or is none of ours; with its path and the fix.
        DeadLetterError: of each method: the file is locked, full, damaged or out of reach.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = Database(path, create=True, timeout=_TIMEOUT)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let nobody else replay from this file meanwhile, in whatever process; a kill frees it too.

        Raises:
            UsageError: somebody does; the message names the process.
        """
        with contextlib.closing(self._lock_file()) as lock, contextlib.ExitStack() as held:
            try:
                held.enter_context(lock.transaction())
            except BusyError as error:
                raise UsageError(self._held()) from error
            self._name_holder()
            yield

    def begin(self, partition: TopicPartition, wire: WireBatch, letters: Sequence[str]) -> int:
        """Note that *wire*, with *letters* in it, is about to be sent; return the batch's number."""
        batch = (*partition, wire.data, wire.count, *wire.stamp, json.dumps(letters), _now())
        with self._database.transaction() as connection:
            number = connection.execute(_BEGIN, (*batch, rows.checksum(batch))).lastrowid
        return cast("int", number)

    def done(self, number: int, resolutions: Sequence[Resolution]) -> None:
        """Note that the batch was acknowledged, and with it what became of its letters."""
        with self._database.transaction() as connection:
            connection.execute(_END, (number,))
            _settle(connection, resolutions)

    def void(self, number: int) -> None:
        """Note that the batch was certainly not appended."""
        self._database.change(_END, [(number,)])

    def unfinished(self) -> list[JournalBatch]:
        """Return the batches that were begun and not ended, in that order."""
        return [_batch(row) for row in self._database.rows(_UNFINISHED)]

    def settle(self, resolutions: Sequence[Resolution]) -> None:
        """Note what became of letters by other ways than a batch, such as a verification."""
        with self._database.transaction() as connection:
            _settle(connection, resolutions)

    def verdicts(self) -> Mapping[str, Verdict]:
        """Return what is known here of letters that do not lie in this file, by id."""
        return dict(self._database.rows("select id, verdict from verdicts"))

    def settled(self) -> set[str]:
        """Return the ids of such letters that are in the log or were replayed."""
        return {letter_id for letter_id, verdict in self.verdicts().items() if verdict != "not persisted"}

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _lock_file(self) -> Database:
        # A file of its own, because the lock is an open transaction: in the spool it would
        # keep the publishers out. SQLite's locks end with their process, and hold between two
        # connections of one process as well.
        path = self._path.with_name(f"{self._path.name}-replay")
        return Database(path, create=True, timeout=_UNTIL_THE_HOLDER_IS_NAMED)

    def _name_holder(self) -> None:
        with self._database.transaction() as connection:
            connection.execute("delete from holder")
            connection.execute("insert into holder (pid) values (?)", (os.getpid(),))

    def _held(self) -> str:
        pid = next((pid for (pid,) in self._database.rows("select pid from holder")), "unknown")
        return f"{self._path} is being replayed by process {pid}: wait until that has ended, or end it"


def _batch(row: tuple[Any, ...]) -> JournalBatch:
    number, *batch, found = row
    topic, partition, data, count, *stamp, letters, begun_at = batch
    return JournalBatch(
        number,
        TopicPartition(topic, partition),
        WireBatch(data, count, Stamp(*stamp)),
        _ids(letters),
        begun_at,
        intact=rows.checksum(batch) == found,
    )


def _ids(letters: str) -> tuple[str, ...]:
    try:
        return tuple(json.loads(letters))
    except ValueError:  # damaged
        return ()


def _settle(connection: sqlite3.Connection, resolutions: Sequence[Resolution]) -> None:
    for resolution in resolutions:
        if not store.resolve(connection, resolution):
            _settle_elsewhere(connection, resolution)


def _settle_elsewhere(connection: sqlite3.Connection, resolution: Resolution) -> None:
    row = connection.execute("select verdict from verdicts where id = ?", (resolution.id,)).fetchone()
    if store.stronger(resolution.verdict, None if row is None else row[0]):
        found = (resolution.verdict, resolution.partition, resolution.offset, float(resolution.at))
        connection.execute(_SETTLE, (resolution.id, *found))


def _now() -> float:
    return wall_clock() / 1e9
