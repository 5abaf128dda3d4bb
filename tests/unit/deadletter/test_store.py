"""The letters of a spool: kept byte for byte, folded as they are resolved, and checked when they are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from eventpub import PersistenceStatus, Record
from eventpub.deadletter.spooling.store import State, Store
from eventpub.exceptions import DeadLetterError, UsageError
from eventpub.letter import Cut, DeadLetter, Verdict
from tests.unit.deadletter.kit import execute, flip, intact, kept, resolution
from tests.unit.deadletter.letters import ids, letter, letters

MEBIBYTE = 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the spool is to be."""
    return tmp_path / "spool.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """Open a new spool."""
    opened = Store(path, create=True)
    yield opened
    opened.close()


def only(store: Store) -> DeadLetter:
    """Return the one letter that is there."""
    (entry,) = store.read()
    return entry.letter


def verdict(store: Store) -> Verdict | None:
    """Return what became of the one letter that is there."""
    (entry,) = store.read()
    return None if entry.resolution is None else entry.resolution.verdict


# --- what is kept ------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        Record("t", None),
        Record("t", b"", b""),
        Record("t", b"v", None, [("a", b"1"), ("b", None), ("a", b"1"), ("", b""), ("é\0\U0001f4a9", b"\xff\0")]),
        Record("t", bytes(range(256)) * 5000, b"\0'\xff", (), 2**31 - 1, 2**63 - 1),
        Record("t", b"v", timestamp=0, partition=0),
    ],
    ids=["tombstone", "empty", "headers", "a megabyte", "zeros"],
)
def test_a_record_comes_back_byte_for_byte(store: Store, record: Record) -> None:
    """Nothing is nothing and empty is empty; duplicates and order of headers stay."""
    written = letter(record=record)
    store.append([written])
    assert only(store) == written
    assert only(store).record == record


@pytest.mark.parametrize(
    "facts",
    [
        {"status": PersistenceStatus.POSSIBLY_PERSISTED, "doubtful_in": "topic tasks.dlq", "replays": 4},
        {"cut": None, "event_id": None, "event_type": None, "first_attempt_at": None, "last_attempt_at": None},
        {"cut": Cut(9, 2**62, 2**40, 7, 2**31 - 1), "kafka_code": -1, "kafka_error": "UNKNOWN_SERVER_ERROR"},
        {"stage": "close", "reason": "closing", "elapsed": -0.0, "budget": 5, "attempts": 0},
        {"message": "“quoted”\0 and ; drop table letters", "profile": "größe"},
    ],
)
def test_every_fact_comes_back(store: Store, facts: dict[str, Any]) -> None:
    """What is known of a failure is what an operator and a verification have."""
    written = letter(**facts)
    store.append([written])
    assert only(store) == written


def test_words_that_utf_8_cannot_express_are_kept_in_another_way(store: Store) -> None:
    """A file name in some system's message may hold any byte; the letter must not fail for it."""
    store.append([letter(message="no such file: \udcff.pem")])
    assert only(store).message == r"no such file: \udcff.pem"


def test_letters_come_in_the_order_written(store: Store) -> None:
    """Whatever their ids; and behind any position, so that a reader can go on where it was."""
    written = letters(11)
    for one in reversed(written):
        store.append([one])
    assert ids(kept(store)) == ids(written)[::-1]
    third = store.read(limit=3)[-1]
    assert store.read(after=third.position, limit=1)[0].letter == written[7]


def test_one_that_is_here_is_not_written_twice(store: Store) -> None:
    """A letter that is handed in again, even in one call, stays as it was first."""
    first = letter(b"first")
    store.append([first, first])
    store.append([letter(b"second", id=first.id), letter(b"other")])
    assert [one.record.value for one in kept(store)] == [b"first", b"other"]


def test_a_constraint_is_no_duplicate(store: Store) -> None:
    """What cannot be stored is an error, with all that came beside it, and not silently left out."""
    with pytest.raises(DeadLetterError, match="NOT NULL"):
        store.append([letter(), letter(elapsed=float("nan"))])
    assert kept(store) == []


def test_positions_are_never_used_again(store: Store) -> None:
    """A reader that has seen the last letter sees the next one, also if the last was purged meanwhile."""
    store.append(written := letters(3))
    last = store.read()[-1].position
    store.purge(ids(written))
    store.append([letter(b"new")])
    assert [entry.letter.record.value for entry in store.read(after=last)] == [b"new"]


# --- what became of it -------------------------------------------------------------


