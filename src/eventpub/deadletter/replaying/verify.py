"""Whether an event is in the log, as reading its partition tells.

Decides what counts as the same record, and when reading settles anything. Three words are possible,
and the third is said whenever something was not there to be read: *absent* makes a replay safe, so it
has to be certain.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from eventpub.deadletter.replaying.log_reader import LogReadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from eventpub.abc import TopicPartition
    from eventpub.deadletter.logged import Logged
    from eventpub.deadletter.replaying.log_reader import LogReader, Span
    from eventpub.letter import DeadLetter
    from eventpub.record import Record

_CLOCKS_DIFFER = 3_600_000
"""Milliseconds that a topic's own time of a record may be before its producer's."""


class Present(NamedTuple):
    """The event is in the log."""

    partition: int
    offset: int


class Absent(NamedTuple):
    """The event is certainly not in the log before offset *up_to*."""

    up_to: int


class Untold(NamedTuple):
    """Reading did not tell."""

    reason: str


Evidence = Present | Absent | Untold


def settled_at(letter: DeadLetter) -> float | None:
    """Return from when on reading can settle *letter*, in seconds since the epoch.

    Not before twice the request timeout after its last attempt: a request that is still in a
    broker's socket would be appended after the reading. ``None`` if there was no attempt.
    """
    return None if letter.last_attempt_at is None else letter.last_attempt_at + 2 * letter.request_timeout


def search(reader: LogReader, partition: TopicPartition, letters: Sequence[DeadLetter]) -> dict[str, Evidence]:
    """Read *partition* and return for each of *letters*, by id, whether its event is there.

    A record is known by its ``ce_id`` header. One without is known by key, value, headers and
    timestamp; of those, equal ones cannot be told apart. Blocks.
    """
    try:
        span = reader.span(partition, _since(letters))
        start = max(span.start, min(_after(letter, partition) + 1 for letter in letters))
        tracks = _Tracks(letters, start)
        for record in reader.read(partition, start, span.end):
            tracks.take(record)
    except LogReadError as error:
        return {letter.id: Untold(str(error)) for letter in letters}
    reading = _Reading(span, tracks)
    return {letter.id: reading.evidence(letter, partition) for letter in letters}


def _after(letter: DeadLetter, partition: TopicPartition) -> int:
    """Return the last offset of *partition* that was acknowledged before *letter* was cut; -1 if none is known."""
    cut = letter.cut
    if cut is None or cut.after is None or (letter.record.topic, cut.partition) != partition:
        return -1
    return cut.after


def _since(letters: Iterable[DeadLetter]) -> int | None:
    """Return a time, in milliseconds, that none of the records in the log is older than, whoever stamped them."""
    times: list[int] = []
    for letter in letters:
        if letter.record.timestamp is None:
            return None
        times.append(letter.record.timestamp)
        if letter.first_attempt_at is not None:
            times.append(int(letter.first_attempt_at * 1000))
    return min(times) - _CLOCKS_DIFFER


class _Tracks:
    """What a reading has come across: where each letter's record was, and which offsets nobody showed."""

    def __init__(self, letters: Iterable[DeadLetter], start: int) -> None:
        self.offsets: defaultdict[str, list[int]] = defaultdict(list)
        self.alike: Mapping[object, list[DeadLetter]] = _by_mark(letters)
        self.read_to = start
        self.last_gap = -1

    def take(self, record: Logged) -> None:
        """Take in the next record."""
        if record.offset != self.read_to:
            self.last_gap = record.offset - 1
        self.read_to = record.offset + 1
        for letter in self.alike.get(_mark(record), ()):
            if _same_time(letter, record):
                self.offsets[letter.id].append(record.offset)


def _by_mark(letters: Iterable[DeadLetter]) -> Mapping[object, list[DeadLetter]]:
    found: defaultdict[object, list[DeadLetter]] = defaultdict(list)
    for letter in letters:
        found[_mark(letter.record)].append(letter)
    return found


def _mark(record: Record | Logged) -> object:
    """Return what a record is known by."""
    event_id = next((value for name, value in record.headers if name == "ce_id"), None)
    return (record.key, record.value, record.headers) if event_id is None else event_id


def _same_time(letter: DeadLetter, record: Logged) -> bool:
    if _has_id(letter) or record.timestamp is None or letter.record.timestamp is None:
        return True
    return letter.record.timestamp == record.timestamp


def _has_id(letter: DeadLetter) -> bool:
    return letter.record.event_id is not None


class _Reading(NamedTuple):
    """One partition that was read."""

    span: Span
    tracks: _Tracks

    def evidence(self, letter: DeadLetter, partition: TopicPartition) -> Evidence:
        """Return what it tells of *letter*."""
        after = _after(letter, partition)
        offsets = [offset for offset in self.tracks.offsets[letter.id] if offset > after]
        if not offsets:
            return self._absence(after)
        alike = self.tracks.alike[_mark(letter.record)]
        if not _has_id(letter) and len(offsets) + len(alike) > 2:  # noqa: PLR2004 - one of each
            return Untold("it has no event id, and equal records cannot be told apart")
        return Present(partition.partition, offsets[0])

    def _absence(self, after: int) -> Evidence:
        """Return *absent* only if every offset that could be its own was there to be read."""
        span, tracks = self.span, self.tracks
        if span.first > after + 1:
            return Untold(f"the log was deleted up to offset {span.first}, and the event may have been before it")
        if span.end < after + 1:
            return Untold(f"the log ends before offset {after + 1}: this is another topic of that name")
        if not span.in_sync:
            return Untold("a replica lags: the leader may have records that it does not show yet")
        if tracks.last_gap > after or tracks.read_to < span.end:
            return Untold("offsets are missing: the topic is compacted, or written to in transactions")
        return Absent(span.end)
