"""A contender in a process of its own: does what it is told on standard input, and writes its ledger to a file.

Apart, because what a producer leaves running after its close has to go on running, and must
not be in the way of the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from eventpub.testing import Ledger
from eventpub.testing.ledger import Closed
from torture.peers.contenders import CONTENDERS
from torture.peers.load import Caller, Load

_CUT = 1.5  # seconds that a close may last beyond its timeout before it is cut off


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is started with."""

    contender: str
    bootstrap_servers: str
    topic: str
    ledger: str
    load: Load
    budget: float
    close_timeout: float

    def to_json(self) -> str:
        """Return it for a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` was asked of."""
        content = json.loads(text)
        return cls(**content | {"load": Load(**content["load"])})


class Worker:
    """One contender under orders. Each order is answered when it was carried out."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._ledger = Ledger(clock=asyncio.get_running_loop().time)
        make = CONTENDERS[orders.contender]
        self._contender = make(orders.bootstrap_servers, orders.topic, orders.budget)
        self._caller = Caller(self._contender, self._ledger, orders.topic, orders.budget)

    async def run(self) -> None:
        """Open the contender and carry out orders until ``end``."""
        await self._contender.open()
        await self._caller.run(Load(keys=8, events=1, pause=0))
        await self._answer("ready", {"calls": self._caller.calls})
        under_way = set()
        async for order in _lines():
            if order == "end":
                break
            under_way.add(asyncio.create_task(self._carry_out(order)))
        self._dump()

    async def _carry_out(self, order: str) -> None:
        facts: dict[str, Any] = {"calls": self._caller.calls}
        if order == "load":
            await self._caller.run(self._orders.load)
        elif order == "probe":
            await self._caller.probe(self._orders.load.keys if self._orders.load.keys < 100 else 40)
        elif order == "close":
            self._caller.stopping = True
            await self._close()
        await self._answer(order, facts)

    async def _close(self) -> None:
        timeout, loop = self._orders.close_timeout, asyncio.get_running_loop()
        began = loop.time()
        closing = asyncio.ensure_future(self._contender.close(timeout))
        await asyncio.wait([closing], timeout=timeout + _CUT)
        self._ledger.add(Closed(loop.time(), timeout, loop.time() - began))
        if not closing.done():  # as `asyncio.timeout` around it would
            closing.cancel()
            await asyncio.wait([closing], timeout=1)
        elif not closing.cancelled() and (error := closing.exception()) is not None:
            self._ledger.left(f"the close raised {type(error).__name__}")

    async def _answer(self, order: str, facts: dict[str, Any]) -> None:
        print(json.dumps({"did": order} | facts), flush=True)

    def _dump(self) -> None:
        with Path(self._orders.ledger).open("wb") as file:
            written = Ledger(file, clock=lambda: 0.0)
            for entry in self._ledger.entries:
                written.add(entry)


async def _lines() -> AsyncIterator[str]:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


async def _main(orders: Orders) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await Worker(orders).run()
    sys.stdout.flush()
    os._exit(0)  # whatever the contender still runs ends here, unheard


def main() -> None:
    """Be the worker that the command line describes."""
    asyncio.run(_main(Orders.from_json(sys.argv[1])))
