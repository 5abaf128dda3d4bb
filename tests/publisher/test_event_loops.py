"""What other event loops do differently; `make uvloop` runs whole folders on one of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from eventpub import UnavailableError
from eventpub.transports.memory import MemoryBroker
from tests.publisher.kit import opened, outcome, record

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

MANY = 600  # more than end in one turn of the loop


async def test_what_is_due_now_need_not_be_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publish in the turn in which budgets end raised AttributeError on uvloop: what it returns has no ``when()``."""
    loop = asyncio.get_running_loop()
    timer = loop.call_at

    def call_at(when: float, callback: Callable[..., object], *args: Any, **context: Any) -> asyncio.Handle:
        return (
            timer(when, callback, *args, **context)
            if when > loop.time()
            else loop.call_soon(callback, *args, **context)
        )

    monkeypatch.setattr(loop, "call_at", call_at)
    broker = MemoryBroker()
    broker.down()

    async def twice() -> object:
        await outcome(publisher.publish(record("first"), timeout=1))
        return await outcome(publisher.publish(record("again"), timeout=2))

    async with opened(broker) as publisher:
        outcomes = await asyncio.gather(*(twice() for _ in range(MANY)))
    assert set(map(type, outcomes)) == {UnavailableError}
