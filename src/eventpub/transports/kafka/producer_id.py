"""This client's producer id: asked for once, however many wait, and again when it is used up."""

from __future__ import annotations

import asyncio

from eventpub.abc import ProducerId, Rejected
from eventpub.transports.bell import Bell, first_ring
from eventpub.transports.kafka.backoff import RECONNECT, REFUSED
from eventpub.transports.kafka.contact import Contact
from eventpub.transports.kafka.errors import ConnectionFault
from eventpub.transports.kafka.metadata import closed

_PERMANENT = frozenset({31, 35, 42, 53, 58})
"""Not allowed, not supported: answers to InitProducerId that waiting does not change."""


class ProducerIds:
    """Hands out one producer id to all who ask."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._bell = Bell()
        self._id: ProducerId | None = None
        self._refusal: Rejected | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def get(self, stale: int | None) -> ProducerId | Rejected:
        """Return the id, a new one if it is *stale*; wait for as long as no broker answers."""
        while not self._closed:
            if (known := self.known(stale)) is not None:
                return known
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._fetch())
            await first_ring(self._bell)
            if self._refusal is not None:
                return self._refusal
        return closed()

    def known(self, stale: int | None) -> ProducerId | None:
        """Return the id, if there is one that is not *stale*."""
        return None if self._id is None or self._id.id == stale else self._id

    def close(self) -> None:
        """End the request and every wait."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        self._bell.ring()

    async def wait_closed(self) -> None:
        """Return when no task is left."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _fetch(self) -> None:
        """Ask until there is an answer that counts, or nobody waits for it any more."""
        failures, self._refusal = 0, None
        try:
            while failures == 0 or self._bell:
                answer = await self._ask()
                if isinstance(answer, ProducerId):
                    self._id, self._refusal = answer, None
                    return
                if answer is not None and answer.code in _PERMANENT:
                    self._refusal = answer
                    return
                failures += 1
                backoff = RECONNECT if self._contact.refusal is None else REFUSED
                await asyncio.sleep(backoff.pause(failures))
        finally:
            self._task = None
            self._bell.ring()

    async def _ask(self) -> ProducerId | Rejected | None:
        try:
            return await self._contact.ask(lambda link: link.init_producer_id())
        except ConnectionFault:
            return None
