"""What a lane does for one caller does not happen in the name of another."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING

from eventpub import Publisher, Record, delivery_budget
from eventpub.transports.memory import MemoryBroker
from support import virtual_time

if TYPE_CHECKING:
    from eventpub import PublishError
    from eventpub.abc import OutcomeDetails

REQUEST: ContextVar[str] = ContextVar("request", default="none")


class Audit:
    """A hook that publishes something of its own about each outcome, and notes in whose name."""

    def __init__(self) -> None:
        self.publisher: Publisher
        self.requests: list[str] = []
        self.copies: list[asyncio.Task[object]] = []

    def on_outcome(self, details: OutcomeDetails) -> None:
        self.requests.append(REQUEST.get())
        if details.topic == "t":
            copy = self.publisher.publish(Record("audit", b""))
            self.copies.append(asyncio.get_running_loop().create_task(copy))


async def _request(publisher: Publisher, name: str, budget: float) -> None:
    REQUEST.set(name)
    with delivery_budget(budget):
        await asyncio.gather(publisher.publish(Record("t", b"")), return_exceptions=True)


def _run(broker: MemoryBroker, *budgets: float) -> tuple[Audit, list[object | PublishError]]:
    async def main() -> list[object]:
        async with Publisher(broker, source="/tests", hooks=[audit]) as audit.publisher:
            await asyncio.gather(*(_request(audit.publisher, f"{budget}", budget) for budget in budgets))
            broker.heal()
            return await asyncio.gather(*audit.copies, return_exceptions=True)

    audit = Audit()
    return audit, virtual_time.run(main())


def test_a_hook_that_publishes_is_under_nobody_s_spent_budget() -> None:
    """The first caller's budget ends while the second one's event goes on in the same lane."""
    broker = MemoryBroker(partitions=1)
    broker.latency(1.0)
    audit, copies = _run(broker, 1.5, 20.0)
    assert [type(copy).__name__ for copy in copies] == ["Delivery", "Delivery"]
    assert set(audit.requests) == {"none"}


def test_a_budget_that_ends_is_told_in_nobody_s_name() -> None:
    """Neither in that of the publish which happened to set the timer."""
    broker = MemoryBroker(partitions=1)
    broker.pause()
    audit, copies = _run(broker, 1.5, 1.4)
    assert [type(copy).__name__ for copy in copies] == ["Delivery", "Delivery"]
    assert set(audit.requests) == {"none"}
