"""How a spool's file is opened, changed and given up; what lies in it is decided elsewhere.

The only module that knows SQLite's settings and errors. A change is durable when its transaction
has ended: ``journal_mode=TRUNCATE`` with ``synchronous=FULL``. Not WAL, which can lose commits when
two connections checkpoint (SQLite before 3.51.3); not DELETE, whose unlinked journal may come back
after a power loss and undo an acknowledged commit.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from eventpub.deadletter.spooling import files
from eventpub.deadletter.spooling.schema import APPLICATION_ID, SCHEMA, VERSION
from eventpub.exceptions import ConfigurationError, DeadLetterError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

SETTINGS = (
    "journal_mode = truncate",
    "synchronous = full",
    "fullfsync = on",  # on macOS an fsync alone does not reach the disk
    "secure_delete = on",  # what is purged is overwritten
    "cell_size_check = on",
    "trusted_schema = off",
)

_OLDEST = (3, 37)  # the first with STRICT tables
_MOST_PAGES = 2**32 - 2


class FileError(DeadLetterError):
    """Why the file could not be read or changed."""

    def __init__(self, path: Path, reason: str, fix: str, *, in_doubt: bool = False) -> None:
        super().__init__(f"{path}: {reason}; {fix}", in_doubt=in_doubt)
        self.reason = reason
        self.fix = fix


class BusyError(FileError):
    """Another process kept the file locked for too long; nothing was written."""


class FullError(FileError):
    """No room; nothing was written."""


class _Format(NamedTuple):
    application: int
    version: int
    tables: int


_BLANK = _Format(0, 0, 0)
_FORMAT = """
    select application_id, user_version, (select count(*) from sqlite_schema)
    from pragma_application_id, pragma_user_version