@pytest.mark.parametrize("order", [*permutations(["not persisted", "replayed", "persisted"])])
def test_the_strongest_verdict_wins_in_any_order(store: Store, order: tuple[Verdict, ...]) -> None:
    """Late answers overtake one another."""
    store.append([one := letter()])
    seen: list[Verdict] = []
    for said in order:
        store.resolve([resolution(one, said)])
        seen.append(said)
        assert verdict(store) == max(seen, key=["not persisted", "replayed", "persisted"].index)


@pytest.mark.parametrize(
    "said, state, status",
    [
        (None, State.OPEN, PersistenceStatus.POSSIBLY_PERSISTED),
        ("not persisted", State.OPEN, PersistenceStatus.NOT_PERSISTED),
        ("replayed", State.REPLAYED, PersistenceStatus.PERSISTED),
        ("persisted", State.PERSISTED, PersistenceStatus.PERSISTED),
    ],
)
def test_a_verdict_says_what_the_letter_is_now(
    store: Store, said: Verdict | None, state: State, status: PersistenceStatus
) -> None:
    """Open letters are those that nobody found in the log or sent again."""
    store.append([one := letter(status=PersistenceStatus.POSSIBLY_PERSISTED)])
    if said:
        store.resolve([resolution(one, said)])
    (entry,) = store.read()
    assert (entry.state, entry.status) == (state, status)
    assert entry.letter == one
    assert entry.resolution == (resolution(one, said) if said else None)
    assert store.read(open_only=True) == ([entry] if state is State.OPEN else [])


def test_what_is_not_here_cannot_be_resolved(store: Store) -> None:
    """The late outcome of a letter that went to another sink, or was purged, changes nothing."""
    store.append([one := letter()])
    store.resolve([resolution(letter()), resolution(one)])
    assert verdict(store) == "persisted"


def test_failed_replays_are_counted(store: Store) -> None:
    """Beside what is resolved, and for known letters only."""
    store.append([one := letter(replays=1), other := letter()])
    store.count_failed_replay([one.id, letter().id])
    store.resolve([resolution(one, "not persisted")])
    store.count_failed_replay([one.id])
    assert [entry.letter.replays for entry in store.read()] == [3, 0]
    assert store.find(other.id) == store.read()[1]


def test_open_letters_are_found_by_their_index(store: Store, path: Path) -> None:
    """A million that are settled do not slow down a look at ten that are not."""
    sql: list[str] = []
    store._database._connection.set_trace_callback(sql.append)
    store.read(open_only=True)
    store._database._connection.set_trace_callback(None)
    (plan,) = execute(path, f"explain query plan {sql[-1]}")
    assert "open_letters" in plan[-1]


# --- one letter, and none ----------------------------------------------------------


def test_a_letter_is_found_by_the_beginning_of_its_id(store: Store) -> None:
    """As people type it; an ambiguous one is refused, and a whole id is never ambiguous."""
    store.append([letter(id=name) for name in ("0190-a", "0190-b", "0190-bc")])
    assert [store.find(name) and store.find(name).letter.id for name in ("0190-a", "0190-b", "0190-bc")] == [  # type: ignore[union-attr]
        "0190-a",
        "0190-b",
        "0190-bc",
    ]
    assert store.find("0191") is None
    with pytest.raises(UsageError, match="several dead letters begin with '0190'"):
        store.find("0190")


def test_what_is_purged_is_gone_from_the_disk(store: Store, path: Path) -> None:
    """Payloads may be somebody's data: they are overwritten, and the room is used again."""
    store.append(written := [letter(b"personal" * 10_000) for _ in range(5)])
    assert store.purge([*ids(written), "unknown"]) == 5
    assert store.read() == []
    assert b"personal" not in path.read_bytes()
    size = path.stat().st_size
    store.append(letters(5))
    assert path.stat().st_size == size


# --- damage ------------------------------------------------------------------------


