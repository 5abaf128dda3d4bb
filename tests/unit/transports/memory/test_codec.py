"""Bytes of a batch: equal for equal records, refused if they are something else."""

from __future__ import annotations

import enum

import pytest

from eventpub.abc import Compression
from eventpub.record import Record
from eventpub.transports.memory.codec import CorruptBatchError, decode, encode

RECORDS = [
    Record("t", b"value", b"key", [("a", b"1"), ("a", None)], timestamp=1),
    Record("t", None, None, timestamp=2**62),
]
ROWS = [(1, b"key", b"value", (("a", b"1"), ("a", None))), (2**62, None, None, ())]


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_what_was_encoded_is_decoded(compression: Compression) -> None:
    """Whatever the codec."""
    assert decode(encode(RECORDS, compression)) == ROWS


def test_equal_records_have_equal_bytes() -> None:
    """However many references there are to them."""
    again = [
        Record("t", bytes(bytearray(b"value")), b"k" + b"ey", [("a", b"1"), ("a", None)], timestamp=1),
        Record("t", None, timestamp=2**62),
    ]
    assert encode(RECORDS, "none") == encode(again, "none")


def test_compression_makes_what_repeats_smaller() -> None:
    """So that a size limit means what it means on Kafka."""
    records = [Record("t", b"x" * 1000, timestamp=1)] * 10
    assert len(encode(records, "none")) > 10_000
    assert len(encode(records, "gzip")) < 1000


def test_subclasses_are_plain_in_the_log() -> None:
    """A header name may be a member of an enumeration, a value a subclass of bytes."""

    class Name(enum.StrEnum):
        A = "a"

    class Value(bytes):
        pass

    rows = decode(encode([Record("t", Value(b"v"), headers=[(Name.A, b"1")], timestamp=1)], "none"))
    assert rows == [(1, None, b"v", (("a", b"1"),))]
    assert type(rows[0][2]) is bytes
    assert type(rows[0][3][0][0]) is str


@pytest.mark.parametrize("data", [b"", b"\0", b"\1", b"\1nothing", b"\0\xff", encode(RECORDS, "none")[:-4], b"\0N"])
def test_other_bytes_are_corrupt(data: bytes) -> None:
    """Cut off, of another format, or nothing at all."""
    with pytest.raises(CorruptBatchError):
        decode(data)
