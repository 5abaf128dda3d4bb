"""What no client on this event loop could leave out: the floor below all of them.

The same events, encoded and batched as eventpub's, in idempotent Produce requests to one broker, one at a
time, and a future for each event. No budgets, no retries, no limits, no metadata, no telemetry, no outcome
but "acknowledged": an error ends the benchmark. What eventpub takes beyond this is what its promise costs;
what this takes, a target has to leave room for.
"""

from __future__ import annotations

import asyncio
import io
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka.protocol.produce import ProduceRequest_v8, ProduceResponse_v8
from aiokafka.protocol.transaction import InitProducerIdRequest_v0, InitProducerIdResponse_v0
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from benchmarks.node import PARTITIONS
from eventpub.partitioner import partitions_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiokafka.protocol.api import RequestStruct

    from eventpub import Record

_SIZE = struct.Struct(">i")
_HEADER = struct.Struct(">hhih")  # API key, version, correlation id, length of the client id
_HEAD = 8  # bytes of an answer's size and correlation id
_TIMEOUT_MS = 10_000
_NO_TRANSACTION = 2**31 - 1
_TOGETHER = 48  # told in one turn of the loop, or half of those left, as eventpub does

Waiting = list[tuple["Record", "asyncio.Future[object]"]]


class Floor(asyncio.Protocol):
    """One connection, one request in flight, and who waits for the next."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._loop = asyncio.get_running_loop()
        self._waiting: Waiting = []
        self._sent: dict[int, Waiting] = {}
        self._sequences = [0] * PARTITIONS
        self._producer = (-1, -1)
        self._answer = bytearray()
        self._answered: Callable[[bytes], None] = self._begin
        self._told: Waiting = []
        self._due = False
        self.ready: asyncio.Future[object] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a producer id."""
        assert isinstance(transport, asyncio.Transport)  # of `create_connection`
        self.transport = transport
        self._ask(InitProducerIdRequest_v0(None, _NO_TRANSACTION))

    def connection_lost(self, error: Exception | None) -> None:
        """End all that wait: a benchmark needs no more."""
        for _, waiter in [*self._waiting, *(each for sent in self._sent.values() for each in sent), *self._told]:
            if not waiter.done():
                waiter.set_exception(error or ConnectionError("the connection ended"))

    def data_received(self, data: bytes) -> None:
        """Take an answer as soon as all of it is there."""
        self._answer += data
        if len(self._answer) >= _SIZE.size and len(self._answer) >= _SIZE.size + _SIZE.unpack_from(self._answer)[0]:
            body = bytes(self._answer[_HEAD:])
            self._answer.clear()
            self._answered(body)

    def publish(self, record: Record) -> asyncio.Future[object]:
        """Let *record* go with the next request."""
        waiter: asyncio.Future[object] = self._loop.create_future()
        self._waiting.append((record, waiter))
        self._send_soon()
        return waiter

    def _begin(self, body: bytes) -> None:
        answer = InitProducerIdResponse_v0.decode(io.BytesIO(body))
        self._producer = (answer.producer_id, answer.producer_epoch)
        self._answered = self._acknowledged
        self.ready.set_result(None)

    def _send_soon(self) -> None:
        if self._waiting and not self._sent and not self._due:
            self._due = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._due = False
        waiting, self._waiting = self._waiting, []
        chosen = partitions_for([record.key or b"" for record, _ in waiting], PARTITIONS)
        for partition, each in zip(chosen, waiting, strict=True):
            self._sent.setdefault(partition, []).append(each)
        batches = [(partition, self._batch(partition, sent)) for partition, sent in self._sent.items()]
        self._ask(ProduceRequest_v8(None, -1, _TIMEOUT_MS, [(self._topic, batches)]))

    def _batch(self, partition: int, sent: Waiting) -> bytes:
        builder = DefaultRecordBatchBuilder(2, 0, 0, *self._producer, self._sequences[partition], 2**31 - 1)
        for index, (record, _) in enumerate(sent):
            builder.append(index, record.timestamp, record.key, record.value, list(record.headers))
        return bytes(builder.build())

    def _ask(self, request: RequestStruct) -> None:
        content = _HEADER.pack(request.API_KEY, request.API_VERSION, 0, 0) + request.encode()
        self.transport.write(_SIZE.pack(len(content)) + content)

    def _acknowledged(self, body: bytes) -> None:
        ((_, answers),) = ProduceResponse_v8.decode(io.BytesIO(body)).topics
        for partition, code, *_ in answers:
            sent = self._sent.pop(partition)
            if code:
                self.transport.abort()
                raise RuntimeError(f"partition {partition}: the broker answered with code {code}")
            self._sequences[partition] += len(sent)
            self._told += sent
        self._send_soon()
        self._tell()

    def _tell(self) -> None:
        most = max(_TOGETHER, len(self._told) // 2)
        now, self._told = self._told[:most], self._told[most:]
        for _, waiter in now:
            if not waiter.done():
                waiter.set_result(None)
        if self._told:
            self._loop.call_soon(self._tell)


@asynccontextmanager
async def connected(bootstrap_servers: str, topic: str) -> AsyncIterator[Callable[[Record], asyncio.Future[object]]]:
    """Yield what publishes a record to *topic*, all partitions of which the first broker leads."""
    host, port = bootstrap_servers.rsplit(":", 1)
    transport, client = await asyncio.get_running_loop().create_connection(lambda: Floor(topic), host, int(port))
    try:
        await client.ready
        yield client.publish
    finally:
        transport.abort()
