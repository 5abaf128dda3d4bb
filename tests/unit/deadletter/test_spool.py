"""The spool as a sink: durable when a write returns, back at its deadline, and honest about the rest."""

from __future__ import annotations

import asyncio
import builtins
import sqlite3
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest

from eventpub.deadletter.spool import SpoolSink
from eventpub.deadletter.spooling.store import State, Store
from eventpub.exceptions import ConfigurationError, DeadLetterError
from support import virtual_time
from tests.unit.deadletter.kit import execute, intact, kept, resolution
from tests.unit.deadletter.letters import ids, letter, letters

AMPLE = 10.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the spool is to be."""
    return tmp_path / "spool.db"


@pytest.fixture
async def sink(path: Path) -> AsyncIterator[SpoolSink]:
    """Open a spool, and see that nothing of it is left."""
    sink = SpoolSink(path)
    await sink.open()
    yield sink
    await sink.aclose(soon(AMPLE))
    await nothing_left(path)


def soon(seconds: float) -> float:
    """Return a deadline."""
    return asyncio.get_running_loop().time() + seconds


async def nothing_left(path: Path) -> None:
    """Fail if a thread or an open file of the spool at *path* stays."""
    patience = time.monotonic() + 2
    while left := [*threads(path), *files(path)]:
        assert time.monotonic() < patience, left
        await asyncio.sleep(0.01)


def threads(path: Path) -> list[str]:
    """Return the names of the spool's threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(f"spool {path}")]


def files(path: Path) -> list[str]:
    """Return the spool's open files."""
    return [file.path for file in psutil.Process().open_files() if file.path.startswith(str(path))]


async def stored(path: Path) -> list[str]:
    """Return the ids of the letters in the spool at *path*, as another connection sees them."""

    def read() -> list[str]:
        with closing(Store(path)) as store:
            return ids(kept(store))

    return await asyncio.to_thread(read)


def states(path: Path) -> list[State]:
    """Return what the letters in the spool at *path* are now."""
    with closing(Store(path)) as store:
        return [entry.state for entry in store.read()]


def empty(path: Path) -> int:
    """Purge all letters; return how many there were."""
    with closing(Store(path)) as store:
        return store.purge(ids(kept(store)))


