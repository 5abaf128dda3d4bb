"""Which publishers can be found without being named: the one a block is bound to, those open on a loop.

By loop and not by context, because lifespans, fixtures and request tasks do not share one. Nothing
is kept alive from here: a loop or a publisher that is dropped is forgotten.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary, ref

if TYPE_CHECKING:
    from collections.abc import Iterator

_T = TypeVar("_T")

BOUND: ContextVar[object | None] = ContextVar("eventpub_bound_publisher", default=None)

# Tuples that are replaced as a whole: other threads, with loops of their own, read beside us.
_open: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[ref[object], ...]] = WeakKeyDictionary()


@contextmanager
def bound(publisher: _T) -> Iterator[_T]:
    """Let *publisher* be the one that is found inside."""
    token = BOUND.set(publisher)
    try:
        yield publisher
    finally:
        # The end of a fixture or a lifespan may run in another context than its beginning.
        # What was set there is that context's own and ends with it.
        with suppress(ValueError):
            BOUND.reset(token)


def add(publisher: object) -> None:
    """Let *publisher* be found on the running loop."""
    loop = asyncio.get_running_loop()
    _open[loop] = (*_open.get(loop, ()), ref(publisher))


def discard(publisher: object) -> None:
    """Let *publisher* be found no more. Without effect if it was not to be."""
    loop = asyncio.get_running_loop()
    others = tuple(each for each in _open.get(loop, ()) if each() not in (publisher, None))
    if others:
        _open[loop] = others
    else:
        _open.pop(loop, None)


def open_here() -> list[object]:
    """Return the publishers that are open on the running loop."""
    publishers = [each() for each in _open.get(asyncio.get_running_loop(), ())]
    return [publisher for publisher in publishers if publisher is not None]
