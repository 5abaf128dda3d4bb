"""Where a publisher was opened: its event loop and its process. It can be used nowhere else."""

from __future__ import annotations

import asyncio
import os

from eventpub.exceptions import UsageError

running_loop = asyncio._get_running_loop  # noqa: SLF001 - of `asyncio.events.__all__`; get_running_loop() would raise
"""Return the event loop that runs in this thread, ``None`` if none does."""


class Home:
    """The running event loop, and this process.

    Attributes:
        loop: the event loop.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._pid = os.getpid()

    @property
    def here(self) -> bool:
        """Whether the caller runs on that loop."""
        return running_loop() is self.loop

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process: the sockets belong to the parent."""
        return os.getpid() != self._pid

    def refusal(self) -> UsageError:
        """Say why a caller elsewhere is refused."""
        if self.forked:
            return UsageError(
                "this publisher was opened before a fork: its sockets and its event loop belong to the parent;"
                " open one in each process"
            )
        where = "on another event loop" if running_loop() else "on an event loop, and none is running here"
        return UsageError(f"this publisher was opened {where}; publish there, or open one on this loop")