def remove(path: Path) -> None:
    """Remove a spool."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Keep every writer out."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("begin immediate")
        yield connection


@contextmanager
def slow_commits(seconds: float) -> Iterator[list[int]]:
    """Let each commit take that long; yields how many letters each had."""
    append, sizes = Store.append, list[int]()

    def slow(self: Store, group: Any) -> None:
        sizes.append(len(group))
        time.sleep(seconds)
        append(self, group)

    with mock.patch.object(Store, "append", slow):
        yield sizes


# --- writing -----------------------------------------------------------------------


async def test_what_was_written_is_there(sink: SpoolSink, path: Path) -> None:
    """For any other connection, as soon as the write has returned; nothing to write is no error."""
    assert await sink.write([], soon(AMPLE)) == []
    for group in (letters(1), letters(3)):
        assert await sink.write(group, soon(AMPLE)) == [None] * len(group)
        assert (await stored(path))[-len(group) :] == ids(group)
    assert sink.trouble() is None
    assert sink.name == f"spool {path}"


async def test_what_arrives_during_a_commit_is_the_next_group(sink: SpoolSink, path: Path) -> None:
    """A hundred writers cost three commits, not a hundred; the order is that of the calls."""
    written = letters(101)
    with slow_commits(0.05) as sizes:
        first = asyncio.create_task(sink.write(written[:1], soon(AMPLE)))
        await asyncio.sleep(0.02)
        results = await asyncio.gather(first, *(sink.write([one], soon(AMPLE)) for one in written[1:]))
    assert results == [[None]] * 101
    assert sizes == [1, 100]
    assert await stored(path) == ids(written)


async def test_a_group_has_an_end(sink: SpoolSink) -> None:
    """A commit of a million letters would let nobody keep a deadline."""
    with slow_commits(0.0) as sizes:
        await asyncio.gather(*(sink.write(letters(400), soon(AMPLE)) for _ in range(4)))
    assert sizes == [800, 800]
    with slow_commits(0.0) as sizes:
        await sink.write(letters(1200), soon(AMPLE))
    assert sizes == [1200]


async def test_a_verdict_follows_the_letter_it_is_about(sink: SpoolSink, path: Path) -> None:
    """Handed in right behind it, before either is durable."""
    one, other = letters(2)
    await asyncio.gather(
        sink.write([one], soon(AMPLE)),
        sink.resolve([resolution(one), resolution(other)], soon(AMPLE)),
        sink.write([other], soon(AMPLE)),
        sink.resolve([], soon(AMPLE)),
    )
    assert await asyncio.to_thread(states, path) == [State.PERSISTED, State.OPEN]


async def test_a_failed_commit_fails_its_group_and_no_other(sink: SpoolSink, path: Path) -> None:
    """The letters of the group are handed to the next sink; it is not tried again here."""
    bad, good = letter(elapsed=float("nan")), letter()
    with slow_commits(0.05) as sizes:
        first = asyncio.create_task(sink.write([good], soon(AMPLE)))
        await asyncio.sleep(0.02)
        results = await asyncio.gather(*(sink.write([one], soon(AMPLE)) for one in (bad, letter())))
        assert await first == [None]
        assert await sink.write([last := letter()], soon(AMPLE)) == [None]
    assert all(isinstance(failure, DeadLetterError) and not failure.in_doubt for (failure,) in results)
    assert sizes == [1, 2, 1]
    assert await stored(path) == ids([good, last])


async def test_two_spools_of_one_process_share_a_file(sink: SpoolSink, path: Path) -> None:
    """Two publishers with the same settings: each writes, and closing one leaves the other its locks."""
    other = SpoolSink(path)
    await other.open()
    await asyncio.gather(*(one.write([letter()], soon(AMPLE)) for one in (sink, other) * 20))
    await other.aclose(soon(AMPLE))
    await asyncio.gather(*(sink.write([letter()], soon(AMPLE)) for _ in range(10)))
    assert len(await stored(path)) == 50
    assert intact(path)


# --- deadlines ---------------------------------------------------------------------


async def test_a_locked_file_is_waited_for_until_the_deadline(sink: SpoolSink, path: Path) -> None:
    """Then the letter is certainly not there; that is passing, so the next write is tried at once."""
    with locked(path):
        began = asyncio.get_running_loop().time()
        (failure,) = await sink.write([letter()], soon(0.3))
        took = asyncio.get_running_loop().time() - began
    assert isinstance(failure, DeadLetterError)
    assert not failure.in_doubt
    assert 0.2 < took < 2
    assert sink.trouble() is None
    assert await sink.write([one := letter()], soon(AMPLE)) == [None]
    await asyncio.sleep(0.1)
    assert one.id in await stored(path)


async def test_who_has_time_left_is_not_failed_by_who_has_none(sink: SpoolSink, path: Path) -> None:
    """Letters of one group that found the file locked go on waiting, each until its own deadline."""
    with locked(path) as lock:
        hasty = asyncio.create_task(sink.write([letter()], soon(0.1)))
        patient = asyncio.create_task(sink.write([one := letter()], soon(AMPLE)))
        (failure,) = await hasty
        lock.execute("rollback")
        assert await patient == [None]
    assert failure is not None
    assert one.id in await stored(path)


async def test_a_commit_that_runs_at_the_deadline_is_in_doubt(sink: SpoolSink, path: Path) -> None:
    """It may succeed later, as here; and the next write waits for it."""
    with slow_commits(0.3):
        (failure,) = await sink.write([one := letter()], soon(0.05))
        assert isinstance(failure, DeadLetterError)
        assert failure.in_doubt
        (failure,) = await sink.write([late := letter()], soon(0.05))
        assert isinstance(failure, DeadLetterError)
        assert not failure.in_doubt
        assert await sink.write([last := letter()], soon(AMPLE)) == [None]
    assert await stored(path) == ids([one, last])
    assert late.id not in await stored(path)


async def test_a_deadline_that_has_passed_writes_nothing(sink: SpoolSink, path: Path) -> None:
    """And says so for certain."""
    (failure,) = await sink.write([letter()], soon(-1))
    assert isinstance(failure, DeadLetterError)
    assert not failure.in_doubt
    assert await stored(path) == []


async def test_a_verdict_that_could_not_be_kept_raises(sink: SpoolSink, path: Path) -> None:
    """The letter stays as it was."""
    await sink.write([one := letter()], soon(AMPLE))
    with locked(path), pytest.raises(DeadLetterError, match=r"locked|time was over"):
        await sink.resolve([resolution(one)], soon(0.1))


async def test_cancelling_withdraws_what_was_not_begun(sink: SpoolSink, path: Path) -> None:
    """What was begun ends as it ends."""
    with slow_commits(0.1) as sizes:
        begun, waiting = (asyncio.create_task(sink.write([letter()], soon(AMPLE))) for _ in range(2))
        waiting_too = asyncio.create_task(sink.write([letter()], soon(AMPLE)))
        waiting.cancel()
        await asyncio.sleep(0.05)
        begun.cancel()
        waiting_too.cancel()
        await asyncio.wait([begun, waiting, waiting_too])
        assert await sink.write([letter()], soon(AMPLE)) == [None]
    assert sum(sizes) == len(await stored(path)) < 4


# --- trouble -----------------------------------------------------------------------


async def test_a_full_spool_says_so_and_heals(path: Path) -> None:
    """It is skipped for a second, then tried again; after a purge it takes letters."""
    sink = SpoolSink(path, max_bytes=256 * 1024)
    await sink.open()
    failure = None
    while failure is None:
        (failure,) = await sink.write([letter(bytes(20_000))], soon(AMPLE))
    assert not failure.in_doubt
    assert "max_bytes" in (sink.trouble() or "")
    assert await asyncio.to_thread(empty, path) > 5
    await asyncio.sleep(1.05)
    assert sink.trouble() is None
    assert await sink.write([letter(bytes(20_000))], soon(AMPLE)) == [None]
    assert sink.trouble() is None
    await sink.aclose(soon(AMPLE))
    assert intact(path)


async def test_a_file_that_was_removed_is_made_again(sink: SpoolSink, path: Path) -> None:
    """A letter in a file that no name leads to would be lost when its write had returned."""
    await sink.write([letter()], soon(AMPLE))
    remove(path)
    assert await sink.write([one := letter()], soon(AMPLE)) == [None]
    assert await stored(path) == [one.id]


async def test_a_directory_that_was_removed_is_trouble(tmp_path: Path) -> None:
    """The next sink has its turn until somebody makes the directory again."""
    path = tmp_path / "lib" / "spool.db"
    path.parent.mkdir()
    sink = SpoolSink(path)
    await sink.open()
    remove(path)
    path.parent.rmdir()
    (failure,) = await sink.write([letter()], soon(AMPLE))
    assert failure is not None
    assert f"make {path.parent}" in str(failure)
    assert not failure.in_doubt
    assert "directory" in (sink.trouble() or "")
    path.parent.mkdir()
    assert await sink.write([one := letter()], soon(AMPLE)) == [None]
    assert await stored(path) == [one.id]
    await sink.aclose(soon(AMPLE))


async def test_a_damaged_file_is_trouble(sink: SpoolSink, path: Path) -> None:
    """What is left of it is not overwritten, and the message says what to do with it."""
    await sink.write(letters(100), soon(AMPLE))
    damage(path)
    (failure,) = await sink.write([letter()], soon(AMPLE))
    assert failure is not None
    assert "move it away" in str(failure)
    assert b"\xff" * 8192 in contents(path)
    remove(path)
    assert await sink.write([one := letter()], soon(AMPLE)) == [None]
    assert await stored(path) == [one.id]


def damage(path: Path) -> None:
    """Write other bytes over all of it."""
    path.write_bytes(b"\xff" * path.stat().st_size)


def contents(path: Path) -> bytes:
    """Return the file's bytes."""
    return path.read_bytes()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of one megabyte."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("a small disk needs root")
    yield mount
    subprocess.run(["umount", mount], check=True)


