"""Asking the cluster: one connection that metadata and producer ids are asked over.

Finds a broker that answers: first the one that did before, then others of the cluster, then
the bootstrap servers, each given a head start of a second before the next is tried beside
it. So a silent broker costs a second, and a cluster whose brokers all moved is found again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import Protocol, TypeVar

from eventpub.abc import ProducerId, Rejected
from eventpub.config import Address
from eventpub.transports.kafka.answers import ClusterMetadata
from eventpub.transports.kafka.errors import (
    AccessRefusedError,
    ConnectionFault,
    ConnectionLostError,
    NoAnswerError,
    UnreachableError,
)
from eventpub.transports.kafka.line import RENEW_AT
from eventpub.transports.kafka.patience import Patience

T = TypeVar("T")

_HEAD_START = 1.0
_KNOWN_FIRST = 3
_IDLE = 540.0


class Answering(Protocol):
    """What a contact needs of `wire.Connection`."""

    broker: str

    @property
    def usable(self) -> bool:
        """Whether a request can be written now."""

    @property
    def session_lifetime(self) -> float:
        """Seconds after which the broker ends the SASL session; 0 if it does not."""

    async def metadata(self, topics: list[str], /) -> ClusterMetadata:
        """Ask where the brokers are, and for *topics*."""

    async def init_producer_id(self) -> ProducerId | Rejected:
        """Ask for a producer id."""

    def abort(self, fault: ConnectionFault, /) -> None:
        """End the connection."""

    async def wait_closed(self) -> None:
        """Return when its socket is closed."""


Question = Callable[[Answering], Awaitable[T]]


class Contact:
    """The one connection for questions, to whichever broker answers.

    ``faults`` says what is wrong with each server since the last answer; ``refusal`` why this
    client is not let in, once a whole round brought no answer and a refusal.
    """

    def __init__(
        self,
        bootstrap: Iterable[Address],
        connect: Callable[[Address], Awaitable[Answering]],
        patience: float,
    ) -> None:
        self.faults: dict[Address, ConnectionFault] = {}
        self.refusal: AccessRefusedError | None = None
        self._bootstrap = _shuffled(bootstrap)
        self._known: list[Address] = []
        self._connect = connect
        self._patience = Patience(patience)
        self._loop = asyncio.get_running_loop()
        self._address: Address | None = None
        self._link: Answering | None = None
        self._renew_at = 0.0
        self._used_at = 0.0

    def update(self, addresses: Iterable[Address]) -> None:
        """Take note of where the brokers listen now."""
        addresses = set(addresses)
        if addresses != set(self._known):
            self._known = _shuffled(addresses)

    async def ask(self, question: Question[T]) -> T:
        """Put *question* to one broker after another until one answers.

        Raises:
            ConnectionFault: none of them did. One of the reasons; ``faults`` holds them all.
        """
        candidates = self._candidates()
        running: dict[asyncio.Task[tuple[Answering, T]], Address] = {}
        faults: dict[Address, ConnectionFault] = {}
        try:
            while (address := next(candidates, None)) is not None or running:
                if address is not None:
                    running[self._loop.create_task(self._put(address, question))] = address
                head_start = None if address is None else _HEAD_START
                done, _ = await asyncio.wait(running, timeout=head_start, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    address = running[task]
                    try:
                        link, answer = task.result()
                    except ConnectionFault as fault:
                        faults[address] = self.faults[address] = fault
                        del running[task]
                    else:
                        self.faults, self.refusal = {}, None
                        self._adopt(address, link, silent=running.values())
                        return answer
        finally:
            await self._give_up(running)
        self.faults = faults
        self.refusal = next((fault for fault in faults.values() if isinstance(fault, AccessRefusedError)), None)
        raise self.refusal or next(iter(faults.values()))

    def close(self, fault: ConnectionFault) -> None:
        """End the connection; questions hear *fault*. Who asks is cancelled by whoever runs it."""
        if self._link is not None:
            self._link.abort(fault)

    def keeps(self, link: Answering) -> bool:
        """Whether the next question would be put over *link*."""
        return link is self._link

    async def wait_closed(self) -> None:
        """Return when its socket is closed."""
        if self._link is not None:
            await self._link.wait_closed()

    def _candidates(self) -> Iterator[Address]:
        current = [self._address] if self._address and self._is_good() else []
        few, rest = self._known[:_KNOWN_FIRST], self._known[_KNOWN_FIRST:]
        return iter(dict.fromkeys([*current, *few, *self._bootstrap, *rest]))

    async def _put(self, address: Address, question: Question[T]) -> tuple[Answering, T]:
        if self._link is not None and address == self._address and self._is_good():
            link, fresh = self._link, False
        else:
            link, fresh = await self._connect(address), True
        allowed = self._patience.allowed(address)
        try:
            async with self._patience.wait(address):
                answer = await question(link)
        except TimeoutError as error:
            fault = NoAnswerError(f"{link.broker} did not answer within {allowed:g} s")
            link.abort(fault)
            raise fault from error
        except BaseException as error:
            # Cancelled, too: then another broker was quicker, and this one is not worth keeping.
            link.abort(ConnectionLostError(f"the connection to {link.broker} was given up"))
            if fresh and isinstance(error, ConnectionLostError):
                # So does a listener that wants SASL, if it gets to hear anything else.
                text = f"{link.broker} ended the connection at the first question: is security_protocol right?"
                raise UnreachableError(text) from error
            raise
        self._used_at = self._loop.time()
        return link, answer

    def _adopt(self, address: Address, link: Answering, silent: Collection[Address]) -> None:
        """Keep the connection that answered, unless there is one that was not asked in vain."""
        if link is self._link:
            return
        if self._link is not None and self._is_good() and self._address not in silent:
            link.abort(ConnectionLostError("one connection is enough"))
            return
        old, self._address, self._link = self._link, address, link
        if old is not None:
            old.abort(ConnectionLostError(f"the connection to {old.broker} was replaced"))
        lifetime = link.session_lifetime
        self._renew_at = self._used_at + lifetime * RENEW_AT if lifetime > 0 else float("inf")

    async def _give_up(self, tasks: Iterable[asyncio.Task[tuple[Answering, T]]]) -> None:
        """End questions that nobody waits for any more; one may have been answered in this very turn."""
        await _cancel(tasks)
        for task in tasks:
            if not task.cancelled() and task.exception() is None and (link := task.result()[0]) is not self._link:
                link.abort(ConnectionLostError("one connection is enough"))

    def _is_good(self) -> bool:
        now = self._loop.time()
        fresh = now < self._renew_at and now - self._used_at < _IDLE
        return fresh and self._link is not None and self._link.usable


def _shuffled(addresses: Iterable[Address]) -> list[Address]:
    """In random order: a fleet that starts at once spreads over the servers."""
    shuffled = list(addresses)
    random.shuffle(shuffled)
    return shuffled


async def _cancel(tasks: Iterable[asyncio.Task[object]]) -> None:
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending)
