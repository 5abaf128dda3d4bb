"""Peers that are no broker: they hang, hang up or talk nonsense, at whichever stage a test wants it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import pairwise

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """Listens on a port of its own, does with each connection what it was told to, and notes when it came."""

    def __init__(self, behave: Behaviour) -> None:
        self.times: list[float] = []
        self.port = 0
        self._behave = behave
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def gaps(self) -> list[float]:
        """Seconds from each connection to the next."""
        return [later - earlier for earlier, later in pairwise(self.times)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection."""
        self.times.append(asyncio.get_running_loop().time())
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                await self._behave(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def stop(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


@contextlib.asynccontextmanager
async def playing(behave: Behaviour) -> AsyncIterator[Peer]:
    """Run a peer that behaves so."""
    peer = Peer(behave)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        await peer.stop()
        await server.wait_closed()


@contextlib.contextmanager
def unaccepting() -> Iterator[str]:
    """Keep a port whose queue of connections is full: a connect gets no answer, as from a host that is off."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):  # more than fit: some of them hang themselves
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def mute(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Accept, then neither read nor write."""
    await asyncio.Event().wait()


async def hang_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Accept and end."""


async def reset_on_hello(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """End as soon as the client has said something."""
    await reader.read(1)


def saying(answer: bytes, *, then_wait: bool = True) -> Behaviour:
    """Return a behaviour: whatever comes first, answer it so."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        if then_wait:
            await asyncio.Event().wait()

    return behave


def endless(head: bytes) -> Behaviour:
    """Return a behaviour: begin so, and send bytes for as long as somebody takes them."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(head)
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()

    return behave