async def test_a_full_disk_loses_nothing_that_was_written(small_disk: Path) -> None:
    """It is refused whole and certainly; when there is room again, writing goes on."""
    path = small_disk / "spool.db"
    sink = SpoolSink(path)
    await sink.open()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    written: list[str] = []
    failure = None
    while failure is None:
        group = [letter(bytes(5_000)) for _ in range(3)]
        (failure, *_) = await sink.write(group, soon(AMPLE))
        written += [] if failure else ids(group)
    assert "disk is full" in str(failure)
    assert not failure.in_doubt
    assert sink.trouble()
    assert await stored(path) == written
    ballast.unlink()
    assert await sink.write([one := letter()], soon(AMPLE)) == [None]
    assert await stored(path) == [*written, one.id]
    await sink.aclose(soon(AMPLE))
    assert intact(path)


async def test_a_disk_that_became_read_only_is_trouble(small_disk: Path) -> None:
    """As the kernel makes it after an error; remounted, it takes letters again."""
    path = small_disk / "spool.db"
    sink = SpoolSink(path)
    await sink.open()
    await sink.aclose(soon(AMPLE))
    remount(small_disk, "ro")
    with pytest.raises(ConfigurationError, match=r"Read-only|no permission"):
        await SpoolSink(path).open()
    remount(small_disk, "rw")
    sink = SpoolSink(path)
    await sink.open()
    sink._drop()  # no file may be open for writing
    remount(small_disk, "ro")
    (failure,) = await sink.write([letter()], soon(AMPLE))
    assert failure is not None
    assert sink.trouble()
    remount(small_disk, "rw")
    assert await sink.write([letter()], soon(AMPLE)) == [None]
    await sink.aclose(soon(AMPLE))
    await nothing_left(path)


