"""A local file as a sink: one writer thread, and what arrives during one commit forms the next group.

Each process has a connection of its own; four workers and the command line share one file. When a
write would be refused, and what a failed one leaves behind, is decided here; how the file is
written is ``store``'s and ``database``'s business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from eventpub.deadletter.spooling.database import BusyError, require_sqlite
from eventpub.deadletter.spooling.store import Store
from eventpub.exceptions import ConfigurationError, DeadLetterError, Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpub.letter import DeadLetter, Resolution

_GIBIBYTE = 1024**3
_SMALLEST = 256 * 1024
_GROUP = 1000  # letters
_OPENING = 1.0  # seconds that `open` waits for a disk, and for other processes
_CLOSING = 0.1  # seconds for closing the file, also where the deadline has passed
_PAUSE = 1.0  # seconds between two attempts at what failed for a lasting reason
_MARGIN = 0.05  # seconds before a deadline at which waiting for a lock ends: still certainly not written
_SAME = 0.001  # seconds; SQLite waits in milliseconds


@dataclass(slots=True, eq=False)
class _Job:
    """What one call wants written, and who waits for it."""

    letters: Sequence[DeadLetter]
    resolutions: Sequence[Resolution]
    deadline: float
    begun: bool = False
    done: asyncio.Future[DeadLetterError | None] = field(default_factory=asyncio.Future)

    @property
    def size(self) -> int:
        return len(self.letters) + len(self.resolutions)

    def settle(self, failure: DeadLetterError | None) -> None:
        if not self.done.done():
            self.done.set_result(failure)

    def expire(self) -> None:
        what = "its commit was still running" if self.begun else "its turn had not come"
        self.settle(DeadLetterError(f"{what} when the time was over", in_doubt=self.begun))


class SpoolSink:
    """Keeps dead letters in a local file that processes share: ``SpoolSink("/var/lib/app/spool.db")``.

    A letter is durable when its write has returned. The file is made when the publisher opens,
    readable by its owner only; its directory must exist, and be on a local disk. Permissions that
    others have on a file from before are taken away. `eventpub dlq` reads it, also while it is used.

    A failed write is never repeated here: the next sink has its turn. While the disk is full, or
    the file out of reach, a write is tried once a second, and the sink is skipped in between.

    Args:
        path: of the file.
        max_bytes: how large it may grow (default 1 GiB); then letters are refused until some are
            purged. While it writes, a journal beside it takes a little more.

    Raises:
        ConfigurationError: a path that names no file, a size under 256 KiB, or a Python without sqlite3.
    """

    def __init__(self, path: str | Path, *, max_bytes: int = _GIBIBYTE) -> None:
        require_sqlite()
        if findings := [*_path_faults(path), *_size_faults(max_bytes)]:
            raise ConfigurationError(findings)
        self.name = f"spool {path}"
        self._path = Path(path).absolute()
        self._max_bytes = max_bytes
        self._thread: ThreadPoolExecutor | None = None
        self._store: Store | None = None  # belongs to the thread
        self._waiting: deque[_Job] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._trouble: str | None = None
        self._try_again_at = 0.0
        self._closed = False

    def __repr__(self) -> str:
        return f"<SpoolSink {self._path} max_bytes={self._max_bytes}>"

    async def open(self) -> None:
        """Open the file, and make it if it is not there; return after a second also if that takes longer.

        Raises:
            ConfigurationError: it cannot be made there, or is something else than a spool.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self.name)
        opening = self._loop.run_in_executor(self._thread, self._opened, _OPENING)
        opening.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may end unheard
        if not (await asyncio.wait([opening], timeout=_OPENING))[0]:
            return
        error = opening.exception()
        if isinstance(error, ConfigurationError):
            await self.aclose(self._loop.time())
            raise error
        if error is not None:
            self._failed(error)

    def trouble(self) -> str | None:
        """Why the last write failed, for a second, if that was for a lasting reason."""
        return self._trouble if self._trouble and self._loop.time() < self._try_again_at else None

    async def write(self, letters: Sequence[DeadLetter], deadline: float, /) -> Sequence[DeadLetterError | None]:
        """Make *letters* durable by *deadline*: all of them, or none.

        A commit that is still running then is ``in_doubt``. Cancelling withdraws what was not begun.
        """
        failure = await self._hand_in(letters, (), deadline) if letters else None
        return [failure] * len(letters)

    async def resolve(self, resolutions: Sequence[Resolution], deadline: float, /) -> None:
        """Keep what became of letters; those that are not in this file are ignored.

        Raises:
            DeadLetterError: it could not.
        """
        failure = await self._hand_in((), resolutions, deadline) if resolutions else None
        if failure is not None:
            raise failure

    async def aclose(self, deadline: float, /) -> None:
        """Write what was handed in, until *deadline*, and close the file. Safe to call twice.

        A commit that is still running then ends by itself, and closes the file.
        """
        thread, self._closed = self._thread, True
        if thread is None:
            return
        try:
            await self._finish(deadline)
        finally:
            self._thread = None
            closing = self._loop.run_in_executor(thread, self._drop)
            thread.shutdown(wait=False)
        await asyncio.wait([closing], timeout=max(_CLOSING, deadline - self._loop.time()))

    # --- on the loop ---------------------------------------------------------------

    async def _hand_in(
        self, letters: Sequence[DeadLetter], resolutions: Sequence[Resolution], deadline: float
    ) -> DeadLetterError | None:
        if self._closed or self._thread is None:
            return DeadLetterError("it is not open")
        job = _Job(letters, resolutions, deadline)
        if deadline <= self._loop.time():
            job.expire()
            return await job.done
        self._waiting.append(job)
        if self._writer is None:
            self._writer = self._loop.create_task(self._write(), name=self.name)
        timer = self._loop.call_at(deadline, job.expire)  # half the cost of asyncio.timeout_at
        try:
            return await job.done
        finally:
            timer.cancel()

    async def _write(self) -> None:
        while group := self._next_group():
            await self._commit(group)
        self._writer = None

    def _next_group(self) -> list[_Job]:
        """Take what waits, in order: either letters or resolutions, which may be of letters before them."""
        group: list[_Job] = []
        size = 0
        while self._waiting and (not group or self._goes_with(group[0], size)):
            job = self._waiting.popleft()
            if not job.done.done():  # else its time is over, or it was cancelled
                job.begun = True
                group.append(job)
                size += job.size
        return group

    def _goes_with(self, first: _Job, size: int) -> bool:
        following = self._waiting[0]
        return bool(following.letters) == bool(first.letters) and size + following.size <= _GROUP

    async def _commit(self, group: list[_Job]) -> None:
        earliest = min(job.deadline for job in group)
        patience = max(0.0, earliest - _MARGIN - self._loop.time())
        try:
            await self._loop.run_in_executor(self._thread, self._write_down, group, patience)
        except BusyError as error:
            self._put_back(group, earliest, error)
        except asyncio.CancelledError:
            _settle(group, DeadLetterError("it was closed during the commit", in_doubt=True))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the letters' callers must hear of it
            _settle(group, self._failed(error))
        else:
            self._trouble = None
            _settle(group, None)

    def _put_back(self, group: list[_Job], earliest: float, error: BusyError) -> None:
        """Nothing was written: who was most in a hurry hears of it, the others have another try."""
        for job in reversed(group):
            if job.deadline < earliest + _SAME:
                job.settle(error)
            elif not job.done.done():
                job.begun = False
                self._waiting.appendleft(job)

    def _failed(self, error: BaseException) -> DeadLetterError:
        self._trouble = str(error) or type(error).__name__
        self._try_again_at = self._loop.time() + _PAUSE
        if isinstance(error, DeadLetterError):
            return error
        failure = DeadLetterError(self._trouble)
        failure.__cause__ = error
        return failure

    async def _finish(self, deadline: float) -> None:
        writer = self._writer
        if writer is not None:
            await asyncio.wait([writer], timeout=max(0.0, deadline - self._loop.time()))
            writer.cancel()
            await asyncio.wait([writer])
        _settle(self._waiting, DeadLetterError("it was closed before its turn came"))

    # --- in the thread -------------------------------------------------------------

    def _opened(self, patience: float) -> Store:
        if self._store is not None and self._store.moved():
            self._drop()
        if self._store is None:
            self._store = Store(self._path, create=True, max_bytes=self._max_bytes, timeout=patience)
        self._store.patience(patience)
        return self._store

    def _write_down(self, group: Sequence[_Job], patience: float) -> None:
        try:
            store = self._opened(patience)
            if group[0].letters:
                store.append([letter for job in group for letter in job.letters])
            else:
                store.resolve([resolution for job in group for resolution in job.resolutions])
        except BusyError:
            raise
        except BaseException:
            self._drop()  # a disk that came back, or another file at the path, is seen by a new connection only
            raise

    def _drop(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()


def _settle(jobs: Sequence[_Job] | deque[_Job], failure: DeadLetterError | None) -> None:
    for job in jobs:
        job.settle(failure)


def _path_faults(path: object) -> list[Finding]:
    fix = "give the path of a file in a directory that exists"
    if not isinstance(path, (str, Path)):
        return [Finding("spool.path", f"expected str or Path, got {type(path).__name__}", fix)]
    text = str(path)
    if not Path(path).name or "\0" in text or text.endswith("/") or text.startswith((":", "file:")):
        return [Finding("spool.path", f"{text[:60]!r} names no file", fix)]
    return []


def _size_faults(max_bytes: object) -> list[Finding]:
    if type(max_bytes) is int and max_bytes >= _SMALLEST:
        return []
    return [Finding("spool.max_bytes", f"{max_bytes!r} is too small for a spool", f"give at least {_SMALLEST:,} bytes")]
