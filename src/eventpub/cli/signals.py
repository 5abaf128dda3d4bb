"""Ctrl-C and SIGTERM as something to wait for, so that a command ends what it has begun."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def interrupts() -> Iterator[asyncio.Queue[None]]:
    """Give a queue that gets an entry at each Ctrl-C and SIGTERM, in place of what they do otherwise."""
    loop, seen = asyncio.get_running_loop(), asyncio.Queue[None]()
    numbers = (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C stays a KeyboardInterrupt
        for number in numbers:
            loop.add_signal_handler(number, seen.put_nowait, None)
    try:
        yield seen
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in numbers:
                loop.remove_signal_handler(number)
