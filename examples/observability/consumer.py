"""The other side: a consumer of aiokafka's, whose spans are children of the publisher's."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind


class Shipping:
    """Ships what was ordered."""

    def __init__(self, topic: str, bootstrap_servers: str) -> None:
        self._consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", fetch_max_wait_ms=20
        )
        self._task: asyncio.Task[None] | None = None
        self._shipped = 0
        self._more = asyncio.Event()

    async def start(self) -> None:
        """Begin to read."""
        await self._consumer.start()
        for partition in self._consumer.assignment():
            await self._consumer.position(partition)  # it has found where to begin
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()

    async def until(self, count: int) -> None:
        """Return once that many orders were shipped."""
        async with asyncio.timeout(20):
            while self._shipped < count:
                self._more.clear()
                await self._more.wait()

    async def _run(self) -> None:
        async for record in self._consumer:
            await self._ship(record)
            self._shipped += 1
            self._more.set()

    async def _ship(self, record: ConsumerRecord) -> None:
        """Do the work in a span of its own; opentelemetry-instrumentation-aiokafka made one of the receipt."""
        headers = {name: value.decode() for name, value in record.headers}
        context = propagate.extract(headers)  # W3C: `traceparent`
        with trace.get_tracer("shipping").start_as_current_span("ship order", context, kind=SpanKind.CONSUMER):
            await asyncio.sleep(0.002)
