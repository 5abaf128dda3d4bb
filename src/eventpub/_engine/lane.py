"""The sender of one partition: does what its `Partition` says next, and tells it what came of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from eventpub._rules.step import Send, Wait
from eventpub.abc import InDoubt, ProducerId

if TYPE_CHECKING:
    from contextvars import Context

    from eventpub._rules.batch import Batch
    from eventpub._rules.partition import Partition
    from eventpub.abc import AttemptResult, Compression, Transport
    from eventpub.profile import DeliveryProfile

_log = logging.getLogger("eventpub.delivery")

# In bytes. Larger batches are encoded in a thread: they could hold the event loop for more than 5 ms on
# a busy machine, 1.3 on a quiet one (gzip takes 80 ns a byte there, lz4 20, snappy and zstd 5, none 1).
_LARGEST_ON_LOOP: dict[Compression, int] = {
    "none": 1_300_000,
    "gzip": 16_000,
    "snappy": 256_000,
    "lz4": 64_000,
    "zstd": 256_000,
}


class Lane:
    """One loop per busy partition. Its task ends when nothing is left, and `wake` starts a new one."""

    __slots__ = (
        "_alarm",
        "_awaited",
        "_context",
        "_halted",
        "_looking",
        "_loop",
        "_producing",
        "_task",
        "_transport",
        "partition",
    )

    def __init__(
        self, partition: Partition, transport: Transport, loop: asyncio.AbstractEventLoop, context: Context
    ) -> None:
        self.partition = partition
        self._transport = transport
        self._loop = loop
        self._context = context
        self._task: asyncio.Task[None] | None = None
        self._alarm: asyncio.Future[None] | None = None
        self._producing = False
        self._awaited: DeliveryProfile | None = None  # whose turn to be written it waits for
        self._looking = False
        self._halted = False

    def wake(self) -> None:
        """Look at the partition again: a record came, or something changed."""
        if self._halted:
            return
        if self._task is None:
            # Not create_task: an eager task factory (Python 3.12) would run it inside this call,
            # and a loop that ended there would be taken for one that still runs.
            self._task = asyncio.Task(self._run(), loop=self._loop, context=self._context)
        elif self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    def relax(self) -> None:
        """Records ended without the lane's doing: end a wait for brokers that nobody needs any more."""
        if self._task is None or self._producing:
            return
        if not self.partition.busy:
            self._drop(self._task)
        elif self._awaited is None:
            self.wake()
        elif not self._looking:  # once for all that end in this turn
            self._looking = True
            self._loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        """Wait for something else if what goes next now has another profile: other acks, or no producer id."""
        self._looking = False
        if self._task is None or self._awaited is None:
            return
        if self.partition.next(self._loop.time()) != Send(self._awaited):
            self._drop(self._task)
            self.wake()

    def _drop(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._task = self._awaited = None

    def halt(self) -> None:
        """Begin nothing any more. An attempt under way comes to its end; every other wait ends."""
        self._halted = True
        if self._task is not None and not self._producing:
            self._task.cancel()

    async def stop(self) -> None:
        """End the loop wherever it is. What it sent stays as it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        partition, loop = self.partition, self._loop
        try:
            while not self._halted and (step := partition.next(loop.time())):
                if isinstance(step, Wait):
                    await self._sleep(step.until)
                    continue
                self._awaited = step.profile
                could_write = await self._could_write(step.profile)
                self._awaited = None
                if could_write:
                    await self._send(step.profile)
        finally:
            # After `relax` a newer task may be running already.
            if self._task is asyncio.current_task():
                self._task = None

    async def _sleep(self, until: float) -> None:
        self._alarm = self._loop.create_future()
        timer = self._loop.call_at(until, self.wake)
        try:
            await self._alarm
        finally:
            timer.cancel()
            self._alarm = None

    async def _could_write(self, profile: DeliveryProfile) -> bool:
        """Wait until a batch could be written; false if what goes next was refused instead."""
        partition = self.partition
        if profile.idempotence and partition.sequence.needs_id:
            producer = await self._transport.producer_id(stale=partition.sequence.exhausted)
            if not isinstance(producer, ProducerId):
                partition.refuse(producer, profile, self._loop.time())
                return False
            partition.sequence.adopt(producer)
        # Last, so that nothing is awaited between this and the write.
        refusal = await self._transport.ready(partition.name, profile.acks)
        if refusal is not None:
            partition.refuse(refusal, profile, self._loop.time())
        return refusal is None

    async def _send(self, profile: DeliveryProfile) -> None:
        partition, now = self.partition, self._loop.time()
        batch = partition.take(profile, now)
        if batch is None or not await self._encode(batch):
            return
        self._producing = True
        result = await self._produce(batch, batch.attempt_deadline(batch.sent_at))
        self._producing = False
        partition.record(result, self._loop.time())

    async def _encode(self, batch: Batch) -> bool:
        """Encode a batch that was cut anew; a resend keeps its bytes."""
        if batch.wire is not None and batch.wire.stamp == batch.stamp:
            return True
        encode, codec = self._transport.encode, batch.profile.compression
        records = [entry.record for entry in batch.entries]
        try:
            if batch.size < _LARGEST_ON_LOOP[codec]:
                batch.wire = encode(records, batch.stamp, codec)
            else:
                batch.wire = await self._loop.run_in_executor(None, encode, records, batch.stamp, codec)
                batch.sent_at = self._loop.time()
        except asyncio.CancelledError:
            batch.in_flight = False  # nothing was written, and its records' callers are told so
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns these records and not the others
            self.partition.unencodable(batch, error, self._loop.time())
            return False
        return True

    async def _produce(self, batch: Batch, deadline: float) -> AttemptResult:
        assert batch.wire is not None  # noqa: S101 - encoded just now
        try:
            return await self._transport.produce(self.partition.name, batch.wire, batch.profile.acks, deadline)
        except Exception as error:  # noqa: BLE001 - a transport returns values; one that raises must not end the lane
            text = "%s: the transport raised instead of returning a value"
            _log.exception(text, self.partition.name, extra={"line": "transport.raised"})
            return InDoubt(None, error)
