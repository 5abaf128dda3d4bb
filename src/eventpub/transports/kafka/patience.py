"""How long an answer is waited for: little at first, for what was lost on its way is never answered.

A handshake or a question that a network swallowed leaves both ends waiting, also when all is
well again a moment later. Trying again costs a healthy broker nothing; waiting would cost
events their budgets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from eventpub.config import Address
from eventpub.transports.kafka.errors import UnreachableError

_FIRST = 2.0  # seconds

Link = TypeVar("Link")


class Patience:
    """Seconds for an answer: 2, then 4, 8 and so on while there is none, each broker for itself.

    Args:
        longest: seconds.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._silences: dict[Address, int] = {}  # in a row

    def allowed(self, address: Address) -> float:
        """Return how long *address* may take now."""
        return float(min(self._longest, _FIRST * 2.0 ** self._silences.get(address, 0)))

    @asynccontextmanager
    async def wait(self, address: Address) -> AsyncIterator[None]:
        """End the block as soon as *address* has taken too long.

        Raises:
            TimeoutError: it has.
        """
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self.allowed(address)):
                yield
        except TimeoutError:
            # Not beyond what reaches the longest: a broker that is away for a day is no larger number.
            if self.allowed(address) < self._longest:
                self._silences[address] = self._silences.get(address, 0) + 1
            raise
        self.answered(address, asyncio.get_running_loop().time() - began)

    def answered(self, address: Address, took: float) -> None:
        """Begin anew with *address*, unless it is slow: then it will be next time."""
        if took < _FIRST:
            self._silences.pop(address, None)


class PatientConnect(Generic[Link]):
    """Connects, and gives up early at first.

    Args:
        connect: makes a connection within *longest* seconds, or raises a `ConnectionFault`.
        longest: seconds.
    """

    def __init__(self, connect: Callable[[Address], Awaitable[Link]], longest: float) -> None:
        self._connect = connect
        self._longest = longest
        self._patience = Patience(longest)

    async def __call__(self, address: Address) -> Link:
        """Return a connection to *address*.

        Raises:
            ConnectionFault: there is none; `UnreachableError` if nobody answered in time.
        """
        allowed = self._patience.allowed(address)
        if allowed >= self._longest:
            return await self._connect_at_length(address)
        try:
            async with self._patience.wait(address):
                return await self._connect(address)
        except TimeoutError as error:
            raise UnreachableError(f"{address} let nobody in within {allowed:g} s") from error

    async def _connect_at_length(self, address: Address) -> Link:
        # The connection keeps the longest limit itself, and says better what it was waiting for.
        began = asyncio.get_running_loop().time()
        link = await self._connect(address)
        self._patience.answered(address, asyncio.get_running_loop().time() - began)
        return link
