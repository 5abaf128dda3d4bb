"""Whether an event is in the log, as far as reading it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from eventpub import Record
from eventpub.abc import TopicPartition
from eventpub.deadletter.replaying.log_reader import LogReadError, Span
from eventpub.deadletter.replaying.verify import Absent, Evidence, Present, Untold, search, settled_at
from eventpub.letter import Cut
from tests.unit.deadletter.letters import FAILED_AT, letter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventpub.letter import DeadLetter
    from eventpub.record import Headers

PARTITION = TopicPartition("tasks", 0)
TIME = 1_750_000_000_000


class Logged(NamedTuple):
    """A record in the log."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int | None


class Log:
    """A partition as a reader shows it."""

    def __init__(self, *records: Record, first: int = 0, gaps: int = 0, stamped: bool = True, **span: Any) -> None:
        self._records = [
            Logged(*PARTITION, first + gaps + n, r.key, r.value, r.headers, r.timestamp if stamped else None)
            for n, r in enumerate(records)
        ]
        self._span = Span(first, first, first + gaps + len(records), in_sync=True)._replace(**span)
        self.asked: list[int | None] = []

    def partitions(self, _topic: str) -> int:
        """Say one."""
        return 1

    def span(self, _partition: TopicPartition, since: int | None = None) -> Span:
        """Show what there is."""
        self.asked.append(since)
        return self._span

    def read(self, _partition: TopicPartition, start: int, end: int) -> Iterator[Logged]:
        """Show the records."""
        return (record for record in self._records if start <= record.offset < end)

    def close(self) -> None:
        """Do nothing."""


def other(value: bytes = b"other") -> Record:
    """Return a record of somebody else."""
    return Record("tasks", value, b"k", [("ce_id", value)], timestamp=TIME)


def behind(after: int | None) -> Cut:
    """Return a cut after which only *after* was known."""
    return Cut(0, after, 7, 0, 0)


def look(log: Log, which: DeadLetter) -> Evidence:
    """Return the evidence for one letter."""
    return search(log, PARTITION, [which])[which.id]


def test_an_event_is_known_by_its_id() -> None:
    """Whatever else its record has: a consumer takes it for the same."""
    which = letter(cut=behind(None))
    again = which.record._replace(value=b"other bytes", timestamp=TIME + 1)
    assert look(Log(other(), again), which) == Present(0, 1)
    assert look(Log(other()), which) == Absent(1)


def test_what_was_there_before_the_cut_is_another_one() -> None:
    """An offset that was acknowledged before cannot be its own."""
    which = letter(cut=behind(1))
    assert look(Log(which.record, other(), other()), which) == Absent(3)


@pytest.mark.parametrize(
    "change,same",
    [
        ({}, True),
        ({"timestamp": TIME + 1}, False),
        ({"key": b"other"}, False),
        ({"value": b"other"}, False),
        ({"headers": (("a", b"2"),)}, False),
    ],
)
def test_a_record_without_an_event_id_is_known_by_all_it_has(change: dict[str, Any], *, same: bool) -> None:
    """Key, value, headers and timestamp."""
    which = letter(b"v", headers=(("a", b"1"),))
    assert look(Log(which.record._replace(**change)), which) == (Present(0, 0) if same else Absent(1))


def test_a_topic_that_sets_its_own_times_is_no_reason_to_miss_one() -> None:
    """Then the timestamp says nothing."""
    which = letter(b"v", headers=())
    assert look(Log(which.record, stamped=False), which) == Present(0, 0)


def test_equal_records_without_an_event_id_cannot_be_told_apart() -> None:
    """Two in the log, or two letters of which one was written."""
    which, twin = letter(b"v", headers=()), letter(b"v", headers=())
    assert isinstance(look(Log(which.record, which.record), which), Untold)
    assert all(isinstance(found, Untold) for found in search(Log(which.record), PARTITION, [which, twin]).values())
    assert set(search(Log(other()), PARTITION, [which, twin]).values()) == {Absent(1)}


@pytest.mark.parametrize(
    "log,after,reason",
    [
        (Log(other(), first=5), 3, "the log was deleted up to offset 5"),
        (Log(other(), first=5), None, "the log was deleted up to offset 5"),
        (Log(other()), 7, "the log ends before offset 8: this is another topic of that name"),
        (Log(other(), in_sync=False), None, "a replica lags"),
        (Log(other(), gaps=1), None, "offsets are missing"),
        (Log(other(), end=3), None, "offsets are missing"),
    ],
)
def test_absent_is_said_only_if_everything_was_there_to_be_read(log: Log, after: int | None, reason: str) -> None:
    """A replay of what was only not seen would write it twice."""
    found = look(log, letter(cut=behind(after)))
    assert isinstance(found, Untold)
    assert reason in found.reason


def test_what_is_missing_before_the_cut_does_not_matter() -> None:
    """Deleted up to there, or compacted."""
    assert look(Log(other(), first=4), letter(cut=behind(3))) == Absent(5)


def test_present_is_said_whatever_is_missing() -> None:
    """It is there."""
    which = letter(cut=behind(None))
    assert look(Log(which.record, first=5, gaps=2, in_sync=False), which) == Present(0, 7)


def test_what_is_older_than_the_event_is_not_read() -> None:
    """Save an hour by which clocks may differ; with no time of its own all is read."""
    log = Log(other())
    search(log, PARTITION, [letter(timestamp=TIME + 1), letter(timestamp=TIME)])
    search(log, PARTITION, [letter(timestamp=None)])
    attempted = int((FAILED_AT - 30) * 1000)
    assert log.asked == [min(TIME, attempted) - 3_600_000, None]


def test_the_cut_of_another_topic_tells_nothing() -> None:
    """As when letters were sent to a topic that was named."""
    which = letter(cut=behind(1), topic="original")
    assert look(Log(which.record, other()), which) == Present(0, 0)


def test_a_log_that_cannot_be_read_tells_nothing() -> None:
    """With the reader's words."""

    class Closed(Log):
        def span(self, _partition: TopicPartition, since: int | None = None) -> Span:
            raise LogReadError("no broker")

    assert look(Closed(), letter()) == Untold("no broker")


def test_reading_settles_a_letter_after_twice_its_request_timeout() -> None:
    """Since the last attempt, if there was one."""
    assert settled_at(letter(last_attempt_at=100.0, request_timeout=10.0)) == 120.0
    assert settled_at(letter(last_attempt_at=None)) is None
