"""Cuts what a broker sends into answers."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

from eventpub.transports.kafka.errors import NotKafkaError

if TYPE_CHECKING:
    from collections.abc import Callable

_LARGEST = 64 * 1024 * 1024
"""Metadata of some 500,000 partitions; ``HTTP`` or a TLS alert read as a size are far above."""
_SIZE = struct.Struct(">i")


class Frames(asyncio.Protocol):
    """Hands over each answer in the turn of the event loop in which its last byte comes.

    An `asyncio.StreamReader` and a task that reads it, which is aiokafka's way, take a turn more and 5 % of
    the instructions of a request with a single event.

    Args:
        stream: aiokafka's protocol, which hears of everything but data.
        take: is given each answer; what it raises ends the reading.

    Attributes:
        ended: fails with the reason for which no more answers come. Cancelled, none is handed over any more.
    """

    def __init__(self, stream: asyncio.StreamReaderProtocol, take: Callable[[bytes], object]) -> None:
        self._stream = stream
        self._take = take
        self._data = bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Hand over the answers that *data* completes."""
        self._data += data
        try:
            while not self.ended.done() and (frame := self._next()) is not None:
                self._take(frame)
        except Exception as error:  # noqa: BLE001 - whatever it is, what comes behind it cannot be trusted
            self._end(error)

    def _next(self) -> bytes | None:
        """Take an answer out of the data, if all of it is there."""
        if len(self._data) < _SIZE.size:
            return None
        (size,) = _SIZE.unpack_from(self._data)
        if not _SIZE.size <= size <= _LARGEST:
            # Its first bytes are somebody's greeting, or it wants our memory.
            raise NotKafkaError(size)
        end = _SIZE.size + size
        if len(self._data) < end:
            return None
        frame = bytes(self._data[_SIZE.size : end])
        del self._data[:end]
        return frame

    def eof_received(self) -> bool | None:
        """Hear that the broker sends no more."""
        self._end(asyncio.IncompleteReadError(bytes(self._data), None))
        return self._stream.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Hear that the socket is closed."""
        self._end(error or asyncio.IncompleteReadError(bytes(self._data), None))
        self._stream.connection_lost(error)

    def pause_writing(self) -> None:
        """Let who drains the stream wait."""
        self._stream.pause_writing()

    def resume_writing(self) -> None:
        """Let who drains the stream go on."""
        self._stream.resume_writing()

    def _end(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)
