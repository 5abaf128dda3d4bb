"""A dead letter as a record, and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from eventpub import PersistenceStatus, Record
from eventpub.deadletter.headers import LONGEST, PREFIX, NotADeadLetterError, decode, encode, encode_resolution
from eventpub.letter import Cut, DeadLetter, Resolution
from support.kafka_node import ROOT
from tests.unit.deadletter.letters import FAILED_AT, letter

if TYPE_CHECKING:
    from eventpub.record import Headers


class Read(NamedTuple):
    """A record of the dead-letter topic as a consumer reads it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


def read(record: Record, *more: tuple[str, bytes | None]) -> Read:
    """Return *record* as it is read back, perhaps with headers that somebody added on the way."""
    return Read(record.topic, 2, 17, record.key, record.value, (*record.headers, *more), record.timestamp or 0)


def ours(record: Record) -> dict[str, str]:
    """Return the headers that eventpub added, without their prefix."""
    return {name.removeprefix(PREFIX): (raw or b"").decode() for name, raw in record.headers if name.startswith(PREFIX)}


def test_a_letter_survives_the_way_to_a_topic_and_back() -> None:
    """Every field, and the record byte for byte."""
    full = letter(
        b"\x00\xff",
        key=b"\xfe",
        headers=(("ce_id", b"1"), ("dup", b"a"), ("dup", None), ("raw", b"\xff"), ("", b"")),
        status=PersistenceStatus.POSSIBLY_PERSISTED,
        kafka_code=45,
        kafka_error="OUT_OF_ORDER_SEQUENCE_NUMBER",
        message="ümläut",
        cut=Cut(3, 41, 7, 2, 99),
        doubtful_in="topic tasks.dlq",
        replays=2,
    )
    assert decode(read(encode(full, "tasks.dlq"))) == full


def test_what_is_not_known_has_no_header() -> None:
    """A record without key, value, timestamp, event id and attempts, that was never in a batch."""
    bare = letter(
        record=Record("tasks", None),
        event_type=None,
        stage="admit",
        attempts=0,
        first_attempt_at=None,
        last_attempt_at=None,
        cut=None,
    )
    record = encode(bare, "tasks.dlq")
    assert decode(read(record)) == bare
    assert not {"event.id", "event.type", "partition", "timestamp", "cut.partition", "sequence"} & set(ours(record))


def test_a_partition_that_was_asked_for_is_a_header_and_not_asked_of_the_dead_letter_topic() -> None:
    """That one may have fewer; its key says where the letter goes."""
    asked = letter(record=Record("tasks", b"v", b"k", partition=11, timestamp=5))
    record = encode(asked, "tasks.dlq")
    assert (record.topic, record.partition, record.key, record.timestamp) == ("tasks.dlq", None, b"k", 5)
    assert ours(record)["partition"] == "11"
    assert decode(read(record)) == asked


def test_the_headers_can_be_read_by_people() -> None:
    """Times are RFC 3339 in UTC, durations seconds, the status is the word of the exception."""
    texts = ours(encode(letter(cut=Cut(3, None, 7, 0, 12)), "tasks.dlq"))
    assert texts["failed.at"] == "2025-06-15T15:06:40.250000+00:00"
    assert texts["elapsed"] == "30.0"
    assert texts["status"] == "not persisted"
    assert texts["exception.class.name"] == "UnavailableError"
    assert (texts["cut.partition"], texts["sequence"], "cut.after" in texts) == ("3", "12", False)


def test_no_value_of_ours_is_longer_than_1_kib() -> None:
    """Cut between characters: a header is always UTF-8."""
    long = encode(letter(message="ä" * 2_000, event_id="€" * 2_000), "tasks.dlq")
    texts = ours(long)
    assert max(len(text.encode()) for text in texts.values()) <= LONGEST
    assert texts["exception.message"] == "ä" * 512
    assert texts["event.id"] == "€" * 341


def test_half_a_character_in_a_message_is_replaced() -> None:
    """UTF-8 cannot express it, and it is no reason to lose the letter."""
    assert ours(encode(letter(message="a\ud800b"), "tasks.dlq"))["exception.message"] == "a?b"


