"""Record batches (magic 2) as Kafka stores them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiokafka import codec
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from eventpub.abc import (
    Compression,
    Stamp,
    WireBatch,
)
from eventpub.exceptions import ConfigurationError
from eventpub.record import Record

_CODECS: dict[Compression, int] = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_HAS_CODEC: dict[Compression, Callable[[], bool]] = {
    "snappy": codec.has_snappy,
    "lz4": codec.has_lz4,
    "zstd": codec.has_zstd,
}
_MAGIC = 2
_UNLIMITED = 2**31 - 1  # what fits is decided before


def check_compression(compression: Compression) -> None:
    """Refuse a codec whose library is not installed.

    Raises:
        ConfigurationError: naming the extra to install.
    """
    if compression in _HAS_CODEC and not _HAS_CODEC[compression]():
        fix = 'install "eventpub[compression]", or use gzip or none'
        raise ConfigurationError.of("compression", f"{compression} needs the package cramjam", fix)


def encode(records: Sequence[Record], stamp: Stamp, compression: Compression) -> WireBatch:
    """Encode *records* into one batch (magic 2). Their timestamps are set."""
    check_compression(compression)
    builder = DefaultRecordBatchBuilder(_MAGIC, _CODECS[compression], 0, *stamp, _UNLIMITED)
    append = builder.append
    for index, (_, value, key, headers, _, timestamp) in enumerate(records):
        append(index, timestamp, key, value, list(headers))
    return WireBatch(bytes(builder.build()), len(records), stamp)
