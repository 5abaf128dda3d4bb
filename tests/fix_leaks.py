"""Fails a test that leaves a task or a socket behind."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import psutil
import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# The far end of a connection may sit in a broker of this process, whose own thread needs a
# moment to see that it was closed.
_GRACE = 2.0


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare the tasks and sockets after a test, its fixtures included, with those before it."""
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("_no_leaked_tasks")
    before = _sockets()
    yield
    leaked = _sockets_beyond(before)
    assert not leaked, f"sockets left open: {sorted(leaked)}"


@pytest_asyncio.fixture
async def _no_leaked_tasks() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)  # a task that was cancelled last ends in the next turn
    # The end of a fixture runs in a task of its own.
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    names = sorted(task.get_name() + ": " + repr(task.get_coro()) for task in leaked)
    for task in leaked:
        task.cancel()
    assert not leaked, f"tasks left running: {names}"


def _sockets() -> set[tuple[int, str]]:
    connections = psutil.Process().net_connections(kind="inet")
    return {(c.fd, f"{c.laddr} -> {c.raddr}") for c in connections if c.fd >= 0}


def _sockets_beyond(before: set[tuple[int, str]]) -> set[tuple[int, str]]:
    patience = time.monotonic() + _GRACE
    while (leaked := _sockets() - before) and time.monotonic() < patience:
        time.sleep(0.01)
    return leaked
