"""The spool's file: private from its first byte, told from others, and durable after each transaction."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from eventpub.deadletter.spooling import files
from eventpub.deadletter.spooling.database import Database
from eventpub.deadletter.spooling.schema import VERSION
from eventpub.exceptions import ConfigurationError, DeadLetterError
from tests.unit.deadletter.kit import execute, intact

Open = Callable[[Path], Database]
needs_posix = pytest.mark.skipif(os.name != "posix", reason="permissions and umask are POSIX")
COUNT = "select count(*) from holder"
INSERT = "insert into holder (pid) values (?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file is to be."""
    return tmp_path / "a spool?#%41.db"


def make(path: Path) -> Database:
    """Open the file, and make it if need be."""
    return Database(path, create=True, timeout=5)


def look(path: Path) -> Database:
    """Open the file as the command line does."""
    return Database(path, create=False, timeout=5)


def mode(path: Path) -> int:
    """Return the file's permissions."""
    return path.stat().st_mode & 0o777


@contextmanager
def umask(bits: int) -> Iterator[None]:
    """Let new files lack *bits*."""
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


# --- who may read it ---------------------------------------------------------------


@needs_posix
@pytest.mark.parametrize("bits", [0o000, 0o022, 0o077, 0o277, 0o777])
def test_only_its_owner_can_read_it_whatever_the_umask(path: Path, bits: int) -> None:
    """The file, and the journal with the same pages in it."""
    with umask(bits), closing(make(path)) as database, database.transaction() as connection:
        connection.execute(INSERT, (1,))
        assert {file.name: mode(file) for file in path.parent.iterdir()} == {
            path.name: 0o600,
            f"{path.name}-journal": 0o600,
        }


@needs_posix
def test_it_is_never_readable_by_others_not_even_empty(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens it in between could read what is written later."""
    modes: list[int] = []
    link = os.link

    def linked(blank: str, target: Path) -> None:
        modes.append(mode(Path(blank)))
        link(blank, target)
        modes.append(mode(target))

    monkeypatch.setattr(os, "link", linked)
    with umask(0):
        make(path).close()
    assert modes == [0o600, 0o600]
    assert [file.name for file in path.parent.iterdir() if "journal" not in file.name] == [path.name]


@needs_posix
def test_a_publisher_takes_permissions_of_others_away(path: Path) -> None:
    """From a copy, say; the command line, which only looks, leaves them."""
    make(path).close()
    path.chmod(0o664)
    look(path).close()
    assert mode(path) == 0o664
    make(path).close()
    assert mode(path) == 0o600


@needs_posix
def test_permissions_that_cannot_be_taken_away_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else owns the file: payloads would be readable to who knows whom."""
    make(path).close()
    path.chmod(0o644)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(ConfigurationError, match=r"Operation not permitted.*; let this user own it"):
        make(path)


# --- what it is --------------------------------------------------------------------


def test_without_create_a_missing_file_stays_missing(path: Path) -> None:
    """A misspelt path must not become an empty spool."""
    with pytest.raises(ConfigurationError, match=r"there is no such file; name it as the publisher does"):
        look(path)
    assert list(path.parent.iterdir()) == []


def test_a_missing_directory_is_not_made(tmp_path: Path) -> None:
    """Neither way."""
    for opened in (make, look):
        with pytest.raises(ConfigurationError, match="its directory does not exist; make "):
            opened(tmp_path / "missing" / "spool.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("opened", [make, look])
@pytest.mark.parametrize("content", [b"PAR1" * 500, b"{}\n", b"\0" * 8192])
def test_what_is_no_sqlite_file_is_left_alone(path: Path, opened: Open, content: bytes) -> None:
    """The message names the path and what to do."""
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        opened(path)
    assert caught.value.findings[0].setting == f"spool {path}"
    assert caught.value.findings[0].fix
    assert path.read_bytes() == content


@pytest.mark.parametrize("opened", [make, look])
def test_the_database_of_another_program_is_left_alone(path: Path, opened: Open) -> None:
    """Its tables are not ours to add to."""
    execute(path, "create table users (name)")
    with pytest.raises(ConfigurationError, match="the SQLite file of another program"):
        opened(path)
    assert execute(path, "select name from sqlite_master") == [("users",)]


@pytest.mark.parametrize("opened", [make, look])
def test_a_newer_spool_is_refused(path: Path, opened: Open) -> None:
    """What is in it could not be read right, nor written."""
    make(path).close()
    execute(path, f"pragma user_version = {VERSION + 1}")
    with pytest.raises(ConfigurationError, match=r"made by a newer version of eventpub; use a version"):
        opened(path)


def test_a_directory_is_no_spool(tmp_path: Path) -> None:
    """It is said so, in one finding."""
    with pytest.raises(ConfigurationError, match="cannot be"):
        make(tmp_path)


def test_an_empty_file_becomes_a_spool_for_who_may_make_one(path: Path) -> None:
    """A process killed right after it had made the file leaves one; who only looks is told so."""
    path.touch(0o600)
    with pytest.raises(ConfigurationError, match="it is empty"):
        look(path)
    make(path).close()
    look(path).close()


def test_many_that_make_it_at_once_make_one(path: Path) -> None:
    """Workers start together: one makes the tables, nobody fails, and no blank file is left over."""
    start = threading.Barrier(12)

    def work(number: int) -> None:
        start.wait()
        with closing(make(path)) as database:
            database.change(INSERT, [(number,)])

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(12)))
    assert execute(path, COUNT) == [(12,)]
    assert intact(path)
    assert {file.name for file in path.parent.iterdir()} <= {path.name, f"{path.name}-journal"}


