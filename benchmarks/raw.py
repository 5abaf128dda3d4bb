"""One Produce request after the other on a plain socket: the broker's own round trip, no client around it."""

from __future__ import annotations

import io
import socket
import struct
import time
from typing import TYPE_CHECKING, Self

from aiokafka.protocol.produce import ProduceRequest_v8, ProduceResponse_v8
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from benchmarks.contenders import records

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZE = struct.Struct(">i")
_HEADER = struct.Struct(">hhih")  # API key, version, correlation id, length of the client id
_CORRELATION = 4  # bytes in front of an answer
_TIMEOUT_MS = 10_000
_PATIENCE = 10.0
_NOT_YET = {3, 5, 6}  # no such topic, no leader, not the leader


class RawProducer:
    """Sends the event that all contenders send, one a request, acks=all, to partition 0. Blocks.

    Args:
        address: ``host:port`` of the partition's leader.
        topic: where to.

    Raises:
        RuntimeError: the broker refuses the event.
    """

    def __init__(self, address: str, topic: str) -> None:
        host, port = address.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")
        self._request = _request(topic)
        self._wait_until_taken()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()

    def round_trips(self, seconds: float) -> Iterator[float]:
        """Yield how long each request waited for its answer, in seconds, for *seconds* in all.

        Raises:
            RuntimeError: the broker refused one.
        """
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            answer = self._ask()
            yield time.perf_counter() - began
            if code := _code(answer):
                raise RuntimeError(f"the broker refused a raw Produce request with code {code}")

    def _wait_until_taken(self) -> None:
        # A broker names itself the leader of a new topic before it is ready to be that.
        end = time.perf_counter() + _PATIENCE
        while (code := _code(self._ask())) in _NOT_YET and time.perf_counter() < end:
            time.sleep(0.05)
        if code:
            raise RuntimeError(f"the broker refused the first Produce request with code {code}")

    def _ask(self) -> bytes:
        self._socket.sendall(self._request)
        return self._answers.read(*_SIZE.unpack(self._answers.read(_SIZE.size)))


def _request(topic: str) -> bytes:
    record = records(topic)()
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    builder.append(0, record.timestamp, record.key, record.value, list(record.headers))
    topics = [(topic, [(0, bytes(builder.build()))])]
    body: bytes = ProduceRequest_v8(None, -1, _TIMEOUT_MS, topics).encode()
    content = _HEADER.pack(ProduceRequest_v8.API_KEY, ProduceRequest_v8.API_VERSION, 0, 0) + body
    return _SIZE.pack(len(content)) + content


def _code(answer: bytes) -> int:
    topics = ProduceResponse_v8.decode(io.BytesIO(answer[_CORRELATION:])).topics
    code: int = topics[0][1][0][1]
    return code
