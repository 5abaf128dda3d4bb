"""A broker played by the test: answers what a transport asks, unless it is told to do otherwise.

It keeps no log. What it can do and a real one cannot: stay silent, answer garbage, throttle,
end connections, let a SASL session end soon.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka.protocol.admin import (
    SaslAuthenticateRequest_v1,
    SaslAuthenticateResponse_v1,
    SaslHandShakeRequest_v1,
    SaslHandShakeResponse_v1,
)
from aiokafka.protocol.metadata import MetadataRequest_v5, MetadataResponse_v5
from aiokafka.protocol.produce import ProduceRequest_v8, ProduceResponse_v7, ProduceResponse_v8
from aiokafka.protocol.transaction import InitProducerIdResponse_v0

PRODUCE, METADATA, SASL_HANDSHAKE, API_VERSIONS, INIT_PRODUCER_ID, SASL_AUTHENTICATE = 0, 3, 17, 18, 22, 36
AUTHENTICATION_FAILED, UNSUPPORTED_MECHANISM = 58, 33
NO_ANSWER = b""


@dataclass
class Received:
    """One request: which API, on which connection, and what was in it."""

    api: int
    version: int
    correlation: int
    body: bytes
    connection: int

    @property
    def produce(self) -> Any:
        """The request as a Produce request."""
        return ProduceRequest_v8.decode(self.body)


Answer = Callable[[Received], bytes]


@dataclass
class FakeBroker:
    """One broker on a port of its own. The topic ``t`` has *partitions* partitions, all led by it."""

    node: int = 1
    partitions: int = 4
    tls: Any = None
    produce_versions: tuple[int, int] = (0, 8)
    sasl: str | None = None
    password: str = "app-pw"
    session_lifetime: float = 0.0
    silent: set[int] = field(default_factory=set)
    answers: dict[int, Answer] = field(default_factory=dict)
    raw: dict[int, Callable[[Received], bytes]] = field(default_factory=dict)
    peers: list[FakeBroker] = field(default_factory=list)
    leaders: dict[int, int] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    accepted: int = 0
    port: int = 0
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _offset: int = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the port it had before, if it had one."""
        self.reading.set()
        self.answering.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection, and refuse new ones."""
        assert self._server is not None
        self._server.close()
        self.reading.set()
        self.answering.set()
        self.drop()
        await self._server.wait_closed()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def drop(self) -> None:
        """End every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    def stall(self) -> None:
        """Take no more bytes from any connection, until `go_on`."""
        self.reading.clear()
        for writer in self._writers:
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport of both kinds

    def go_on(self) -> None:
        """Read again, what came meanwhile first."""
        for writer in self._writers:
            writer.transport.resume_reading()  # type: ignore[attr-defined]  # a transport of both kinds
        self.reading.set()

    def count(self, api: int) -> int:
        """How many requests of that kind came."""
        return sum(request.api == api for request in self.received)

    async def until(self, api: int, count: int = 1) -> None:
        """Return when that many requests of that kind have come."""
        while self.count(api) < count:  # noqa: ASYNC110 - a test may wait a few milliseconds too long
            await asyncio.sleep(0.005)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = self.accepted
        if (task := asyncio.current_task()) is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await self.reading.wait()
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                answer = self._handle(await reader.readexactly(size), connection)
                if self.received[-1].api == PRODUCE:
                    await self.answering.wait()
                writer.write(answer)
                await writer.drain()
        self._writers.discard(writer)
        writer.transport.abort()

    def _handle(self, frame: bytes, connection: int) -> bytes:
        api, version, correlation, client = struct.unpack(">hhih", frame[:10])
        request = Received(api, version, correlation, frame[10 + client :], connection)
        self.received.append(request)
        if api in self.silent:
            return NO_ANSWER
        if api in self.raw:
            return self.raw[api](request)
        body = self.answers.get(api, self._answer)(request)
        return NO_ANSWER if body == NO_ANSWER else framed(request.correlation, body)

    def _answer(self, request: Received) -> bytes:
        usual: dict[int, Answer] = {
            API_VERSIONS: self._versions,
            METADATA: self.metadata,
            INIT_PRODUCER_ID: lambda _: bytes(InitProducerIdResponse_v0(0, 0, 7, 0).encode()),
            PRODUCE: self.produced,
            SASL_HANDSHAKE: self._handshake,
            SASL_AUTHENTICATE: self._authenticate,
        }
        return usual[request.api](request)

    def _versions(self, _: Received) -> bytes:
        apis = {
            PRODUCE: self.produce_versions,
            METADATA: (0, 5),
            SASL_HANDSHAKE: (0, 1),
            API_VERSIONS: (0, 0),
            INIT_PRODUCER_ID: (0, 0),
            SASL_AUTHENTICATE: (0, 1),
        }
        entries = b"".join(struct.pack(">hhh", api, *versions) for api, versions in apis.items())
        return struct.pack(">hi", 0, len(apis)) + entries

    def metadata(self, request: Received) -> bytes:
        """Describe the cluster, and the topics asked for."""
        brokers = [(b.node, "127.0.0.1", b.port, None) for b in (self, *self.peers)]
        topics = [self._topic(name) for name in MetadataRequest_v5.decode(request.body).topics or []]
        return bytes(MetadataResponse_v5(0, brokers, "cluster", self.node, topics).encode())

    def _topic(self, name: str) -> tuple[Any, ...]:
        if name != "t":
            return (3, name, False, [])
        leaders: list[Any] = [(0, n, self.leaders.get(n, self.node), [1], [1], []) for n in range(self.partitions)]
        return (0, name, False, leaders)

    def produced(self, request: Received, code: int = 0, throttle: float = 0.0) -> bytes:
        """Answer each batch with *code*."""
        topics: list[Any] = [
            (topic, [(number, code, self._next() if code == 0 else -1, -1, 0, [], None) for number, _ in batches])
            for topic, batches in request.produce.topics
        ]
        if request.produce.required_acks == 0:
            return NO_ANSWER
        if request.version == 7:
            old = [(topic, [answer[:5] for answer in answers]) for topic, answers in topics]
            return bytes(ProduceResponse_v7(old, int(throttle * 1000)).encode())
        return bytes(ProduceResponse_v8(topics, int(throttle * 1000)).encode())

    def _next(self) -> int:
        self._offset += 1
        return self._offset - 1

    def _handshake(self, request: Received) -> bytes:
        wanted = SaslHandShakeRequest_v1.decode(request.body).mechanism
        code = 0 if wanted == self.sasl else UNSUPPORTED_MECHANISM
        return bytes(SaslHandShakeResponse_v1(code, [self.sasl]).encode())

    def _authenticate(self, request: Received) -> bytes:
        known = self.password.encode() in SaslAuthenticateRequest_v1.decode(request.body).sasl_auth_bytes
        code, text = (0, None) if known else (AUTHENTICATION_FAILED, "Authentication failed: invalid credentials")
        lifetime = int(self.session_lifetime * 1000)
        return bytes(SaslAuthenticateResponse_v1(code, text, b"", lifetime).encode())


def framed(correlation: int, body: bytes) -> bytes:
    """Return an answer as it goes over the wire."""
    return struct.pack(">ii", len(body) + 4, correlation) + body


@contextlib.asynccontextmanager
async def running(*brokers: FakeBroker) -> AsyncIterator[None]:
    """Run *brokers* as one cluster."""
    for broker in brokers:
        await broker.start()
    for broker in brokers:
        broker.peers = [other for other in brokers if other is not broker]
    try:
        yield
    finally:
        for broker in brokers:
            await broker.stop()
