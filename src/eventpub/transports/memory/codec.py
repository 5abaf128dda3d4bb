"""The bytes of a batch in memory: what was encoded is what the log later decodes.

Not Kafka's format, but bytes all the same, so that "sent again byte for byte" means here
what it means on the wire, and a batch kept in a journal can be sent by another process.
"""

from __future__ import annotations

import marshal
from collections.abc import Sequence

from eventpub.record import Headers, Record

Row = tuple[int, bytes | None, bytes | None, Headers]
"""Timestamp, key, value and headers of one record."""


class CorruptBatchError(ValueError):
    """Bytes that `encode` did not write."""


def encode(records: Sequence[Record]) -> bytes:
    """Return the batch of *records* as bytes; compression does not exist here."""
    rows = [(record.timestamp, record.key, record.value, record.headers) for record in records]
    try:
        return marshal.dumps(rows, 2)
    except ValueError:  # a subclass of str, tuple or bytes somewhere among them
        return marshal.dumps([_plain(record) for record in records], 2)


def decode(data: bytes) -> list[Row]:
    """Return the rows that *data* holds.

    Raises:
        CorruptBatchError: *data* is no batch.
    """
    try:
        rows = marshal.loads(data)  # noqa: S302 - written by `encode` above, in this process or its journal
    except (ValueError, EOFError, TypeError) as error:
        raise CorruptBatchError("no batch in these bytes") from error
    if not isinstance(rows, list):
        raise CorruptBatchError("no batch in these bytes")
    return rows


def _plain(record: Record) -> tuple[int | None, bytes | None, bytes | None, Headers]:
    headers = tuple((str.__str__(name), value) for name, value in record.headers)
    return record.timestamp, record.key, record.value, headers
