"""A replay's journal: what was begun stays until it is ended, and one replay runs at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventpub.deadletter.spooling.journal import Journal
from eventpub.deadletter.spooling.store import State, Store
from eventpub.exceptions import UsageError
from tests.unit.deadletter.kit import ORDERS, batch, execute, resolution
from tests.unit.deadletter.letters import ids, letter, letters

HOLD = """
import pathlib, sys, time
from eventpub.deadletter.spooling.journal import Journal
with Journal(pathlib.Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the journal is to be."""
    return tmp_path / "replay.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """Open a journal in a file of its own."""
    opened = Journal(path)
    yield opened
    opened.close()


def test_what_was_begun_is_read_back_byte_for_byte(journal: Journal, path: Path) -> None:
    """Also by another process: the first may have been killed."""
    first = journal.begin(ORDERS, batch(bytes(range(256)), 5), ["a", "b"])
    second = journal.begin(ORDERS._replace(topic="other"), batch(b""), [])
    again = Journal(path)
    one, two = again.unfinished()
    again.close()
    assert (one.number, two.number) == (first, second)
    assert (one.partition, one.letters, one.intact) == (ORDERS, ("a", "b"), True)
    assert (one.wire.data, one.wire.count, one.wire.stamp) == (bytes(range(256)), 2, batch(sequence=5).stamp)
    assert (two.partition.topic, two.letters, two.wire.data) == ("other", (), b"")
    assert one.begun_at <= two.begun_at


def test_numbers_are_never_used_again(journal: Journal) -> None:
    """A number names one batch for good."""
    first = journal.begin(ORDERS, batch(), ["a"])
    journal.void(first)
    assert journal.begin(ORDERS, batch(), ["a"]) > first


def test_a_void_batch_leaves_its_letters_alone(journal: Journal) -> None:
    """It was certainly not appended: nothing became of them."""
    kept, gone = (journal.begin(ORDERS, batch(), [name]) for name in "ab")
    journal.void(gone)
    assert [one.number for one in journal.unfinished()] == [kept]
    assert journal.settled() == set()


def test_done_resolves_the_letters_of_the_same_file(path: Path) -> None:
    """In one transaction: no kill can leave an acknowledged letter open."""
    store, journal = Store(path, create=True), Journal(path)
    store.append(written := letters(3))
    number = journal.begin(ORDERS, batch(), ids(written[:2]))
    journal.done(number, [resolution(one, "replayed", offset) for offset, one in enumerate(written[:2])])
    assert journal.unfinished() == []
    assert [entry.state for entry in store.read()] == [State.REPLAYED, State.REPLAYED, State.OPEN]
    assert [entry.resolution and entry.resolution.offset for entry in store.read()] == [0, 1, None]
    assert journal.settled() == set()
    store.close()
    journal.close()


def test_done_changes_nothing_where_one_part_fails(journal: Journal, path: Path) -> None:
    """The batch stays unfinished when a verdict could not be written."""
    number = journal.begin(ORDERS, batch(), ["a"])
    execute(path, "create trigger refuse before insert on verdicts begin select raise(abort, 'no'); end")
    with pytest.raises(Exception, match="no"):
        journal.done(number, [resolution(letter(), "replayed")])
    assert [one.number for one in journal.unfinished()] == [number]


def test_done_remembers_letters_that_lie_elsewhere(journal: Journal) -> None:
    """The replay of a topic asks what was replayed already; the strongest verdict counts."""
    replayed, absent, found = letters(3)
    journal.done(journal.begin(ORDERS, batch(), [replayed.id]), [resolution(replayed, "replayed")])
    journal.settle([resolution(absent, "not persisted"), resolution(found), resolution(replayed, "not persisted")])
    assert journal.settled() == {replayed.id, found.id}
    assert journal.verdicts() == {replayed.id: "replayed", absent.id: "not persisted", found.id: "persisted"}


def test_a_damaged_batch_says_so(journal: Journal, path: Path) -> None:
    """Under the same stamp the broker would take other bytes for the same: they must not be sent."""
    journal.begin(ORDERS, batch(b"right"), ["a"])
    journal.begin(ORDERS, batch(b"right"), ["a"])
    journal.begin(ORDERS, batch(b"right"), ["a"])
    execute(path, "update batches set data = x'00' where number = 1")
    execute(path, "update batches set letters = '[' where number = 2")
    assert [(one.intact, one.letters) for one in journal.unfinished()] == [(False, ("a",)), (False, ()), (True, ("a",))]


def test_one_replay_at_a_time_in_one_process(journal: Journal, path: Path) -> None:
    """A second holder is refused and told who the first is; afterwards it is free."""
    other = Journal(path)
    with journal.locked():
        with pytest.raises(UsageError, match=f"being replayed by process {os.getpid()}"), other.locked():
            pass
        with pytest.raises(UsageError), journal.locked():
            pass
        with pytest.raises(UsageError), other.locked():  # the refusals have not freed it
            pass
    with other.locked():
        pass
    other.close()


def test_a_lock_keeps_no_publisher_out(journal: Journal, path: Path) -> None:
    """Letters are written, and batches begun, while a replay runs."""
    store = Store(path, timeout=0.1)
    with journal.locked():
        store.append([letter()])
        journal.begin(ORDERS, batch(), ["a"])
    store.close()


def test_an_error_within_frees_the_lock(journal: Journal) -> None:
    """A replay that fails can be begun again."""
    with pytest.raises(ZeroDivisionError), journal.locked():
        _ = 1 / 0
    with journal.locked():
        pass


def test_a_kill_frees_the_lock(journal: Journal, path: Path) -> None:
    """A second process is told the first one's pid, and after kill -9 it may begin."""
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match=f"process {holder.pid}"), journal.locked():
            pass
        holder.send_signal(signal.SIGKILL)
    with journal.locked():
        pass
