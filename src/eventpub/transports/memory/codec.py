"""The bytes of a batch in memory: what was encoded is what the log later decodes.

Not Kafka's format, but bytes all the same, so that "sent again byte for byte" means here
what it means on the wire, and a batch kept in a journal can be sent by another process.
"""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Iterable, Sequence

from eventpub.abc import Compression
from eventpub.record import Headers, Record

Row = tuple[int, bytes | None, bytes | None, Headers]
"""Timestamp, key, value and headers of one record."""

_PLAIN, _DEFLATED = b"\0", b"\1"
_FORMAT = 2  # later formats mark shared objects, and equal batches would differ in their bytes
_FASTEST = 1


class CorruptBatchError(ValueError):
    """Bytes that `encode` did not write."""


def encode(records: Sequence[Record], compression: Compression) -> bytes:
    """Return the batch of *records* as bytes; every codec is the same one here."""
    try:
        plain = marshal.dumps([(r.timestamp, r.key, r.value, r.headers) for r in records], _FORMAT)
    except ValueError:  # a subclass of str or tuple among the headers
        plain = marshal.dumps(list(_plain(records)), _FORMAT)
    return _PLAIN + plain if compression == "none" else _DEFLATED + zlib.compress(plain, _FASTEST)


def decode(data: bytes) -> list[Row]:
    """Return the rows that *data* holds.

    Raises:
        CorruptBatchError: *data* is no batch.
    """
    try:
        plain = zlib.decompress(data[1:]) if data[:1] == _DEFLATED else data[1:]
        rows = marshal.loads(plain)  # noqa: S302 - written by `encode`, here or in a journal of ours
    except (ValueError, EOFError, TypeError, zlib.error) as error:
        raise CorruptBatchError("no batch in these bytes") from error
    if not isinstance(rows, list):
        raise CorruptBatchError("no batch in these bytes")
    return rows


def _plain(records: Iterable[Record]) -> Iterable[Row]:
    for record in records:
        headers = tuple((str.__str__(name), value) for name, value in record.headers)
        yield record.timestamp or 0, record.key, record.value, headers