"""


def require_sqlite() -> None:
    """Refuse a Python that cannot keep a spool.

    Raises:
        ConfigurationError: it has no ``sqlite3``, or one that is too old.
    """
    try:
        import sqlite3
    except ImportError as error:
        fix = "install your system's package for it, or name another sink"
        raise ConfigurationError.of("spool", "this Python was built without sqlite3", fix) from error
    if sqlite3.sqlite_version_info < _OLDEST:
        needed = ".".join(map(str, _OLDEST))
        fix = f"use a Python with SQLite {needed} or later, or name another sink"
        raise ConfigurationError.of("spool", f"SQLite {sqlite3.sqlite_version} is too old", fix)


class Database:
    """One connection to one file. Used by one thread at a time, not always the same.

    Args:
        path: of the file.
        create: make it where it is missing or empty, and take others' permissions away.
        timeout: seconds to wait for other processes; `patience` changes it.

    Raises:
        ConfigurationError: it cannot be opened, is no spool, or is of a newer version; with the fix.
        DeadLetterError: not now: it is locked, or the disk is full.
    """

    def __init__(self, path: Path, *, create: bool, timeout: float) -> None:
        require_sqlite()
        self.path = path
        if create:
            files.make(path)
        with files.opening(path):
            self._identity = files.identity(path)
        try:
            self._open(timeout, create=create)
        except (BusyError, FullError):
            raise
        except FileError as error:
            raise files.wrong(path, error.reason, error.fix) from error

    def patience(self, seconds: float) -> None:
        """Wait for other processes for *seconds*, in each transaction from now on."""
        self.rows(f"pragma busy_timeout = {max(0, int(seconds * 1000))}")

    def cap(self, max_bytes: int | None) -> None:
        """Let the file grow to *max_bytes*, or without end; it is not cut where it is larger already."""
        pages = _MOST_PAGES if max_bytes is None else max(1, max_bytes // self._page_size)
        self.rows(f"pragma max_page_count = {pages}")

    def moved(self) -> bool:
        """Whether another file lies at the path now, or none: nobody would find what is written to this one."""
        try:
            return files.identity(self.path) != self._identity
        except OSError:
            return True

    def damaged(self) -> FileError:
        """Return the error of a file whose pages contradict each other."""
        return _damaged(self.path)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change the file: all of it is durable when the block has ended, or nothing is changed.

        Raises:
            DeadLetterError: ``in_doubt`` if the change may be there all the same. Nothing is repeated:
                after a failed fsync the kernel calls clean what it has not written.
        """
        with _translated(self.path):
            self._connection.execute("begin immediate")
        try:
            with _translated(self.path):
                yield self._connection
            with _translated(self.path, committing=True):
                self._connection.execute("commit")
        finally:
            self._end()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Return all rows; no cursor stays open, which would keep writers out."""
        with _translated(self.path):
            return self._connection.execute(sql, parameters).fetchall()

    def change(self, sql: str, parameters: Iterable[Sequence[Any]]) -> int:
        """Execute *sql* with each of *parameters* in one transaction; return how many rows changed."""
        with self.transaction() as connection:
            return connection.executemany(sql, parameters).rowcount

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _end(self) -> None:
        """Undo what was not committed; if that fails, the next who opens the file does it."""
        if self._connection.in_transaction:
            with contextlib.suppress(FileError), _translated(self.path):
                self._connection.execute("rollback")

    def _open(self, timeout: float, *, create: bool) -> None:
        self._connection = _connect(self.path, timeout)
        try:
            for setting in SETTINGS:
                self.rows(f"pragma {setting}")
            self._page_size = self.rows("pragma page_size")[0][0]
            if create and self._format() == _BLANK:
                self._fill()
            self._check(self._format())
        except BaseException:
            self.close()
            raise

    def _format(self) -> _Format:
        return _Format(*self.rows(_FORMAT)[0])

    def _fill(self) -> None:
        with self.transaction() as connection:
            if self._format() == _BLANK:  # else another process was quicker
                for statement in SCHEMA:
                    connection.execute(statement)

    def _check(self, found: _Format) -> None:
        fix = "name a spool, or a file that does not exist yet"
        if found == _BLANK:
            raise FileError(self.path, "it is empty", fix)
        if found.application != APPLICATION_ID:
            raise FileError(self.path, "it is the SQLite file of another program", fix)
        if found.version > VERSION:
            fix = "use a version of eventpub at least as new, or another file"
            raise FileError(self.path, "it was made by a newer version of eventpub", fix)


def _connect(path: Path, timeout: float) -> sqlite3.Connection:
    import sqlite3

    with _translated(path):
        # mode=rw: never made by SQLite itself, with the permissions that the umask leaves.
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, timeout=timeout, isolation_level=None, check_same_thread=False, uri=True)
    # A flipped bit must end in a wrong checksum, and not in an error that hides all other rows.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return connection


@contextlib.contextmanager
def _translated(path: Path, *, committing: bool = False) -> Iterator[None]:
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        raise _translation(path, error, committing=committing) from error


def _translation(path: Path, error: sqlite3.Error, *, committing: bool) -> FileError:
    import sqlite3

    # The lower byte is the kind. A wrong call (ProgrammingError) has none.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if kind in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return BusyError(path, "another process keeps it locked", "end that process, or allow more time")
    if kind == sqlite3.SQLITE_FULL:
        fix = "replay and purge letters, or make room"
        return FullError(path, "it has reached its max_bytes, or the disk is full", fix)
    if kind == sqlite3.SQLITE_NOTADB:
        return FileError(path, "it is no SQLite file", "move it away, or name another file")
    if kind == sqlite3.SQLITE_CORRUPT:
        return _damaged(path)
    if kind in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY}:
        fix = "let this user write it and in its directory"
        return FileError(path, f"it cannot be read or written ({error})", fix)
    # A commit whose last fsync failed may be undone when the file is opened next, or may not.
    fix = "look at the disk" if kind == sqlite3.SQLITE_IOERR else "report it, with this message"
    return FileError(path, f"SQLite says: {error}", fix, in_doubt=committing)


def _damaged(path: Path) -> FileError:
    return FileError(path, "it is damaged", "move it away; `sqlite3 FILE .recover` reads what is left of it")
