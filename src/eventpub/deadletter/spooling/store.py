# ruff: noqa: S608 - put together from names of columns, never from what a user said
"""The letters of one spool: written, resolved, read, counted and purged.

Every change is one transaction and durable on return. What becomes of a letter is folded as it is
written: *persisted* beats *replayed* beats *not persisted*, in whatever order they come. How the
file is opened is ``database``'s business, when to write is ``spool``'s.
"""

from __future__ import annotations

import enum
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from eventpub.deadletter.spooling import rows
from eventpub.deadletter.spooling.database import Database
from eventpub.delivery import PersistenceStatus
from eventpub.exceptions import UsageError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from eventpub.letter import DeadLetter, Resolution, Verdict

_OPEN = "(verdict is null or verdict = 'not persisted')"  # word for word the index's condition, or it is not used
_RANK: dict[Verdict | None, int] = {None: 0, "not persisted": 1, "replayed": 2, "persisted": 3}
_PAGE = 200

_COLUMNS = ", ".join(rows.COLUMNS)
_PLACES = ", ".join("?" * len(rows.COLUMNS))
_FATE = f"{', '.join(rows.FATE)}, fate_checksum"
# Not "or ignore": that would also ignore a letter that some other constraint refuses.
_INSERT = f"insert into letters ({_COLUMNS}) values ({_PLACES}) on conflict (id) do nothing"
_UPDATE = f"update letters set {', '.join(f'{name} = ?' for name in (*rows.FATE, 'fate_checksum'))} where id = ?"


class State(enum.Enum):
    """What a letter is now: open until it is known to be in the log, or was sent again."""

    OPEN = "open"
    PERSISTED = "persisted"
    REPLAYED = "replayed"


class StoredLetter(NamedTuple):
    """A letter as it was written (``replays`` as counted since), and what became of it.

    Attributes:
        position: rises in the order written, and is never used again.
        letter: as it was written.
        resolution: the one that won; ``None`` without one.
    """

    position: int
    letter: DeadLetter
    resolution: Resolution | None

    @property
    def state(self) -> State:
        """Whether it is open."""
        if self.resolution is None or self.resolution.verdict == "not persisted":
            return State.OPEN
        return State(self.resolution.verdict)

    @property
    def status(self) -> PersistenceStatus:
        """Whether its event is in the log, as far as is known by now."""
        if self.resolution is None:
            return self.letter.status
        if self.resolution.verdict == "not persisted":
            return PersistenceStatus.NOT_PERSISTED
        return PersistenceStatus.PERSISTED


class Quarantined(NamedTuple):
    """An entry that is not what was written. It is kept, counted nowhere, and never sent.

    Attributes:
        position: where it lies.
        id: of the letter, as far as it can be read.
        reason: which part of it is damaged.
    """

    position: int
    id: str
    reason: str


