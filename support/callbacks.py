"""Which callback of the event loop runs now: what happens in different ones does not hold the loop in one piece."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def callback_numbers() -> Iterator[Callable[[], int]]:
    """Number the callbacks of all event loops; yields a function that returns the number of the one it is called in."""
    run, numbers, current = asyncio.Handle._run, count(1), 0  # noqa: SLF001 - there is no public place to see one callback

    def counted(handle: asyncio.Handle) -> None:
        nonlocal current
        current = next(numbers)
        run(handle)

    asyncio.Handle._run = counted  # type: ignore[method-assign,assignment]  # noqa: SLF001 - put back below
    try:
        yield lambda: current
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]  # noqa: SLF001 - as above
