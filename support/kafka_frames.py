"""Kafka's framing, as far as a proxy has to understand it: sizes, API keys and correlation ids.

A frame is four bytes of size and as many bytes as they say. A request names its API; a
reply does not: only its correlation id tells which request it belongs to.
"""

from __future__ import annotations

import enum
import random
import struct
from collections.abc import Iterator
from typing import NamedTuple

_SIZE = struct.Struct(">i")
_REQUEST = struct.Struct(">hhi")  # after the size: API key, version, correlation id
_CORRELATION = struct.Struct(">i")
_BODY_OF_REPLY = _SIZE.size + _CORRELATION.size

LARGEST_SIZE = 2**31 - 1


class Api(enum.IntEnum):
    """The APIs that a producer uses, by their keys."""

    PRODUCE = 0
    METADATA = 3
    SASL_HANDSHAKE = 17
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22
    SASL_AUTHENTICATE = 36


class NotAFrameError(ValueError):
    """A size that no frame has: what follows cannot be told apart any more."""


class Frame(NamedTuple):
    """One request or reply, its size included. ``api`` is ``None`` where it is not known."""

    data: bytes
    api: int | None = None
    correlation: int | None = None


class Splitter:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Return the frames that *chunk* completes.

        Raises:
            NotAFrameError: a size is negative.
        """
        self._buffer += chunk
        while len(self._buffer) >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._buffer)
            if size < 0:
                raise NotAFrameError(f"a frame of {size} bytes")
            end = _SIZE.size + size
            if len(self._buffer) < end:
                return
            yield bytes(self._buffer[:end])
            del self._buffer[:end]


def request(data: bytes) -> Frame:
    """Return a request with its API key and correlation id, where it is long enough to have them."""
    if len(data) < _SIZE.size + _REQUEST.size:
        return Frame(data)
    api, _, correlation = _REQUEST.unpack_from(data, _SIZE.size)
    return Frame(data, api, correlation)


def reply(data: bytes, asked: dict[int, int]) -> Frame:
    """Return a reply with its correlation id, and its API out of *asked* (API keys by correlation id)."""
    if len(data) < _BODY_OF_REPLY:
        return Frame(data)
    (correlation,) = _CORRELATION.unpack_from(data, _SIZE.size)
    return Frame(data, asked.pop(correlation, None), correlation)


def body(data: bytes) -> bytes:
    """Return what a reply says: the bytes after size and correlation id (reply header version 0)."""
    return data[_BODY_OF_REPLY:]


def with_size(data: bytes, size: int) -> bytes:
    """Return a frame whose size is a lie."""
    return _SIZE.pack(size) + data[_SIZE.size :]


def with_correlation(data: bytes, shift: int) -> bytes:
    """Return a reply whose correlation id is *shift* more than it should be, and the rest the same."""
    (correlation,) = _CORRELATION.unpack_from(data, _SIZE.size)
    return data[: _SIZE.size] + _CORRELATION.pack((correlation + shift) % 2**31) + data[_BODY_OF_REPLY:]


def with_noise(data: bytes, rng: random.Random) -> bytes:
    """Return a reply of the same size and correlation id that says nothing."""
    return data[:_BODY_OF_REPLY] + rng.randbytes(len(data) - _BODY_OF_REPLY)
