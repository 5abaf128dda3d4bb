"""Ctrl-C and SIGTERM as something to wait for, so that a command ends what it has begun."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def interrupts() -> Iterator[asyncio.Queue[None]]:
    """Give a queue that gets an entry at each Ctrl-C and SIGTERM, in place of what they do otherwise."""
    loop, seen = asyncio.get_running_loop(), asyncio.Queue[None]()
    # On Windows no event loop takes handlers: there Ctrl-C stays a KeyboardInterrupt.
    numbers = () if sys.platform == "win32" else (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, seen.put_nowait, None)
    try:
        yield seen
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
