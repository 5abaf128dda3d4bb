"""The delivery budget that a block of code, and the tasks it starts, share."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from eventpub.exceptions import UsageError
from eventpub.profile import Seconds, as_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

ENCLOSING_DEADLINE: ContextVar[float | None] = ContextVar("eventpub_delivery_deadline", default=None)


@contextmanager
def delivery_budget(seconds: Seconds) -> Iterator[None]:
    """Make every publish inside, and in tasks started inside, end within what is left of *seconds*.

    Nested budgets only shorten. The clock starts here, not at the publish.

    Raises:
        ConfigurationError: *seconds* is not a positive, finite duration.
        UsageError: no event loop is running here, so there is no clock to measure by.
    """
    budget = as_seconds("delivery_budget", seconds)
    try:
        deadline = asyncio.get_running_loop().time() + budget
    except RuntimeError as error:
        msg = "delivery_budget() needs a running event loop; in a thread give timeout= to the publish instead"
        raise UsageError(msg) from error
    outer = ENCLOSING_DEADLINE.get()
    token = ENCLOSING_DEADLINE.set(deadline if outer is None else min(outer, deadline))
    try:
        yield
    finally:
        ENCLOSING_DEADLINE.reset(token)
