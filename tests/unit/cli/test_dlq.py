"""``eventpub dlq`` on a spool: what an operator sees, and what is done."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventpub import PersistenceStatus
from eventpub.cli.dlq import words
from eventpub.deadletter.spooling.store import Store
from eventpub.letter import DeadLetter
from tests.unit.cli.conftest import Call
from tests.unit.deadletter.kit import flip, resolution
from tests.unit.deadletter.letters import FAILED_AT, letter

SECRET = b'{"title": "tiger"}'
POSSIBLY: dict[str, Any] = {"status": PersistenceStatus.POSSIBLY_PERSISTED, "error": "PossiblyPersistedError"}
REFUSED: dict[str, Any] = {
    "reason": "rejected",
    "error": "EventTooLargeError",
    "kafka_code": 10,
    "kafka_error": "MESSAGE_TOO_LARGE",
}


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Name a file to keep letters in."""
    return tmp_path / "app.db"


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be a little more than two hours after the letters were written."""
    for module in ("words", "options"):
        monkeypatch.setattr(f"eventpub.cli.dlq.{module}.wall_clock", lambda: int((FAILED_AT + 7230) * 1e9))


def keep(spool: Path, *letters: DeadLetter, persisted: Iterable[DeadLetter] = ()) -> None:
    """Write *letters*, and that some of them are in the log by now."""
    with closing(Store(spool, create=True)) as store:
        store.append(letters)
        store.resolve([resolution(each) for each in persisted])


def kept(spool: Path) -> list[str]:
    """Return the ids in the spool."""
    with closing(Store(spool)) as store:
        return [stored.letter.id for stored in store.read()]


def rows(text: str) -> list[list[str]]:
    """Return the cells of a printed table."""
    return [[cell for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def test_the_list_groups_what_has_the_same_cause(call: Call, spool: Path) -> None:
    """How many, for what, why, since when, and whether it may be replayed; the most first."""
    refused = [letter(topic="orders", **REFUSED) for _ in range(2)]
    keep(spool, letter(**POSSIBLY), *refused, *(letter(failed_at=FAILED_AT + each) for each in range(3)))
    answer = call("dlq", "list", "--spool", spool)
    assert answer.status == 0
    found = [[cell.strip() for cell in row] for row in rows(answer.out)]
    since, last = words.moment(FAILED_AT), words.moment(FAILED_AT + 2)
    assert found == [
        ["count", "topic", "type", "why", "since", "last", "replay"],
        ["3", "tasks", "task.created", "budget: UnavailableError", since, last, "safe"],
        ["2", "orders", "task.created", "rejected: MESSAGE_TOO_LARGE", since, since, "mend first"],
        ["1", "tasks", "task.created", "budget: PossiblyPersistedError", since, since, "verify first"],
    ]
    assert "3 safe" in answer.err
    assert f"eventpub dlq replay --spool {spool} --dry-run" in answer.err


def test_letters_that_are_in_the_log_are_shown_only_when_asked_for(call: Call, spool: Path) -> None:
    """They need nothing any more."""
    one = letter()
    keep(spool, one, persisted=[one])
    assert call("dlq", "list", "--spool", spool).out == ""
    assert "done" in call("dlq", "list", "--spool", spool, "--all").out


def test_each_letter_has_its_row_with_its_id(call: Call, spool: Path) -> None:
    """In the order written."""
    both = letter(), letter(**POSSIBLY)
    keep(spool, *both)
    printed = call("dlq", "list", "--spool", spool, "--each").out.splitlines()[1:]
    assert [line.split()[0] for line in printed] == [one.id for one in both]


@pytest.mark.parametrize(
    "option, value",
    [
        ("--topic-of", "orders"),
        ("--type", "order.placed"),
        ("--reason", "attempts"),
        ("--status", "possibly-persisted"),
        ("--key", "7"),
        ("--older-than", "2h"),
        ("--id", "the-one"),
    ],
)
def test_filters_choose(call: Call, spool: Path, option: str, value: str) -> None:
    """One of two letters differs in everything; each filter finds it alone."""
    other = letter(failed_at=FAILED_AT + 60)
    facts: dict[str, Any] = {**POSSIBLY, "id": "the-one", "reason": "attempts", "event_type": "order.placed"}
    keep(spool, other, letter(topic="orders", key=b"7", **facts))
    printed = call("dlq", "list", "--spool", spool, "--json", option, value).out.splitlines()
    assert [json.loads(line)["id"] for line in printed] == ["the-one"]
    recent = call("dlq", "list", "--spool", spool, "--json", "--newer-than", "120m").out
    assert [json.loads(line)["id"] for line in recent.splitlines()] == [other.id]


def test_contents_are_masked_unless_asked_for(call: Call, spool: Path) -> None:
    """Keys, headers and values, in every form."""
    one = letter(SECRET, key=b"\xffkey", headers=(("h", b"tiger"),))
    keep(spool, one)
    for command in (["list", "--json"], ["show", one.id], ["show", one.id, "--json"]):
        assert "tiger" not in call("dlq", *command, "--spool", spool).out
        assert "tiger" in call("dlq", *command, "--spool", spool, "--show-values").out
    told = json.loads(call("dlq", "show", one.id, "--spool", spool, "--json", "--show-values").out)
    assert (told["key"], told["value"]) == ({"base64": "/2tleQ=="}, SECRET.decode())


def test_show_tells_everything_of_one_letter(call: Call, spool: Path) -> None:
    """By the beginning of its id, or of its event's."""
    one = letter(topic="orders", replays=2, **REFUSED)
    keep(spool, one, letter())
    printed = call("dlq", "show", one.id[:-1], "--spool", spool).out
    for told in (
        one.id,
        one.event_id,
        "topic orders",
        "MESSAGE_TOO_LARGE (10)",
        "2 h ago",
        "2 failed",
        "30.00 s of 30 s",
    ):
        assert str(told) in printed
    assert printed == call("dlq", "show", str(one.event_id), "--spool", spool).out


