"""A TCP proxy that understands Kafka's frames and breaks them on demand, one listener before each broker.

It runs in a thread with an event loop of its own. So it goes on while the client's loop is
blocked (a delay stays a delay, a held request is still released), it outlives the loop of a
single test, and nothing of it is among the tasks of the loop that a test looks at.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple, Self, TypeVar

from support import kafka_frames
from support.faults import Fault, Faults, Held, Stage
from support.kafka_frames import LARGEST_SIZE, Api, Frame, NotAFrameError
from support.loop_thread import LoopThread

_HOST = "127.0.0.1"
_CHUNK = 64 * 1024
_SMALL_BUFFER = 64 * 1024  # in the kernel: who writes to a peer that does not read shall notice soon
_TURNS_TO_BE_ACCEPTED = 5
_LOOK_AGAIN = 0.005
_FLUSHING_TAKES = 1.0
_ANSWER_TAKES = 30.0
_IN_TRANSIT = 256  # frames of one direction
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST

_Fault = TypeVar("_Fault", bound=Fault)
Act = Callable[["_Pipe", Frame], Awaitable[None]]


class Route(NamedTuple):
    """Where a proxy listens (a port of the loopback interface), and the broker behind it."""

    port: int
    upstream: tuple[str, int]


class FaultProxy:
    """Proxies before the brokers of one cluster. Use as ``with FaultProxy(routes) as proxy:``.

    Without a fault in force every byte passes. A verb puts a `Fault` into force and returns
    it; each takes ``broker=`` (default: all) and most take ``api=``. "Next" ones strike once,
    or *times* times; the others until their `Fault.stop`, or `heal`. Every verb may be called
    from any thread, also on an event loop.

    Attributes:
        connections: connections accepted so far, by broker.
        requests: requests that came so far, by (broker, API key).
    """

    def __init__(self, routes: Mapping[int, Route], *, opaque: bool = False) -> None:
        """Plan the proxies; nothing listens yet.

        Args:
            routes: by broker id; `ApacheKafka.routes` are those of a cluster.
            opaque: take bytes as they come, for TLS and what is not Kafka: faults of single
                requests and replies then strike chunks, and ``api=`` never fits.
        """
        self.connections: Counter[int] = Counter()
        self.requests: Counter[tuple[int, int]] = Counter()
        self.faults = Faults()
        self.opaque = opaque
        self._routes = dict(routes)
        self._thread = LoopThread("fault proxy")
        self._servers: dict[int, asyncio.Server] = {}
        self._open: dict[_Connection, asyncio.Task[None]] = {}

    @classmethod
    def before(cls, bootstrap_servers: str, ports: list[int], *, opaque: bool = False) -> Self:
        """Plan proxies on *ports* before ``host:port,host:port``: they are brokers 1, 2 and so on."""
        upstreams = [address.rsplit(":", 1) for address in bootstrap_servers.split(",")]
        routes = {
            i: Route(port, (host, int(upstream)))
            for i, (port, (host, upstream)) in enumerate(zip(ports, upstreams, strict=True), 1)
        }
        return cls(routes, opaque=opaque)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen on all ports."""
        self._thread.start()
        try:
            self._thread.call(self._listen(list(self._routes)))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End every connection and listen no more. Safe to call twice."""
        if self._servers:
            self.faults.stop()
            self._thread.call(self._close())
        self._thread.stop()

    @property
    def bootstrap_servers(self) -> str:
        """``host:port,host:port`` of the proxies."""
        return ",".join(f"{_HOST}:{route.port}" for route in self._routes.values())

    @property
    def url(self) -> str:
        """The target for a ``Publisher`` that goes through the proxies."""
        return f"kafka://{self.bootstrap_servers}"

    @property
    def effects(self) -> Counter[str]:
        """How often each verb struck so far."""
        return self.faults.effects

    def heal(self) -> None:
        """End every fault that lasts, forget those that did not strike yet, drop what is held."""
        self.faults.stop()

    # --- single replies and requests -----------------------------------------------

    def lose_next_ack(self, *, broker: int | None = None, api: int = Api.PRODUCE, times: int = 1) -> Fault:
        """Drop the next reply to a Produce request (or to *api*), and close the connection."""
        return self._add("lose_next_ack", Stage.REPLY, _lose, broker, api, times)

    def swallow_next_ack(self, *, broker: int | None = None, api: int = Api.PRODUCE, times: int = 1) -> Fault:
        """Drop the next reply to a Produce request (or to *api*), and keep the connection open."""
        return self._add("swallow_next_ack", Stage.REPLY, _swallow, broker, api, times)

    def hold_next_request(self, *, broker: int | None = None, api: int = Api.PRODUCE) -> Held:
        """Keep the next Produce request (or of *api*) back until `Held.release`.

        Later requests of its connection overtake it. The client may go meanwhile: the
        broker's side of the connection stays open until the broker has answered.
        """
        held = Held(self._thread.soon, "hold_next_request", [Stage.REQUEST], broker=broker, api=api)
        held.act = partial(_hold, held)
        return self._enforce(held)

    def cut_next_reply(self, after: int, *, broker: int | None = None, api: int | None = None, times: int = 1) -> Fault:
        """Pass the first *after* bytes of the next reply, size included, and close the connection."""
        return self._add("cut_next_reply", Stage.REPLY, _cut(after), broker, api, times)

    def cut_next_request(
        self, after: int, *, broker: int | None = None, api: int | None = None, times: int = 1
    ) -> Fault:
        """Pass the first *after* bytes of the next request, size included, and close the connection."""
        return self._add("cut_next_request", Stage.REQUEST, _cut(after), broker, api, times)

    def garble_next_reply(
        self, *, seed: int = 0, broker: int | None = None, api: int | None = None, times: int = 1
    ) -> Fault:
        """Put noise in the place of what the next reply says; its size and correlation id stay."""
        return self._add("garble_next_reply", Stage.REPLY, _garble(random.Random(seed)), broker, api, times)

    def misnumber_next_reply(
        self, shift: int = 1, *, broker: int | None = None, api: int | None = None, times: int = 1
    ) -> Fault:
        """Give the next reply a correlation id that is *shift* too large."""
        return self._add("misnumber_next_reply", Stage.REPLY, _misnumber(shift), broker, api, times)

    def missize_next_reply(
        self, size: int = LARGEST_SIZE, *, broker: int | None = None, api: int | None = None, times: int = 1
    ) -> Fault:
        """Let the next reply say that it is *size* bytes long; negative is possible."""
        return self._add("missize_next_reply", Stage.REPLY, _missize(size), broker, api, times)

    # --- what lasts ----------------------------------------------------------------

    def trickle(
        self,
        every: float = 1.0,
        *,
        replies: bool = True,
        broker: int | None = None,
        api: int | None = None,
        times: int | None = None,
    ) -> Fault:
        """Pass replies (else requests) one byte every *every* seconds."""
        stage = Stage.REPLY if replies else Stage.REQUEST
        return self._add("trickle", stage, _trickle(every), broker, api, times)

    def black_hole(self, *, broker: int | None = None, api: int | None = None) -> Fault:
        """Accept connections and requests, and let none of them reach the broker; nor any reply the client."""
        return self._enforce(Fault("black_hole", [Stage.REQUEST, Stage.REPLY], _swallow, broker=broker, api=api))

    def latency(
        self,
        seconds: float,
        jitter: float = 0.0,
        *,
        seed: int = 0,
        broker: int | None = None,
        api: int | None = None,
    ) -> Fault:
        """Let each request, and each reply, take *seconds* and up to *jitter* more; order is kept."""
        rng = random.Random(seed)
        return self._add("latency", Stage.DELAY, lambda: seconds + rng.uniform(0, jitter), broker, api, None)

    def stop_reading(self, *, broker: int | None = None, api: int | None = None) -> Fault:
        """Take no more bytes from clients, so that their writes stall; counts connections that wrote.

        With *api*: on connections over which such a request came before.
        """
        return self._add("stop_reading", Stage.READ, None, broker, api, None)

    def refuse(self, *, broker: int | None = None) -> Fault:
        """Reset every connection there is, and each new one as soon as it was accepted."""
        fault = self._add("refuse", Stage.ACCEPT, None, broker, None, None)
        fault.count(times=self._thread.call(self._reset(broker)))
        return fault

    def close_port(self, *, broker: int | None = None) -> Fault:
        """Reset every connection there is, and listen no more: new ones are refused by the kernel.

        Counts the ports and the connections; nobody can count who is refused.
        """
        brokers = [id_ for id_ in self._routes if broker in {None, id_}]
        fault = self._add("close_port", Stage.NOW, None, broker, None, None)
        self._thread.call(self._stop_listening(brokers))
        fault.count(times=len(brokers) + self._thread.call(self._reset(broker)))
        fault.on_stop(lambda: self._thread.call(self._listen(brokers)))
        return fault

    def reset_connections(self, *, broker: int | None = None) -> Fault:
        """Reset every connection there is now (RST); new ones are welcome."""
        fault = self._add("reset_connections", Stage.NOW, None, broker, None, None)
        fault.count(times=self._thread.call(self._reset(broker)))
        fault.stop()
        return fault

    def _add(
        self, verb: str, stage: Stage, act: object, broker: int | None, api: int | None, times: int | None
    ) -> Fault:
        return self._enforce(Fault(verb, [stage], act, broker=broker, api=api, times=times))

    def _enforce(self, fault: _Fault) -> _Fault:
        if fault.broker is not None and fault.broker not in self._routes:
            raise ValueError(f"there is no broker {fault.broker}, only {list(self._routes)}")
        self.faults.add(fault)
        return fault

    # --- in the thread -------------------------------------------------------------

    async def _listen(self, brokers: list[int]) -> None:
        for broker in brokers:
            listener = socket.create_server((_HOST, self._routes[broker].port))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
            self._servers[broker] = await asyncio.start_server(
                lambda reader, writer, broker=broker: self._accept(broker, reader, writer),  # type: ignore[misc]
                sock=listener,
                limit=_CHUNK,
            )

    async def _accept(self, broker: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections[broker] += 1
        if self.faults.take(Stage.ACCEPT, broker):
            _reset(writer)
            return
        connection = _Connection(self, broker, self._routes[broker], reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._open[connection] = task
        try:
            # Only `_close` cancels, and the streams of Python 3.11 log a cancelled handler as an error.
            with contextlib.suppress(asyncio.CancelledError):
                await connection.run()
        finally:
            del self._open[connection]

    async def _stop_listening(self, brokers: list[int]) -> None:
        for broker in brokers:
            self._servers[broker].close()

    async def _reset(self, broker: int | None) -> int:
        meant = [connection for connection in self._open if broker in {None, connection.broker}]
        for connection in meant:
            connection.reset()
        return len(meant)

    async def _close(self) -> None:
        for server in self._servers.values():
            server.close()
        for _ in range(_TURNS_TO_BE_ACCEPTED):  # else a socket accepted just now would stay open
            await asyncio.sleep(0)
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._servers = {}


class _Connection:
    """One client's connection and, from its first request that passes, one to the broker."""

    def __init__(
        self,
        proxy: FaultProxy,
        broker: int,
        route: Route,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.proxy = proxy
        self.broker = broker
        self.asked: dict[int, int] = {}
        self.apis: set[int | None] = {None}
        self._route = route
        self._reader = reader
        self._client = writer
        self._upstream: asyncio.StreamWriter | None = None
        self._replies: asyncio.Task[None] | None = None
        self._held: set[asyncio.Task[None]] = set()
        self._late: dict[int | None, asyncio.Future[bytes]] = {}

    async def run(self) -> None:
        """Pass what comes, until the client has gone and what was held of its requests has landed."""
        requests = _Pipe(self, Stage.REQUEST, self._reader, self.to_broker)
        try:
            await requests.run()
            self._client.transport.abort()
            if self._held:
                await asyncio.wait(self._held)
            if self._upstream is not None:
                await _flush(self._upstream)
        finally:
            for task in filter(None, [*self._held, self._replies]):
                task.cancel()
            self._client.transport.abort()
            if self._upstream is not None:
                self._upstream.transport.abort()

    async def to_broker(self, data: bytes) -> None:
        """Write to the broker; the first time, connect to it. If it is not there, the client is reset."""
        if self._upstream is None:
            try:
                reader, self._upstream = await asyncio.open_connection(*self._route.upstream, limit=_CHUNK)
            except OSError:
                self.reset()
                return
            self._replies = asyncio.create_task(self._pass_replies(reader))
        self._upstream.write(data)
        await self._upstream.drain()

    async def _pass_replies(self, reader: asyncio.StreamReader) -> None:
        await _Pipe(self, Stage.REPLY, reader, self._to_client).run()
        await _flush(self._client)
        self._client.transport.abort()

    async def _to_client(self, data: bytes) -> None:
        if not self._client.is_closing():
            self._client.write(data)
            # A client that went is no reason to stop: the broker may still have to answer what was held.
            with contextlib.suppress(OSError):
                await self._client.drain()

    def describe(self, stage: Stage, data: bytes) -> Frame:
        """Return *data* with what its header says, and keep that in mind."""
        if self.proxy.opaque:
            return Frame(data)
        if stage is Stage.REPLY:
            frame = kafka_frames.reply(data, self.asked)
            if (awaited := self._late.pop(frame.correlation, None)) is not None:
                awaited.set_result(data)
            return frame
        frame = kafka_frames.request(data)
        if frame.api is not None and frame.correlation is not None:
            self.asked[frame.correlation] = frame.api
            self.apis.add(frame.api)
            self.proxy.requests[self.broker, frame.api] += 1
        return frame

    def hold(self, frame: Frame, held: Held) -> None:
        """Keep *frame* back."""
        self._held.add(asyncio.create_task(self._land(frame, held)))

    async def _land(self, frame: Frame, held: Held) -> None:
        if not await held.until_released():
            return
        answer = self._late[frame.correlation] = asyncio.get_running_loop().create_future()
        with contextlib.suppress(OSError):
            await self.to_broker(frame.data)
        if self._replies is not None:
            awaited = {answer, self._replies}
            await asyncio.wait(awaited, timeout=_ANSWER_TAKES, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            held.answered(answer.result())

    def reset(self) -> None:
        """End the client's side with RST."""
        _reset(self._client)

    async def close(self) -> None:
        """End the client's side, after what was written to it has left, and with it all of the connection."""
        await _flush(self._client)
        self._client.transport.abort()

    async def end(self) -> None:
        """End both sides, after what was written has left."""
        if self._upstream is not None:
            await _flush(self._upstream)
            self._upstream.transport.abort()
        await self.close()


class _Pipe:
    """One direction of a connection. Takes frames in, and passes each on when it is due, or lets a fault have it."""

    def __init__(
        self,
        connection: _Connection,
        stage: Stage,
        reader: asyncio.StreamReader,
        write: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self.connection = connection
        self.write = write
        self._stage = stage
        self._reader = reader
        self._faults = connection.proxy.faults
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[float, Frame] | None] = asyncio.Queue(_IN_TRANSIT)
        self._free_at = 0.0
        self._stalled_by: set[Fault] = set()

    async def run(self) -> None:
        """Return when the side that is read from has ended, and all that came from it was passed on."""
        intake = asyncio.create_task(self._take_in())
        try:
            with contextlib.suppress(OSError):
                while (item := await self._queue.get()) is not None:
                    due, frame = item
                    if (early := due - self._loop.time()) > 0:
                        await asyncio.sleep(early)
                    await self._pass_on(frame)
        finally:
            intake.cancel()

    async def _take_in(self) -> None:
        splitter = kafka_frames.Splitter()
        with contextlib.suppress(OSError, NotAFrameError):
            while chunk := await self._reader.read(_CHUNK):
                await self._while_nothing_is_read()
                for data in [chunk] if self.connection.proxy.opaque else splitter.feed(chunk):
                    frame = self.connection.describe(self._stage, data)
                    await self._queue.put((self._due(frame), frame))
        await self._queue.put(None)

    async def _while_nothing_is_read(self) -> None:
        connection = self.connection
        while self._stage is Stage.REQUEST and (
            fault := self._faults.find(Stage.READ, connection.broker, connection.apis)
        ):
            if fault not in self._stalled_by:
                self._stalled_by.add(fault)
                fault.count()
            await asyncio.sleep(_LOOK_AGAIN)

    def _due(self, frame: Frame) -> float:
        now = self._loop.time()
        fault = self._faults.take(Stage.DELAY, self.connection.broker, frame.api)
        self._free_at = max(self._free_at, now + fault.act() if fault else now)
        return self._free_at

    async def _pass_on(self, frame: Frame) -> None:
        fault = self._faults.take(self._stage, self.connection.broker, frame.api, frame.data)
        if fault is None:
            await self.write(frame.data)
        else:
            await fault.act(self, frame)


# --- what faults do ---------------------------------------------------------------------


async def _lose(pipe: _Pipe, _frame: Frame) -> None:
    await pipe.connection.close()


async def _swallow(_pipe: _Pipe, _frame: Frame) -> None:
    pass


async def _hold(held: Held, pipe: _Pipe, frame: Frame) -> None:
    pipe.connection.hold(frame, held)


def _cut(after: int) -> Act:
    async def cut(pipe: _Pipe, frame: Frame) -> None:
        await pipe.write(frame.data[:after])
        await pipe.connection.end()

    return cut


def _garble(rng: random.Random) -> Act:
    async def garble(pipe: _Pipe, frame: Frame) -> None:
        await pipe.write(kafka_frames.with_noise(frame.data, rng))

    return garble


def _misnumber(shift: int) -> Act:
    async def misnumber(pipe: _Pipe, frame: Frame) -> None:
        await pipe.write(kafka_frames.with_correlation(frame.data, shift))

    return misnumber


def _missize(size: int) -> Act:
    async def missize(pipe: _Pipe, frame: Frame) -> None:
        await pipe.write(kafka_frames.with_size(frame.data, size))

    return missize


def _trickle(every: float) -> Act:
    async def trickle(pipe: _Pipe, frame: Frame) -> None:
        for i in range(len(frame.data)):
            await pipe.write(frame.data[i : i + 1])
            await asyncio.sleep(every)

    return trickle


def _reset(writer: asyncio.StreamWriter) -> None:
    kernel = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def _flush(writer: asyncio.StreamWriter) -> None:
    """Let what was written leave, for a moment; nobody is waited for who does not read."""
    writer.transport.set_write_buffer_limits(high=0)
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_FLUSHING_TAKES):
            await writer.drain()
