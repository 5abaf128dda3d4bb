"""One fault, one round: the contenders publish, the fault strikes, and each is judged by its log."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eventpub.testing import Ledger
from support.fault_proxy import FaultProxy
from support.kafka_node import ApacheKafka
from support.readback import ReadRecord, read_topic
from torture.peers import topics
from torture.peers.child import Child
from torture.peers.faults import BUDGET, CLOSE_TIMEOUT, Fault, Scene
from torture.peers.judge import Cell, felt, judge
from torture.peers.worker import Orders

_BEFORE_THE_FAULT = 0.8
_BEFORE_THE_CLOSE = 0.5
_SETTLING = 1.0
_NEVER = 1 << 30  # no call has such a number


class InvalidRoundError(RuntimeError):
    """The fault was not felt, or something was wrong before it: the round proves nothing."""


class Finished(NamedTuple):
    """What is left of a contender when its process has ended."""

    ledger: Ledger
    at_close: list[ReadRecord]
    load_from: int
    probes_from: int


async def run(
    fault: Fault, contenders: Sequence[str], kafka: ApacheKafka, proxy: FaultProxy, directory: Path
) -> dict[str, Cell]:
    """Return a cell for each contender.

    Raises:
        InvalidRoundError: a contender did not feel the fault, or failed before it.
    """
    groups = [list(contenders)] if fault.together else [[name] for name in contenders]
    cells: dict[str, Cell] = {}
    for group in groups:
        cells |= await _Episode(fault, group, kafka, proxy, directory).run()
    return cells


class _Episode:
    def __init__(
        self, fault: Fault, contenders: list[str], kafka: ApacheKafka, proxy: FaultProxy, directory: Path
    ) -> None:
        self._fault = fault
        self._directory = directory
        self._broker = kafka.bootstrap_servers
        named = {name: f"{fault.name}-{name.replace(' ', '-')}-{uuid.uuid4().hex[:8]}" for name in contenders}
        self._orders = [
            Orders(
                contender=name,
                bootstrap_servers=proxy.bootstrap_servers,
                topic=topic,
                ledger=str(directory / f"{topic}.jsonl"),
                load=fault.load,
                budget=BUDGET,
                close_timeout=CLOSE_TIMEOUT,
            )
            for name, topic in named.items()
        ]
        self._scene = Scene(kafka, proxy, tuple(named.values()))

    async def run(self) -> dict[str, Cell]:
        replicas = self._fault.layout.replicas(self._scene.kafka.brokers)
        for orders in self._orders:
            await asyncio.to_thread(topics.create, self._broker, orders.topic, replicas, dict(self._fault.config))
        try:
            async with contextlib.AsyncExitStack() as stack:
                children = [await stack.enter_async_context(self._child(orders)) for orders in self._orders]
                await asyncio.gather(*(child.done("ready") for child in children))
                await self._fault.before(self._scene)
                finished = await (self._closing(children) if self._fault.closing else self._faulty(children))
        finally:
            await self._scene.heal()
        for orders, one in zip(self._orders, finished, strict=True):
            self._check(orders.contender, one)
        return {
            orders.contender: await self._judge(orders, one) for orders, one in zip(self._orders, finished, strict=True)
        }

    def _child(self, orders: Orders) -> Child:
        return Child(orders, self._directory / f"{orders.topic}.log")

    async def _faulty(self, children: list[Child]) -> list[Finished]:
        """Strike while they publish; heal, publish once more, and close."""
        await _tell(children, "load")
        await asyncio.sleep(_BEFORE_THE_FAULT)
        await self._fault.strike(self._scene)
        await asyncio.gather(*(child.done("load") for child in children))
        await self._scene.heal()
        await asyncio.sleep(_SETTLING)
        return await asyncio.gather(*map(self._probed, children))

    async def _probed(self, child: Child) -> Finished:
        probing = await child.do("probe")
        at_close = await self._closed(child)
        return await self._watched(child, at_close, probing["calls"])

    async def _closing(self, children: list[Child]) -> list[Finished]:
        """Close while the fault lasts, heal, and see what still lands."""
        await _tell(children, "load")
        await asyncio.sleep(_BEFORE_THE_FAULT)
        striking = asyncio.ensure_future(self._fault.strike(self._scene))
        await asyncio.sleep(_BEFORE_THE_CLOSE)
        logs = await asyncio.gather(*map(self._closed, children))
        striking.cancel()
        self._scene.proxy.heal()
        pairs = zip(children, logs, strict=True)
        return await asyncio.gather(*(self._watched(child, at_close, _NEVER) for child, at_close in pairs))

    async def _closed(self, child: Child) -> list[ReadRecord]:
        """Return what is in the log right after the close."""
        await child.do("close")
        return await asyncio.to_thread(read_topic, self._broker, child.orders.topic)

    async def _watched(self, child: Child, at_close: list[ReadRecord], probes_from: int) -> Finished:
        """Let the process live on for a while: what it still runs may still write."""
        await asyncio.sleep(self._fault.watch)
        loaded = await child.done("load")
        return Finished(await child.end(), at_close, loaded["calls"], probes_from)

    def _check(self, contender: str, finished: Finished) -> None:
        if felt(finished.ledger, float("inf"), before=finished.load_from):
            raise InvalidRoundError(f"{contender} failed before {self._fault.name!r} began")
        concerned = self._fault.felt and contender not in self._fault.unfelt_by
        if concerned and not felt(finished.ledger, self._fault.felt):
            raise InvalidRoundError(f"{contender} felt nothing of {self._fault.name!r}")

    async def _judge(self, orders: Orders, finished: Finished) -> Cell:
        log = await asyncio.to_thread(read_topic, self._broker, orders.topic)
        return judge(finished.ledger, orders.topic, finished.at_close, log, finished.probes_from)


async def _tell(children: list[Child], order: str) -> None:
    for child in children:
        await child.tell(order)