@pytest.mark.parametrize(
    "facts, persisted, advice",
    [
        ({}, False, "certainly not in the log"),
        (REFUSED, False, "Mend what it was refused for (MESSAGE_TOO_LARGE)"),
        (POSSIBLY, False, "--verify"),
        ({"doubtful_in": "topic tasks.dlq"}, False, "topic tasks.dlq may have this letter too"),
        ({}, True, "Nothing: its event is in the log"),
    ],
)
def test_show_says_what_to_do_next(
    call: Call, spool: Path, facts: dict[str, Any], *, persisted: bool, advice: str
) -> None:
    """In plain words, with the command to copy."""
    one = letter(**facts)
    keep(spool, one, persisted=[one] if persisted else [])
    assert advice in call("dlq", "show", one.id, "--spool", spool).out


def test_an_id_that_none_or_several_have_is_wrong_usage(call: Call, spool: Path) -> None:
    """The message says which."""
    keep(spool, letter(), letter())
    several, none = (call("dlq", "show", beginning, "--spool", spool) for beginning in ("0", "x"))
    assert (several.status, none.status) == (2, 2)
    assert "2 letters" in several.err
    assert "no letter" in none.err


def test_damaged_entries_are_counted_and_can_be_purged(call: Call, spool: Path) -> None:
    """They are missing from what is shown, and that is said."""
    keep(spool, letter(SECRET), letter())
    flip(spool, SECRET)
    assert "missing here: 1" in call("dlq", "list", "--spool", spool).err
    assert call("dlq", "purge", "--spool", spool, "--damaged", "--yes").err.startswith("removed 1 ")
    assert "missing here" not in call("dlq", "list", "--spool", spool).err