# --- how it is written -------------------------------------------------------------


def test_what_durability_rests_on_is_in_force(path: Path) -> None:
    """For each connection anew: these are no properties of the file."""
    make(path).close()
    execute(path, "pragma journal_mode = wal")
    for opened in (make, look):
        with closing(opened(path)) as database:
            names = ("journal_mode", "synchronous", "fullfsync", "secure_delete", "cell_size_check")
            found = {name: database.rows(f"pragma {name}")[0][0] for name in names}
        full = 2
        expected = {"journal_mode": "truncate", "synchronous": full}
        assert found == expected | dict.fromkeys(names[2:], 1)


def test_a_block_that_fails_changes_nothing(path: Path) -> None:
    """And the next transaction begins as if it had not been."""
    with closing(make(path)) as database:
        with pytest.raises(DeadLetterError, match="NOT NULL"):
            database.change(INSERT, [(1,), (None,)])
        database.change(INSERT, [(2,)])
        assert database.rows("select pid from holder") == [(2,)]


def test_a_wrong_statement_is_an_error_of_ours(path: Path) -> None:
    """Nobody above knows SQLite's exceptions."""
    with closing(make(path)) as database:
        with pytest.raises(DeadLetterError, match="no such table"):
            database.rows("select * from absent")
        with pytest.raises(DeadLetterError, match="no such table"):
            database.change("delete from absent where a = ?", [(1,)])


def test_a_reader_that_stays_makes_a_commit_wait_and_not_half_done(path: Path) -> None:
    """Somebody's open cursor ends a commit as locked: certainly not written."""
    with closing(make(path)) as database, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        database.change(INSERT, [(number,) for number in range(5000)])
        cursor = reader.execute("select * from holder")
        cursor.fetchone()
        database.patience(0.05)
        with pytest.raises(DeadLetterError, match="another process keeps it locked") as caught:
            database.change(INSERT, [(-1,)])
        assert not caught.value.in_doubt
        cursor.close()
        database.change(INSERT, [(-2,)])
        assert database.rows("select pid from holder where pid < 0") == [(-2,)]


def test_opening_and_closing_again_frees_no_lock(path: Path) -> None:
    """POSIX locks end when any descriptor of the file is closed: nothing here opens one behind SQLite's back."""
    attempt = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('begin immediate')"
    with closing(make(path)) as database, database.transaction():
        make(path).close()
        look(path).close()
        with pytest.raises(ConfigurationError):
            make(path.parent)
        locked = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, check=False)
    assert "database is locked" in locked.stderr


def test_a_moved_file_is_noticed(path: Path) -> None:
    """Removed, or replaced by another."""
    with closing(make(path)) as database:
        assert not database.moved()
        path.rename(path.with_suffix(".old"))
        assert database.moved()
        make(path).close()
        assert database.moved()


def test_without_links_the_file_system_is_named_as_the_cause(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems have none; a spool does not belong on them."""

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(ConfigurationError, match=r"Operation not supported.*or name another place"):
        files.make(path)
    assert list(path.parent.iterdir()) == []
