"""Fails an asynchronous test in which eventpub's code blocks the event loop."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from blockbuster import BlockBuster, BlockBusterFunction

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def _blockbuster() -> BlockBuster:
    # Only what eventpub calls, directly or through a library: a test may well start a
    # process or read a file.
    detector = BlockBuster(scanned_modules="eventpub")
    for name in ("fsync", "fdatasync"):  # not among its own; a disk can take 100 ms for one
        if hasattr(os, name):
            detector.functions[f"os.{name}"] = BlockBusterFunction(os, name, scanned_modules="eventpub")
    return detector


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest, _blockbuster: BlockBuster) -> Iterator[None]:
    """Raise ``blockbuster.BlockingError`` in the call that would block the loop."""
    if not pytest_asyncio.is_async_test(request.node):
        yield
        return
    _blockbuster.activate()
    try:
        yield
    finally:
        _blockbuster.deactivate()
