"""What the tests of the spool share: resolutions, damage, and a look at the file by other eyes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from eventpub.abc import Stamp, TopicPartition, WireBatch
from eventpub.letter import DeadLetter, Resolution

if TYPE_CHECKING:
    from pathlib import Path

    from eventpub.deadletter.spooling.store import Store
    from eventpub.letter import Verdict

ORDERS = TopicPartition("orders", 3)


def resolution(letter: DeadLetter, verdict: Verdict = "persisted", offset: int | None = 7) -> Resolution:
    """Return what became of *letter*."""
    partition = None if verdict == "not persisted" else 3
    found = None if verdict == "not persisted" else offset
    return Resolution(id=letter.id, record=letter.record, verdict=verdict, at=5.5, partition=partition, offset=found)


def batch(data: bytes = b"batch", sequence: int = 0) -> WireBatch:
    """Return an encoded batch of two records."""
    return WireBatch(data, 2, Stamp(42, 1, sequence))


def kept(store: Store) -> list[DeadLetter]:
    """Return all letters of *store*, by small pages."""
    found: list[DeadLetter] = []
    after = 0
    while page := store.read(after=after, limit=3):
        after = page[-1].position
        found += (entry.letter for entry in page)
    return found


def execute(path: Path, sql: str, *parameters: Any) -> list[Any]:
    """Do to the file what eventpub would not, and return what SQLite says."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql, parameters).fetchall()


def intact(path: Path) -> bool:
    """Whether SQLite finds the file in order."""
    try:
        return execute(path, "pragma integrity_check") == [("ok",)]
    except sqlite3.DatabaseError:
        return False


def flip(path: Path, content: bytes) -> None:
    """Flip one bit in the middle of *content*, which stands once in the file."""
    data = bytearray(path.read_bytes())
    assert data.count(content) == 1
    data[data.index(content) + len(content) // 2] ^= 0b100
    path.write_bytes(data)
