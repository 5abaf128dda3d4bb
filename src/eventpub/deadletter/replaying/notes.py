"""Publishes what became of letters to the topic they lie in, for other readers of it.

Decides nothing about letters: the journal does, and a note that was not published costs no truth.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventpub._engine.engine import Engine
from eventpub._engine.group import Group
from eventpub._engine.hooks import Hooks
from eventpub._rules.entry import Entry
from eventpub.buffer import BufferLimits
from eventpub.delivery import Delivery
from eventpub.partitioner import partitions_for
from eventpub.profile import DeliveryProfile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpub.abc import Transport
    from eventpub.record import Record

_PROFILE = DeliveryProfile("replay notes", delivery_timeout=10)


class Notes:
    """A publisher of records to *transport*, which it starts with the first of them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._engine: Engine | None = None

    async def publish(self, records: Sequence[Record]) -> int:
        """Publish *records*; return how many were not acknowledged within 10 s."""
        if not records:
            return 0
        engine = await self._running()
        group, now = Group(engine), engine.loop.time()
        for record in records:
            group.accept(Entry(record, None, record, record.size, _PROFILE, now, now + _PROFILE.delivery_timeout))
        return sum(not isinstance(outcome, Delivery) for outcome in await group.reports())

    async def aclose(self) -> None:
        """End it."""
        if self._engine is not None:
            hurry: asyncio.Future[None] = self._engine.loop.create_future()
            await self._engine.aclose(0, hurry)
            hurry.cancel()

    async def _running(self) -> Engine:
        if self._engine is None:
            loop = asyncio.get_running_loop()
            self._engine = Engine(self._transport, BufferLimits(), partitions_for, Hooks(), loop)
            await self._transport.start(self._engine)
        return self._engine
