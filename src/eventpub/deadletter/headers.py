"""A dead letter, or what became of one, as a record of a dead-letter topic, and back.

Decides names and forms of the ``__eventpub.errors.*`` headers and nothing else: who writes the
record is ``topic``'s matter, what letters and resolutions add up to is ``fold``'s. Key, value and
headers of the original stay as they are, byte for byte; ours follow behind. The page
``docs/reference/dead-letter-headers.md`` is their reference.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar, get_args

from eventpub.delivery import PersistenceStatus
from eventpub.exceptions import EventPubError, UsageError
from eventpub.letter import Cut, DeadLetter, Resolution, Stage, Verdict
from eventpub.record import Headers, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eventpub.deadletter.logged import Logged

PREFIX = "__eventpub.errors."
VERSION = "1"
LONGEST = 1024
"""Bytes that a value of ours takes at most; what is longer is cut off."""

_FIRST = f"{PREFIX}version"
_INVALID_TIMESTAMP = 32

_T = TypeVar("_T")
_Value = str | int | float | None


class NotADeadLetterError(EventPubError, ValueError):
    """A record that was read for a dead letter is none, or was damaged; the message says where it lies."""


def encode(letter: DeadLetter, topic: str) -> Record:
    """Return *letter* as a record for the dead-letter topic *topic*; equal keys stay together there."""
    original = letter.record
    headers = (*original.headers, *_headers(_letter_fields(letter)))
    return Record(topic, original.value, original.key, headers, timestamp=_acceptable_timestamp(letter))


def encode_resolution(resolution: Resolution, topic: str) -> Record:
    """Return *resolution* as a record for *topic*: the letter's key, so that it follows it, and no value."""
    fields: dict[str, _Value] = {
        "id": resolution.id,
        "resolution": resolution.verdict,
        "resolved.at": _rfc3339(resolution.at),
        "topic": resolution.record.topic,
        "resolved.partition": resolution.partition,
        "resolved.offset": resolution.offset,
    }
    return Record(topic, None, resolution.record.key, _headers(fields), timestamp=int(resolution.at * 1000))


def decode(record: Logged) -> DeadLetter | Resolution:
    """Return what *record* of a dead-letter topic says.

    Raises:
        NotADeadLetterError: it is neither; the message names the header that is missing or cannot be read.
    """
    originals, fields = _split(record)
    try:
        if "resolution" in fields:
            return _read_resolution(record, fields)
        return _read_letter(record, originals, fields)
    except (ValueError, UsageError) as error:
        raise NotADeadLetterError(f"{_where(record)} is no dead letter that can be read: {error}") from error


def _acceptable_timestamp(letter: DeadLetter) -> int | None:
    # A time that one topic refused is refused by the next: this letter gets the time of its
    # failure, and the original's, as always, stands in a header.
    return int(letter.failed_at * 1000) if letter.kafka_code == _INVALID_TIMESTAMP else letter.record.timestamp


def _letter_fields(letter: DeadLetter) -> dict[str, _Value]:
    original = letter.record
    cut = letter.cut or Cut(*([None] * len(Cut._fields)))  # type: ignore[arg-type]  # None has no header
    return {
        "id": letter.id,
        "status": letter.status.value,
        "stage": letter.stage,
        "reason": letter.reason,
        "event.id": letter.event_id,
        "event.type": letter.event_type,
        "topic": original.topic,
        "partition": original.partition,
        "timestamp": original.timestamp,
        "profile": letter.profile,
        "exception.class.name": letter.error,
        "exception.message": letter.message,
        "kafka.code": letter.kafka_code,
        "kafka.error": letter.kafka_error,
        "attempts": letter.attempts,
        "first.attempt.at": _rfc3339(letter.first_attempt_at),
        "last.attempt.at": _rfc3339(letter.last_attempt_at),
        "failed.at": _rfc3339(letter.failed_at),
        "elapsed": letter.elapsed,
        "budget": letter.budget,
        "request.timeout": letter.request_timeout,
        "client.id": letter.client_id,
        "cut.partition": cut.partition,
        "cut.after": cut.after,
        "producer.id": cut.producer_id,
        "producer.epoch": cut.epoch,
        "sequence": cut.sequence,
        "doubtful.in": letter.doubtful_in,
        "replays": letter.replays,
    }