@pytest.mark.parametrize("where", [b"value", b"ey", b"tasks", b"0190-damaged", b"no broker", b"client-1"])
def test_a_flipped_bit_is_found_and_harms_nothing_else(path: Path, where: bytes) -> None:
    """In whatever column: the entry is set aside and reported, and all others are read."""
    content = where * 300
    damaged = letter(
        content if where == b"value" else b"v",
        key=content if where == b"ey" else b"k",
        topic="tasks" * 40 if where == b"tasks" else "t",
        id="0190-damaged" * 300 if where == b"0190-damaged" else "0190",
        message="no broker" * 300 if where == b"no broker" else "m",
        client_id="client-1" * 300 if where == b"client-1" else "c",
        headers=(),
    )
    store = Store(path, create=True)
    store.append([first := letter(), damaged, last := letter()])
    store.close()
    if where == b"0190-damaged":
        execute(path, "update letters set id = replace(id, '-d', '-e') where position = 2")
    else:
        flip(path, content if where != b"tasks" else b"tasks" * 40)
    store = Store(path)
    assert kept(store) == [first, last]
    assert ids(entry.letter for entry in store.read(limit=1, after=1)) == [last.id]
    (found,) = store.quarantined()
    assert found.position == 2
    assert "checksum" in found.reason
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "update letters set verdict = null",
        "update letters set replays = 4",
        "update letters set resolved_offset = 8",
        "update letters set fate_checksum = 0",
    ],
)
def test_damage_to_what_became_of_a_letter_is_found(store: Store, path: Path, damage: str) -> None:
    """Else it would be sent twice; and no later verdict paints it over."""
    store.append([one := letter(), other := letter()])
    store.resolve([resolution(one)])
    execute(path, f"{damage} where id = '{one.id}'")
    store.resolve([resolution(one)])
    store.count_failed_replay([one.id])
    assert kept(store) == [other]
    assert store.find(one.id) is None
    (found,) = store.quarantined()
    assert found.id == one.id


def test_bytes_that_are_no_text_are_damage_and_no_crash(store: Store, path: Path) -> None:
    """A flip can end UTF-8 within a text column, which Python's sqlite3 would refuse to read at all."""
    store.append([letter(message="x" * 50), other := letter()])
    execute(path, "update letters set message = cast(x'ff' || zeroblob(3) as text) where position = 1")
    assert kept(store) == [other]
    assert len(store.quarantined()) == 1


def test_a_page_full_of_damage_is_not_the_end(store: Store, path: Path) -> None:
    """A reader that goes on until nothing comes sees what lies behind it."""
    store.append([*letters(20), last := letter()])
    execute(path, "update letters set checksum = 0 where position <= 20")
    assert kept(store) == [last]
    assert store.read(limit=2)[0].letter == last


def test_damaged_entries_are_kept_until_somebody_discards_them(store: Store, path: Path) -> None:
    """Their payload may still be of use to a person."""
    store.append([letter(), other := letter()])
    execute(path, "update letters set checksum = 0 where position = 1")
    assert store.discard(store.quarantined()) == 1
    assert store.quarantined() == []
    assert kept(store) == [other]


def test_a_reader_does_not_go_round_in_a_damaged_file(path: Path) -> None:
    """Pages that contradict each other are an error, seen after a power loss with weaker settings."""
    store = Store(path, create=True)
    store.append(letters(3))
    store.close()
    reverse_rows(path)
    store = Store(path)
    for look in (store.read, store.quarantined):
        with pytest.raises(DeadLetterError, match=r"it is damaged; move it away"):
            look()
    store.close()


def reverse_rows(path: Path) -> None:
    """Exchange the first row's place with the third's, in the one page that holds all of them."""
    ((root,),) = execute(path, "select rootpage from sqlite_schema where name = 'letters'")
    data = bytearray(path.read_bytes())
    first = (root - 1) * 4096 + 8
    data[first : first + 6] = data[first + 4 : first + 6] + data[first + 2 : first + 4] + data[first : first + 2]
    path.write_bytes(data)


# --- no room -----------------------------------------------------------------------


def test_a_full_spool_takes_no_letter_and_loses_none(path: Path) -> None:
    """The refused ones are refused whole; verdicts still find room, so that it can be emptied."""
    store = Store(path, create=True, max_bytes=MEBIBYTE)
    written: list[DeadLetter] = []

    def fill() -> None:
        while True:
            store.append(group := [letter(bytes(20_000)) for _ in range(3)])
            written.extend(group)

    with pytest.raises(DeadLetterError, match="max_bytes") as caught:
        fill()
    assert not caught.value.in_doubt
    assert path.stat().st_size <= MEBIBYTE
    assert len(written) > 30
    assert ids(kept(store)) == ids(written)
    store.resolve([resolution(one) for one in written])
    assert store.read(open_only=True) == []
    store.purge(ids(written))
    store.append([letter(bytes(20_000))])
    store.close()
    assert intact(path)


def test_a_second_writer_waits_for_the_first_and_gives_up(store: Store, path: Path) -> None:
    """As long as it was told to, and what it says is that nothing was written."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    store.patience(0.05)
    with pytest.raises(DeadLetterError, match="another process keeps it locked") as caught:
        store.append([letter()])
    assert not caught.value.in_doubt
    other.close()
    store.append([letter()])
    assert len(store.read()) == 1