class Store:
    """The letters in the file at *path*. Synchronous; used by one thread at a time.

    Args:
        path: of the file.
        create: make it where it is missing; without, a missing file is an error.
        max_bytes: beyond which no letter is taken; ``None`` for no end. Resolutions are always taken.
        timeout: seconds to wait for other processes.

    Raises:
        ConfigurationError: the file cannot be opened, or is no spool; with its path and the fix.
        DeadLetterError: of each method: the file is locked, full, damaged or out of reach.
    """

    def __init__(self, path: Path, *, create: bool = False, max_bytes: int | None = None, timeout: float = 5.0) -> None:
        self._database = Database(path, create=create, timeout=timeout)
        self._max_bytes = max_bytes

    def patience(self, seconds: float) -> None:
        """Wait for other processes for *seconds*, in each call from now on."""
        self._database.patience(seconds)

    def moved(self) -> bool:
        """Whether the file at the path is no longer the one that is open here."""
        return self._database.moved()

    def append(self, letters: Sequence[DeadLetter]) -> None:
        """Write *letters* in one transaction; one whose id is here already is left as it is."""
        encoded = [rows.encode(letter) for letter in letters]
        # For letters alone: at the cap, the resolution that lets one be purged must still find room.
        self._database.cap(self._max_bytes)
        try:
            self._database.change(_INSERT, encoded)
        finally:
            self._database.cap(None)

    def resolve(self, resolutions: Sequence[Resolution]) -> None:
        """Note what became of letters, in one transaction; those that are not here are ignored."""
        with self._database.transaction() as connection:
            for resolution in resolutions:
                resolve(connection, resolution)

    def count_failed_replay(self, ids: Sequence[str]) -> None:
        """Count one more replay that failed for each of *ids*."""
        with self._database.transaction() as connection:
            for letter_id in ids:
                fate = _fate(connection, letter_id)
                if fate is not None:
                    _write_fate(connection, letter_id, fate._replace(replays=fate.replays + 1))

    def read(self, *, after: int = 0, limit: int = _PAGE, open_only: bool = False) -> list[StoredLetter]:
        """Return the next *limit* intact letters behind position *after*, in the order written.

        Fewer only at the end, however many damaged ones lie between.
        """
        found: list[StoredLetter] = []
        while len(found) < limit and (page := self._page(after, limit - len(found), open_only=open_only)):
            after = page[-1][0]
            found += (entry for entry in map(_read, page) if isinstance(entry, StoredLetter))
        return found

    def in_order(self, *, open_only: bool = False) -> list[int]:
        """Return the positions of all letters in the order in which their events were published.

        Not that in which they were written: a letter that a slow sink refused first lies behind younger ones.
        """
        condition = f"where {_OPEN} " if open_only else ""
        sql = f"select position from letters {condition}order by failed_at - elapsed, id"
        return [position for (position,) in self._database.rows(sql, ())]

    def read_at(self, positions: Sequence[int]) -> list[StoredLetter]:
        """Return the intact ones among the letters at *positions*, in that order."""
        places = ", ".join("?" * len(positions))
        rows_ = self._database.rows(f"select position, {_COLUMNS} from letters where position in ({places})", positions)
        found = {entry.position: entry for entry in map(_read, rows_) if isinstance(entry, StoredLetter)}
        return [found[position] for position in positions if position in found]

    def find(self, letter_id: str) -> StoredLetter | None:
        """Return the letter whose id begins with *letter_id*, ``None`` if there is none that is intact.

        Raises:
            UsageError: several begin so.
        """
        sql = f"select position, {_COLUMNS} from letters where id >= ? and id < ? order by id limit 2"
        page = self._database.rows(sql, (letter_id, letter_id + "\N{DELETE}"))
        if len(page) > 1 and page[0][1] != letter_id:
            raise UsageError(f"several dead letters begin with {letter_id!r}: give more of the id")
        entry = _read(page[0]) if page else None
        return entry if isinstance(entry, StoredLetter) else None

    def quarantined(self) -> list[Quarantined]:
        """Return the damaged entries; every letter is read for this."""
        found: list[Quarantined] = []
        after = 0
        while page := self._page(after, _PAGE, open_only=False):
            after = page[-1][0]
            found += (entry for entry in map(_read, page) if isinstance(entry, Quarantined))
        return found

    def purge(self, ids: Sequence[str]) -> int:
        """Remove *ids* for good, and return how many were here. The room serves the letters to come."""
        return self._database.change("delete from letters where id = ?", ((letter_id,) for letter_id in ids))

    def discard(self, quarantined: Sequence[Quarantined]) -> int:
        """Remove damaged entries for good, and return how many were still here."""
        positions = ((entry.position,) for entry in quarantined)
        return self._database.change("delete from letters where position = ?", positions)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _page(self, after: int, limit: int, *, open_only: bool) -> list[tuple[Any, ...]]:
        condition = f"position > ? and {_OPEN}" if open_only else "position > ?"
        sql = f"select position, {_COLUMNS} from letters where {condition} order by position limit ?"
        page = self._database.rows(sql, (after, limit))
        # A damaged index can give rows that do not rise, and a reader would go round in it for ever.
        if any(later <= earlier for earlier, later in pairwise([after, *(row[0] for row in page)])):
            raise self._database.damaged()
        return page


def stronger(verdict: Verdict, known: Verdict | None) -> bool:
    """Whether *verdict* takes the place of the one *known*; equal ones keep theirs."""
    return _RANK[verdict] > _RANK[known]


def resolve(connection: sqlite3.Connection, resolution: Resolution) -> bool:
    """Note *resolution* within a transaction, unless a stronger one is known; say whether the letter is here."""
    fate = _fate(connection, resolution.id)
    if fate is not None and stronger(resolution.verdict, fate.verdict):
        found = (resolution.verdict, resolution.partition, resolution.offset, float(resolution.at))
        _write_fate(connection, resolution.id, rows.Fate(fate.replays, *found))
    return fate is not None


def _fate(connection: sqlite3.Connection, letter_id: str) -> rows.Fate | None:
    """Return what became of a letter, ``None`` if it is not here, or damaged: that is not painted over."""
    row = connection.execute(f"select {_FATE} from letters where id = ?", (letter_id,)).fetchone()
    try:
        return None if row is None else rows.read_fate(letter_id, row)
    except ValueError:
        return None


def _write_fate(connection: sqlite3.Connection, letter_id: str, fate: rows.Fate) -> None:
    connection.execute(_UPDATE, (*fate, rows.checksum((letter_id, *fate)), letter_id))


def _read(row: tuple[Any, ...]) -> StoredLetter | Quarantined:
    position, *columns = row
    try:
        return StoredLetter(position, *rows.decode(tuple(columns)))
    except ValueError as error:
        return Quarantined(position, str(columns[0]), str(error))