def remount(mount: Path, how: str) -> None:
    """Make *mount* read-only or writable."""
    subprocess.run(["mount", "-o", f"remount,{how}", mount], check=True)


async def test_a_disk_full_from_the_start_is_trouble_and_no_wrong_setting(small_disk: Path) -> None:
    """A publisher opens there all the same, and the spool is made when there is room."""
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(2_000_000))
    sink = SpoolSink(small_disk / "spool.db")
    await sink.open()
    assert sink.trouble()
    ballast.unlink()
    assert await sink.write([letter()], soon(AMPLE)) == [None]
    await sink.aclose(soon(AMPLE))


# --- open and close ----------------------------------------------------------------


async def test_a_missing_directory_is_said_at_once(tmp_path: Path) -> None:
    """It is not made: a spool on the wrong disk, such as below a mount point, would be found too late."""
    sink = SpoolSink(tmp_path / "missing" / "spool.db")
    with pytest.raises(ConfigurationError, match="its directory does not exist; make"):
        await sink.open()
    await nothing_left(tmp_path)
    (failure,) = await sink.write([letter()], soon(AMPLE))
    assert "not open" in str(failure)


async def test_open_does_not_wait_for_a_lock(sink: SpoolSink, path: Path) -> None:
    """Another process may hold the file for long; the publisher starts, and the write waits."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        second = SpoolSink(path)
        began = asyncio.get_running_loop().time()
        await second.open()
        assert asyncio.get_running_loop().time() - began < 5
        other.execute("rollback")
        assert await second.write([letter()], soon(AMPLE)) == [None]
    await second.aclose(soon(AMPLE))


async def test_close_writes_what_was_handed_in(path: Path) -> None:
    """Nobody who waits is left behind while there is time; afterwards nothing is taken."""
    sink = SpoolSink(path)
    await sink.open()
    with slow_commits(0.05):
        writes = [asyncio.create_task(sink.write([letter()], soon(AMPLE))) for _ in range(5)]
        await asyncio.sleep(0.01)
        await sink.aclose(soon(AMPLE))
    assert await asyncio.gather(*writes) == [[None]] * 5
    assert len(await stored(path)) == 5
    (failure,) = await sink.write([letter()], soon(AMPLE))
    assert "not open" in str(failure)
    await sink.aclose(soon(AMPLE))
    await nothing_left(path)


async def test_close_ends_at_its_deadline(path: Path) -> None:
    """What was in the commit is in doubt, what was not is certain; the file closes behind it."""
    sink = SpoolSink(path)
    await sink.open()
    with slow_commits(2.0):
        begun = asyncio.create_task(sink.write([letter()], soon(AMPLE)))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(sink.write([letter()], soon(AMPLE)))
        await asyncio.sleep(0.05)
        began = asyncio.get_running_loop().time()
        await sink.aclose(soon(0.1))
        assert asyncio.get_running_loop().time() - began < 1.5
        (doubt,), (certain,) = await begun, await waiting
        assert isinstance(doubt, DeadLetterError)
        assert isinstance(certain, DeadLetterError)
        assert (doubt.in_doubt, certain.in_doubt) == (True, False)
        await nothing_left(path)
    assert len(await stored(path)) == 1


async def test_close_before_open_is_nothing(path: Path) -> None:
    """As it happens when another sink's open failed."""
    await SpoolSink(path).aclose(soon(1))
    assert files(path.parent) == []


