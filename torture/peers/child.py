"""The director's end of a worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any, Self

from eventpub.testing import Ledger
from torture.peers.worker import Orders

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 90.0


class Child:
    """A worker's process. Use as ``async with Child(orders, log) as child:``; it is gone afterwards."""

    def __init__(self, orders: Orders, log: Path) -> None:
        self.orders = orders
        self._log = log
        self._heard: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                "from torture.peers import worker; worker.main()",
                self.orders.to_json(),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def tell(self, order: str) -> None:
        """Give an order and return at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n".encode())
        await self._process.stdin.drain()

    async def done(self, order: str) -> dict[str, Any]:
        """Return what the worker says once *order* was carried out.

        Raises:
            RuntimeError: it ended, or did not answer.
        """
        try:
            return await asyncio.wait_for(asyncio.shield(self._future(order)), _PATIENCE)
        except TimeoutError:
            raise RuntimeError(f"{self.orders.contender} did not carry out {order!r}; see {self._log}") from None

    async def do(self, order: str) -> dict[str, Any]:
        """Give an order and return when it was carried out."""
        await self.tell(order)
        return await self.done(order)

    async def end(self) -> Ledger:
        """Let the worker end, and return its ledger."""
        await self.tell("end")
        await asyncio.wait_for(self._process.wait(), _PATIENCE)
        return await asyncio.to_thread(self._ledger)

    def _ledger(self) -> Ledger:
        return Ledger.load(Path(self.orders.ledger).read_bytes().splitlines())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            self._future(said["did"]).set_result(said)
        for order, future in self._heard.items():
            if not future.done():
                future.set_exception(RuntimeError(f"{self.orders.contender} ended before {order!r}; see {self._log}"))

    def _future(self, order: str) -> asyncio.Future[dict[str, Any]]:
        if order not in self._heard:
            self._heard[order] = asyncio.get_running_loop().create_future()
        return self._heard[order]
