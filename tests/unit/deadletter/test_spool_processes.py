"""One spool, many processes: nothing whose write had returned is lost, whoever is killed."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from eventpub.deadletter.spooling.store import Store
from support.kafka_node import ROOT
from tests.unit.deadletter.kit import intact, kept, resolution
from tests.unit.deadletter.letters import ids

if TYPE_CHECKING:
    from pathlib import Path

    from eventpub.deadletter.spooling.store import StoredLetter

# A worker: coroutines that await each write, and say when it has returned.
WORKER = """
import asyncio, sys
from eventpub.deadletter.spool import SpoolSink
from tests.unit.deadletter.letters import letter

path, coroutines, writes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

async def keep(sink):
    for number in range(writes):
        one = letter(bytes(number % 7 * 700))
        (failure,) = await sink.write([one], asyncio.get_running_loop().time() + 30)
        assert failure is None, failure
        print(one.id, flush=True)

async def main():
    sink = SpoolSink(path)
    await sink.open()
    await asyncio.gather(*(keep(sink) for _ in range(coroutines)))
    await sink.aclose(asyncio.get_running_loop().time() + 30)

asyncio.run(main())
"""


def start(path: Path, coroutines: int, writes: int, log: Path) -> subprocess.Popen[bytes]:
    """Start a worker that says in *log* which letters are written."""
    with log.open("wb") as said:
        command = [sys.executable, "-c", WORKER, str(path), str(coroutines), str(writes)]
        return subprocess.Popen(command, stdout=said, cwd=ROOT)


def said(log: Path) -> list[str]:
    """Return the ids in *log*; a line that was cut off by the kill does not count."""
    return [line.strip() for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def wait_for(log: Path, count: int) -> None:
    """Return when *log* has that many lines."""
    patience = time.monotonic() + 30
    while len(said(log)) < count:
        assert time.monotonic() < patience
        time.sleep(0.01)


def test_kill_minus_nine_loses_nothing_that_was_written(tmp_path: Path) -> None:
    """Round after round in one file, at a random moment each; the next process finds it whole."""
    path = tmp_path / "spool.db"
    written: set[str] = set()
    for turn in range(6):
        log = tmp_path / f"{turn}.log"
        with start(path, 50, 10_000, log) as worker:
            wait_for(log, 1)
            time.sleep(random.uniform(0.0, 0.3))
            worker.kill()
        written.update(said(log))
        with closing(Store(path)) as store:
            assert written <= set(ids(kept(store)))
            assert store.quarantined() == []
    assert len(written) > 100
    assert intact(path)


@pytest.mark.timeout(120)
def test_four_write_while_a_fifth_reads_resolves_and_purges(tmp_path: Path) -> None:
    """Every letter is there, or was purged by the one who resolved it; nobody fails."""
    path, logs = tmp_path / "spool.db", [tmp_path / f"{number}.log" for number in range(4)]
    Store(path, create=True).close()
    purged: list[str] = []
    with ExitStack() as stack:
        workers = [stack.enter_context(start(path, 10, 60, log)) for log in logs]
        with closing(Store(path, timeout=30)) as store:
            while any(worker.poll() is None for worker in workers):
                purged += tend(store)
            purged += tend(store)
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
    written = [letter_id for log in logs for letter_id in said(log)]
    with closing(Store(path)) as store:
        remaining = ids(kept(store))
        assert store.quarantined() == []
    assert len(written) == 4 * 10 * 60
    assert len(purged) > 100
    assert sorted([*remaining, *purged]) == sorted(written)
    assert intact(path)


def tend(store: Store) -> list[str]:
    """Resolve every third letter and purge it; return the ids of those that are purged."""
    third = [entry for entry in everything(store) if entry.position % 3 == 0]
    store.resolve([resolution(entry.letter) for entry in third])
    gone = ids(entry.letter for entry in third)
    assert store.purge(gone) == len(gone)
    return gone


def everything(store: Store) -> list[StoredLetter]:
    """Return all letters, by pages between which others write."""
    found: list[StoredLetter] = []
    while page := store.read(after=found[-1].position if found else 0, limit=50):
        found += page
    return found


def test_a_worker_that_dies_in_a_transaction_is_undone(tmp_path: Path) -> None:
    """Killed with the file half changed, it leaves a journal that the next one plays back."""
    path = tmp_path / "spool.db"
    with closing(Store(path, create=True)) as store:
        store.append([])
    half = (
        "import os, pathlib, signal, sys\n"
        "from eventpub.deadletter.spooling.database import Database\n"
        "database = Database(pathlib.Path(sys.argv[1]), create=False, timeout=5)\n"
        "with database.transaction() as connection:\n"
        "    connection.execute('pragma cache_size = 1')\n"
        "    for pid in range(20_000): connection.execute('insert into holder (pid) values (?)', (pid,))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    died = subprocess.run([sys.executable, "-c", half, str(path)], cwd=ROOT, check=False)
    assert died.returncode == -9
    assert path.with_name("spool.db-journal").stat().st_size > 0
    with closing(Store(path)) as store:
        assert store._database.rows("select count(*) from holder") == [(0,)]
    assert intact(path)