# --- settings ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", ".", "/", "spool/", ":memory:", "file:spool.db", "a\0b", 7, None, b"spool.db"])
def test_a_path_that_names_no_file_is_refused(path: Any) -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigurationError, match=r"spool\.path: .*; give the path of a file"):
        SpoolSink(path)


@pytest.mark.parametrize("size", [0, -1, 1024, 1e9, True, "1 GiB", None])
def test_a_size_that_holds_nothing_is_refused(size: Any, tmp_path: Path) -> None:
    """With every other finding."""
    with pytest.raises(ConfigurationError, match=r"spool\.max_bytes: .*; give at least 262,144 bytes"):
        SpoolSink(tmp_path / "spool.db", max_bytes=size)


def test_making_a_sink_touches_no_file(path: Path) -> None:
    """Nor does it show more than where, and how large."""
    assert repr(SpoolSink(path)) == f"<SpoolSink {path} max_bytes=1073741824>"
    assert list(path.parent.iterdir()) == []


def test_a_python_without_sqlite_says_so_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with the first letter."""
    found = builtins.__import__

    def without_sqlite(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "sqlite3":
            raise ImportError("No module named '_sqlite3'")
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_sqlite)
    with pytest.raises(ConfigurationError, match="built without sqlite3"):
        SpoolSink(path)


def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STRICT tables are what the checksums rest on."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(ConfigurationError, match=r"too old; use a Python with SQLite 3\.37 or later"):
        SpoolSink(path)


def test_it_works_in_virtual_time(path: Path) -> None:
    """The clock does not jump to a deadline while the disk is waited for."""

    async def work() -> Sequence[DeadLetterError | None]:
        sink = SpoolSink(path)
        await sink.open()
        assert sink.trouble() is None
        with slow_commits(0.1):
            results = await sink.write(letters(3), soon(3600))
        assert asyncio.get_running_loop().time() < 60
        await asyncio.sleep(3600)
        await sink.aclose(soon(3600))
        assert asyncio.get_running_loop().time() < 3660
        return results

    assert virtual_time.run(work()) == [None] * 3


async def test_a_failed_fsync_leaves_the_letter_in_doubt(sink: SpoolSink, path: Path) -> None:
    """The commit may be undone, or not; it is not repeated, and the file is opened anew."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    await sink.write([letter()], soon(AMPLE))
    assert sink._store is not None
    real = sink._store._database._connection

    class Failing:
        def execute(self, sql: str, *more: Any) -> Any:
            if sql == "commit":
                raise error
            return real.execute(sql, *more)

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    sink._store._database._connection = Failing()  # type: ignore[assignment]
    (failure,) = await sink.write([letter()], soon(AMPLE))
    assert isinstance(failure, DeadLetterError)
    assert failure.in_doubt
    assert "disk" in (sink.trouble() or "")
    assert await sink.write([letter()], soon(AMPLE)) == [None]
    assert execute(path, "select count(*) from letters") == [(2,)]
