"""How long a connect may take: little at first, for what was lost on its way is never answered.

A handshake that a network swallowed leaves both ends waiting, also when all is well again a
moment later. Trying again costs a healthy broker nothing; waiting would cost events their budgets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from eventpub.config import Address
from eventpub.transports.kafka.errors import UnreachableError

_FIRST = 2.0  # seconds

Link = TypeVar("Link")


class PatientConnect(Generic[Link]):
    """Connects: within 2 s, then 4 s, 8 s and so on while nobody answers, each address for itself.

    Args:
        connect: makes a connection within *longest* seconds, or raises a `ConnectionFault`.
        longest: seconds.
    """

    def __init__(self, connect: Callable[[Address], Awaitable[Link]], longest: float) -> None:
        self._connect = connect
        self._longest = longest
        self._silences: dict[Address, int] = {}  # connects in a row that nobody answered

    async def __call__(self, address: Address) -> Link:
        """Return a connection to *address*.

        Raises:
            ConnectionFault: there is none; `UnreachableError` if nobody answered in time.
        """
        allowed = _FIRST * 2.0 ** self._silences.get(address, 0)
        if allowed >= self._longest:
            return await self._connect(address)
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(allowed):
                link = await self._connect(address)
        except TimeoutError as error:
            self._silences[address] = self._silences.get(address, 0) + 1
            raise UnreachableError(f"{address} let nobody in within {allowed:g} s") from error
        if asyncio.get_running_loop().time() - began < _FIRST:  # else it is slow, and will be next time
            self._silences.pop(address, None)
        return link