def test_purge_removes_what_is_in_the_log_and_nothing_else(call: Call, spool: Path) -> None:
    """Unless --open is said, which names what is lost."""
    done, still_open = letter(), letter()
    keep(spool, done, still_open, persisted=[done])
    assert call("dlq", "purge", "--spool", spool, "--dry-run").err == f"would remove 1 letter of spool {spool}\n"
    assert kept(spool) == [done.id, still_open.id]
    assert call("dlq", "purge", "--spool", spool, "--yes").status == 0
    assert kept(spool) == [still_open.id]
    assert "1 of them open: their events are lost" in call("dlq", "purge", "--spool", spool, "--open", "--dry-run").err
    assert call("dlq", "purge", "--spool", spool, "--open", "--yes").status == 0
    assert kept(spool) == []


def test_purge_without_anybody_to_ask_needs_yes(call: Call, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script must say what it wants."""
    one = letter()
    keep(spool, one, persisted=[one])
    monkeypatch.setattr("sys.stdin", io.StringIO())
    answer = call("dlq", "purge", "--spool", spool)
    assert answer.status == 2
    assert "--yes" in answer.err
    assert kept(spool) == [one.id]


def test_purge_asks(call: Call, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And does what is answered."""
    one = letter()
    keep(spool, one, persisted=[one])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("rich.prompt.Confirm.ask", lambda *_, **__: False)
    assert call("dlq", "purge", "--spool", spool).err == "nothing was removed\n"
    monkeypatch.setattr("rich.prompt.Confirm.ask", lambda *_, **__: True)
    call("dlq", "purge", "--spool", spool)
    assert kept(spool) == []


def test_a_topic_is_not_purged(call: Call) -> None:
    """It forgets by itself."""
    answer = call("dlq", "purge", "--topic", "tasks.dlq")
    assert answer.status == 2
    assert "retention" in answer.err


def test_a_replay_that_is_interrupted_says_how_to_go_on(
    call: Call, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no loss, and no success either."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("eventpub.cli.dlq.replay.run", interrupted)
    monkeypatch.setenv("EVENTPUB_BOOTSTRAP_SERVERS", "kafka")
    answer = call("dlq", "replay", "--spool", spool)
    assert answer == (1, "", "eventpub: stopped; called again, the replay goes on from here\n")


def test_export_holds_everything_in_a_file_of_ones_own(call: Call, spool: Path, tmp_path: Path) -> None:
    """Contents included, resolved letters too; an existing file is not overwritten."""
    done, still_open = letter(SECRET), letter(SECRET)
    keep(spool, done, still_open, persisted=[done])
    file = tmp_path / "letters.jsonl"
    assert call("dlq", "export", "--spool", spool, "--output", file).err == "2 letters\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(each["value"], each["state"]) for each in told] == [
        (SECRET.decode(), "persisted"),
        (SECRET.decode(), "open"),
    ]
    again = call("dlq", "export", "--spool", spool, "--output", file)
    assert (again.status, again.err) == (1, f"eventpub: {file}: File exists\n")
    assert call("dlq", "export", "--spool", spool, "--open-only").out.count("\n") == 1


@pytest.mark.parametrize("command", ["list", "export", "replay"])
@pytest.mark.parametrize("places", [[], ["--spool", "a", "--topic", "b"]])
def test_one_place_has_to_be_named(call: Call, command: str, places: list[str]) -> None:
    """Neither none nor two."""
    answer = call("dlq", command, *places)
    assert answer.status == 2
    assert "--spool PATH or --topic NAME" in answer.err


def test_a_spool_that_is_not_there_is_wrong_usage(call: Call, spool: Path) -> None:
    """It is not made: a misspelt path would look like an empty one."""
    answer = call("dlq", "list", "--spool", spool)
    assert answer.status == 2
    assert str(spool) in answer.err
    assert not spool.exists()


@pytest.mark.parametrize(
    "seconds, told", [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h"), (172_800, "2 d"), (-5, "0 s")]
)
def test_ages_are_told_in_their_largest_unit(seconds: int, told: str) -> None:
    """A clock that is behind the publisher's shows no negative age."""
    assert words.age(100_000, 100_000 + seconds) == told