def test_a_letter_about_a_dead_letter_keeps_the_headers_of_both() -> None:
    """What a dead-letter topic held, published elsewhere as it was, may end as a dead letter again."""
    inner = encode(letter(message="inner"), "tasks.dlq")
    outer = letter(record=inner, message="outer")
    found = decode(read(encode(outer, "tasks.dlq.dlq")))
    assert isinstance(found, DeadLetter)
    assert found.message == "outer"
    assert found.record == inner


def test_headers_that_were_added_on_the_way_are_nobodys() -> None:
    """A mirror's or a tracer's, behind ours: they were not the original's."""
    first = letter()
    assert decode(read(encode(first, "tasks.dlq"), ("traceparent", b"00-1-2-00"))) == first


def test_a_time_that_the_topic_refused_is_not_given_to_the_next_one() -> None:
    """The letter gets the time of its failure; the original's stays in its header."""
    refused = letter(kafka_code=32, kafka_error="INVALID_TIMESTAMP")
    record = encode(refused, "tasks.dlq")
    assert record.timestamp == int(FAILED_AT * 1000)
    assert decode(read(record)) == refused


def test_a_resolution_survives_the_way_to_a_topic_and_back() -> None:
    """It has its letter's key, so that it lies behind it, and no value."""
    first = letter()
    resolution = Resolution(
        id=first.id, record=first.record, verdict="persisted", at=FAILED_AT, partition=3, offset=1_042
    )
    record = encode_resolution(resolution, "tasks.dlq")
    assert (record.key, record.value) == (first.record.key, None)
    found = decode(read(record))
    assert isinstance(found, Resolution)
    assert (found.id, found.verdict, found.at, found.partition, found.offset) == (
        first.id, "persisted", FAILED_AT, 3, 1_042,
    )  # fmt: skip
    assert (found.record.topic, found.record.key) == ("tasks", b"42")


def test_a_record_that_is_no_dead_letter_is_named_by_its_place() -> None:
    """Somebody else wrote to the topic."""
    with pytest.raises(NotADeadLetterError, match=r"^tasks\.dlq\[2\]@17 is no dead letter: it has no header __event"):
        decode(read(Record("tasks.dlq", b"secret", b"secret", [("ce_id", b"1")])))


def test_another_version_is_not_guessed_at() -> None:
    """What its headers mean is not known here."""
    record = Record("tasks.dlq", b"v", headers=[(f"{PREFIX}version", b"2")])
    with pytest.raises(NotADeadLetterError, match=r"tasks\.dlq\[2\]@17 is a dead letter of another version"):
        decode(read(record))


@pytest.mark.parametrize(
    "name,damage,said",
    [
        ("id", None, "header __eventpub.errors.id is missing"),
        ("status", b"maybe", "header __eventpub.errors.status cannot be read"),
        ("attempts", b"many", "header __eventpub.errors.attempts cannot be read"),
        ("failed.at", b"yesterday", "header __eventpub.errors.failed.at cannot be read"),
        ("stage", b"\xff", "header __eventpub.errors.stage cannot be read"),
        ("topic", b"no topic", "'no topic' is no Kafka topic name"),
        ("sequence", None, "header __eventpub.errors.sequence is missing"),
    ],
)
def test_a_damaged_header_is_named(name: str, damage: bytes | None, said: str) -> None:
    """And neither the key nor the value is shown."""
    record = encode(letter(), "tasks.dlq")
    damaged = [(full, damage if full == PREFIX + name else raw) for full, raw in record.headers]
    with pytest.raises(NotADeadLetterError, match=said):
        decode(read(Record("tasks.dlq", record.value, record.key, damaged)))


def test_the_reference_page_names_every_header() -> None:
    """And no other."""
    full = letter(
        record=Record("tasks", b"v", b"k", [("ce_id", b"1")], partition=1, timestamp=1),
        kafka_code=10,
        kafka_error="MESSAGE_TOO_LARGE",
        cut=Cut(1, 2, 3, 4, 5),
        doubtful_in="topic tasks.dlq",
    )
    resolution = Resolution(id="a", record=full.record, verdict="replayed", at=FAILED_AT, partition=1, offset=2)
    written = {*ours(encode(full, "tasks.dlq")), *ours(encode_resolution(resolution, "tasks.dlq"))}
    page = (ROOT / "docs" / "reference" / "dead-letter-headers.md").read_text()
    assert set(re.findall(r"^\| `([a-z.]+)` \|", page, re.MULTILINE)) == written