def _headers(fields: Mapping[str, _Value]) -> Iterator[tuple[str, bytes]]:
    """Yield *fields* as headers; the version comes first, because it marks where ours begin."""
    yield _FIRST, VERSION.encode()
    for name, value in fields.items():
        if value is not None:
            yield PREFIX + name, _clipped(str(value))


def _clipped(text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    return raw if len(raw) <= LONGEST else raw[:LONGEST].decode("utf-8", "ignore").encode()


def _rfc3339(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


class _Fields:
    """Our headers of one record by name, and how to read them."""

    def __init__(self, headers: Headers) -> None:
        self._raw = {name.removeprefix(PREFIX): value for name, value in headers}

    def __contains__(self, name: str) -> bool:
        return name in self._raw

    def optional(self, name: str, read: Callable[[str], _T]) -> _T | None:
        """Return field *name*, ``None`` without it."""
        raw = self._raw.get(name)
        if raw is None:
            return None
        try:
            return read(raw.decode())
        except ValueError as error:
            raise ValueError(f"header {PREFIX}{name} cannot be read") from error

    def required(self, name: str, read: Callable[[str], _T]) -> _T:
        """Return field *name*."""
        value = self.optional(name, read)
        if value is None:
            raise ValueError(f"header {PREFIX}{name} is missing")
        return value


class _Split(NamedTuple):
    originals: Headers
    fields: _Fields


def _split(record: Logged) -> _Split:
    """Part the original's headers from ours: those from the last version on.

    Whatever stands before it came with the original, be it named like ours, as in a dead letter
    that somebody published again as it was.
    """
    headers = record.headers
    first = max((i for i, (name, _) in enumerate(headers) if name == _FIRST), default=None)
    if first is None:
        raise NotADeadLetterError(f"{_where(record)} is no dead letter: it has no header {_FIRST}")
    if headers[first][1] != VERSION.encode():
        raise NotADeadLetterError(f"{_where(record)} is a dead letter of another version of eventpub than this")
    ours = tuple(pair for pair in headers[first:] if pair[0].startswith(PREFIX))
    return _Split(headers[:first], _Fields(ours))


def _where(record: Logged) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}"


def _read_resolution(record: Logged, fields: _Fields) -> Resolution:
    return Resolution(
        id=fields.required("id", str),
        record=Record(fields.required("topic", str), None, record.key),
        verdict=fields.required("resolution", _verdict),
        at=fields.required("resolved.at", _seconds),
        partition=fields.optional("resolved.partition", int),
        offset=fields.optional("resolved.offset", int),
    )


def _read_letter(record: Logged, originals: Headers, fields: _Fields) -> DeadLetter:
    required, optional = fields.required, fields.optional
    return DeadLetter(
        id=required("id", str),
        record=Record(
            required("topic", str),
            record.value,
            record.key,
            originals,
            optional("partition", int),
            optional("timestamp", int),
        ),
        event_id=optional("event.id", str),
        event_type=optional("event.type", str),
        profile=required("profile", str),
        status=required("status", PersistenceStatus),
        stage=required("stage", _stage),
        reason=required("reason", str),
        error=required("exception.class.name", str),
        message=required("exception.message", str),
        kafka_code=optional("kafka.code", int),
        kafka_error=optional("kafka.error", str),
        attempts=required("attempts", int),
        first_attempt_at=optional("first.attempt.at", _seconds),
        last_attempt_at=optional("last.attempt.at", _seconds),
        failed_at=required("failed.at", _seconds),
        elapsed=required("elapsed", float),
        budget=required("budget", float),
        request_timeout=required("request.timeout", float),
        client_id=required("client.id", str),
        cut=_read_cut(fields),
        doubtful_in=optional("doubtful.in", str),
        replays=required("replays", int),
    )


def _read_cut(fields: _Fields) -> Cut | None:
    if "cut.partition" not in fields:
        return None
    return Cut(
        fields.required("cut.partition", int),
        fields.optional("cut.after", int),
        fields.required("producer.id", int),
        fields.required("producer.epoch", int),
        fields.required("sequence", int),
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _stage(text: str) -> Stage:
    return _one_of(text, get_args(Stage))


def _verdict(text: str) -> Verdict:
    return _one_of(text, get_args(Verdict))


def _one_of(text: str, known: tuple[_T, ...]) -> _T:
    for value in known:
        if value == text:
            return value
    raise ValueError(f"{text[:60]!r} is not among {known}")
