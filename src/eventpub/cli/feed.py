"""Lines as they come out of a file, a pipe or a keyboard, without holding up the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

_CHUNK = 64 * 1024
_AHEAD = 4  # chunks that are read before anybody asks for them


@contextlib.contextmanager
def opened(file: Path | None) -> Iterator[io.FileIO]:
    """Open *file*, or stdin."""
    # A reader of its own for stdin: the interpreter waits at its end for the lock of sys.stdin,
    # which a thread that still reads would hold.
    with io.FileIO(sys.stdin.fileno() if file is None else file, closefd=file is not None) as stream:
        yield stream


def size(stream: io.FileIO) -> int | None:
    """Return how many bytes will come, where that is known."""
    found = os.fstat(stream.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else None


async def lines(stream: io.FileIO) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the lines that are not empty, with their numbers from 1.

    Raises:
        OSError: reading failed.
    """
    number, rest = 0, b""
    async for chunk in _chunks(stream):
        *whole, rest = (rest + chunk).split(b"\n") if chunk else (rest, b"")
        for number, line in enumerate(whole, number + 1):  # noqa: B020 - goes on counting
            if line.strip():
                yield number, line


async def _chunks(stream: io.FileIO) -> AsyncIterator[bytes]:
    """Yield what comes as it comes, and an empty chunk at the end."""
    loop, room = asyncio.get_running_loop(), threading.Semaphore(_AHEAD)
    waiting = asyncio.Queue[bytes | OSError]()

    def hand_over(chunk: bytes | OSError) -> None:
        room.acquire()
        loop.call_soon_threadsafe(waiting.put_nowait, chunk)

    # A daemon, and none of asyncio's threads: those are waited for at the end, and nobody can
    # end one that waits for a line.
    threading.Thread(target=_read, args=(stream, hand_over), daemon=True).start()
    chunk: bytes | OSError = b"\n"
    while chunk:
        chunk = await waiting.get()
        room.release()
        if isinstance(chunk, OSError):
            raise chunk
        yield chunk


def _read(stream: io.FileIO, hand_over: Callable[[bytes | OSError], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        try:
            while chunk := stream.read(_CHUNK):
                hand_over(chunk)
            hand_over(b"")
        except (OSError, ValueError) as error:  # ValueError: closed meanwhile
            hand_over(error if isinstance(error, OSError) else b"")
