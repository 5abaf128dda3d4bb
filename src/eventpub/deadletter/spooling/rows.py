"""A dead letter as a row of the spool, and back; whether a row is still what was written.

Two checksums: one of the letter as it was written, one of what became of it, so that a change of
the latter need not read the payload. Each is the CRC-32 of the columns as a JSON array, followed by
the bytes of the blobs, for which the array holds their lengths.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from eventpub.delivery import PersistenceStatus
from eventpub.letter import Cut, DeadLetter, Resolution
from eventpub.record import Headers, new_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventpub.letter import Verdict

_CUT = ("cut_partition", "cut_after", "producer_id", "epoch", "sequence")
_NO_CUT = (None,) * len(_CUT)

WRITTEN = (
    *("id", "topic", "key", "value", "headers", "partition", "timestamp"),
    *("event_id", "event_type", "profile", "status", "stage", "reason", "error", "message"),
    *("kafka_code", "kafka_error", "attempts", "first_attempt_at", "last_attempt_at", "failed_at"),
    *("elapsed", "budget", "request_timeout", "client_id"),
    *_CUT,
    "doubtful_in",
)
"""Columns of a letter as it was written; a column ``checksum`` follows."""

FATE = ("replays", "verdict", "resolved_partition", "resolved_offset", "resolved_at")
"""Columns of what became of it; a column ``fate_checksum`` follows."""

COLUMNS = (*WRITTEN, "checksum", *FATE, "fate_checksum")


_canonical = json.JSONEncoder(separators=(",", ":")).encode


class Fate(NamedTuple):
    """What became of a letter so far: how many replays failed, and the winning verdict."""

    replays: int
    verdict: Verdict | None = None
    partition: int | None = None
    offset: int | None = None
    at: float | None = None


def encode(letter: DeadLetter) -> tuple[Any, ...]:
    """Return *letter* as the values of `COLUMNS`."""
    written = tuple(map(_storable, _written(letter)))
    fate = Fate(letter.replays)
    return (*written, checksum(written), *fate, checksum((letter.id, *fate)))


def decode(row: tuple[Any, ...]) -> tuple[DeadLetter, Resolution | None]:
    """Return what *row*, values of `COLUMNS`, says: the letter, and what became of it.

    Raises:
        ValueError: it is damaged; the message says which part of it.
    """
    written, rest = row[: len(WRITTEN)], row[len(WRITTEN) :]
    if checksum(written) != rest[0]:
        raise ValueError("the letter is not what was written: its checksum is wrong")
    fate = read_fate(written[0], rest[1:])
    letter = _letter(dict(zip(WRITTEN, written, strict=True)), fate.replays)
    return letter, _resolution(letter, fate)


def read_fate(letter_id: str, values: tuple[Any, ...]) -> Fate:
    """Return what the values of `FATE` and their checksum say.

    Raises:
        ValueError: they are damaged.
    """
    *fate, found = values
    if checksum((letter_id, *fate)) != found:
        raise ValueError("what became of the letter cannot be told: its checksum is wrong")
    return Fate(*fate)


def checksum(values: Iterable[Any]) -> int:
    """Return the CRC-32 of *values*: text, numbers, bytes and ``None``."""
    values = tuple(values)
    blobs = [value for value in values if type(value) is bytes]
    plain = [{"bytes": len(value)} if type(value) is bytes else value for value in values]
    crc = zlib.crc32(_canonical(plain).encode())
    for blob in blobs:
        crc = zlib.crc32(blob, crc)
    return crc


def _storable(value: Any) -> Any:
    # SQLite takes no lone surrogate, which the system's words for a path may hold.
    if type(value) is str and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def _written(letter: DeadLetter) -> tuple[Any, ...]:
    record = letter.record
    return (
        *(letter.id, record.topic, record.key, record.value, _json(record.headers)),
        *(record.partition, record.timestamp),
        *(letter.event_id, letter.event_type, letter.profile),
        *(letter.status.value, letter.stage, letter.reason, letter.error, letter.message),
        *(letter.kafka_code, letter.kafka_error, letter.attempts),
        *map(_real, (letter.first_attempt_at, letter.last_attempt_at, letter.failed_at)),
        *map(_real, (letter.elapsed, letter.budget, letter.request_timeout)),
        letter.client_id,
        *(letter.cut or _NO_CUT),
        letter.doubtful_in,
    )


def _real(seconds: float | None) -> float | None:
    # As it will come back, for the checksum: 5 as 5.0, and -0.0 as 0.0.
    return None if seconds is None else float(seconds) + 0.0


def _letter(row: dict[str, Any], replays: int) -> DeadLetter:
    key, value, headers = row.pop("key"), row.pop("value"), _headers(row.pop("headers"))
    record = new_record((row.pop("topic"), value, key, headers, row.pop("partition"), row.pop("timestamp")))
    cut = tuple(row.pop(name) for name in _CUT)
    status = PersistenceStatus(row.pop("status"))
    return DeadLetter(record=record, status=status, cut=None if cut == _NO_CUT else Cut(*cut), replays=replays, **row)


def _resolution(letter: DeadLetter, fate: Fate) -> Resolution | None:
    if fate.verdict is None or fate.at is None:
        return None
    return Resolution(
        id=letter.id,
        record=letter.record,
        verdict=fate.verdict,
        at=fate.at,
        partition=fate.partition,
        offset=fate.offset,
    )


def _json(headers: Headers) -> str:
    return _canonical([[name, None if raw is None else base64.b64encode(raw).decode()] for name, raw in headers])


def _headers(text: str) -> Headers:
    return tuple((name, None if raw is None else base64.b64decode(raw)) for name, raw in json.loads(text))
