"""The sender of one partition: does what its `Partition` says next, and tells it what came of it.

There are two ways through it. `_run` is the whole of it, a task that waits for whatever there is to
wait for. `_post_next` is the same without a task: what can be written at once is posted, and the
answer's callback goes on; what waits for its turn on the connection is called when that has come. So a
partition whose broker keeps up has no task at all, which is worth 1.1 times the events/s, and 0.9 of
the CPU, with 1 and with 16 publishers.
"""

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
    from eventpub.abc import AttemptResult, CallbackTransport, Compression, Posted, Transport
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
_SHARED = 8  # in a callback that several lanes may share, each encodes so many times less


class Lane:
    """One partition's sender.

    Args:
        partition: what to send, and what came of it.
        transport: where to.
        direct: the same transport, if it can be posted to.
        loop: both belong to it.
        context: nobody's; everything here runs in it, or in a copy.
    """

    __slots__ = (
        "_alarm",
        "_awaited",
        "_context",
        "_direct",
        "_halted",
        "_looking",
        "_loop",
        "_own_context",
        "_posted",
        "_producing",
        "_task",
        "_transport",
        "partition",
    )

    def __init__(
        self,
        partition: Partition,
        transport: Transport,
        direct: CallbackTransport | None,
        loop: asyncio.AbstractEventLoop,
        context: Context,
    ) -> None:
        self.partition = partition
        self._transport = transport
        self._direct = direct
        self._loop = loop
        self._context = context
        self._own_context = context.copy()  # a copy: a context cannot be entered twice
        self._task: asyncio.Task[None] | None = None
        self._alarm: asyncio.Future[None] | None = None
        self._producing = False  # an attempt is under way, the task's or a posted one
        self._posted: Posted | None = None
        # Whose turn to be written it waits for, as a task, or without one until it is called.
        self._awaited: DeliveryProfile | None = None
        self._looking = False
        self._halted = False

    def wake(self) -> None:
        """Look at the partition again: a record came, or something changed."""
        if self._halted:
            return
        if self._task is None:
            if not self._producing:
                self._awaited = None  # should a call be due, it comes for nothing
                # Not create_task: an eager task factory (Python 3.12) would run it inside this call,
                # and a loop that ended there would be taken for one that still runs.
                self._task = asyncio.Task(self._run(), loop=self._loop, context=self._context)
        elif self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    def advance(self) -> None:
        """Look at the partition as `wake` does, and post at once what can be written at once.

        For the loop's own callbacks, which run in nobody's name.
        """
        if self._awaited is not None and self._task is None:
            return  # it is called as soon as that may have changed
        busy = self._task is not None or self._producing or self._halted
        if busy or self._direct is None or not self._post_next(self._direct):
            self.wake()

    def advance_soon(self) -> None:
        """Do it in a callback of its own, as one of many."""
        self._loop.call_soon(self.advance, context=self._context)

    def relax(self) -> None:
        """Records ended without the lane's doing: end a wait for brokers that nobody needs any more."""
        if self._producing or (self._task is None and self._awaited is None):
            return
        if not self.partition.busy:
            self._drop()
        elif self._awaited is None:
            self.wake()
        elif not self._looking:  # once for all that end in this turn
            self._looking = True
            self._loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        """Wait for something else if what goes next now has another profile: other acks, or no producer id."""
        self._looking = False
        if self._awaited is not None and self.partition.next(self._loop.time()) != Send(self._awaited):
            self._drop()
            self.wake()

    def _drop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = self._awaited = None

    def halt(self) -> None:
        """Begin nothing any more. An attempt under way comes to its end; every other wait ends."""
        self._halted = True
        if self._task is not None and not self._producing:
            self._task.cancel()

    async def stop(self) -> None:
        """End the loop wherever it is. What it sent stays as it is."""
        if self._posted is not None:
            self._posted.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- without waiting ----------------------------------------------------------------

    def _post_next(self, direct: CallbackTransport) -> bool:
        """Post what goes next, now or when its connection is free; false if something else has to be waited for."""
        partition, now = self.partition, self._loop.time()
        step = partition.next(now)
        if not isinstance(step, Send):
            return step is None
        profile = step.profile
        if profile.idempotence and partition.sequence.needs_id:
            known = direct.known_producer_id(stale=partition.sequence.exhausted)
            if known is None:
                return False
            partition.sequence.adopt(known)
        if not direct.is_ready(partition.name, profile.acks):
            called = direct.call_when_ready(partition.name, profile.acks, self._on_ready)
            self._awaited = profile if called else None
            return called
        self._producing = True  # from here on: whoever is told an end by `take` wakes no task
        batch: Batch | None = None
        try:
            batch = self._take_encoded(profile, now)
        finally:
            self._producing = batch is not None
        if batch is not None:
            self._post(direct, batch)
        return self._producing

    def _take_encoded(self, profile: DeliveryProfile, now: float) -> Batch | None:
        """Take a batch and encode it; ``None`` if there is none, or it is too large for a callback of many."""
        batch = self.partition.take_now(profile, now)
        if batch is None:
            return None
        try:
            if self._encode_here(batch, _LARGEST_ON_LOOP[profile.compression] // _SHARED):
                return batch
        except Exception as error:  # noqa: BLE001 - as in _encode
            self.partition.unencodable(batch, error, now)
        else:
            batch.in_flight = False  # the task takes it again
        return None

    def _post(self, direct: CallbackTransport, batch: Batch) -> None:
        """Post *batch*, whose answer goes on."""
        assert batch.wire is not None  # noqa: S101 - encoded just now
        name, acks, deadline = self.partition.name, batch.profile.acks, batch.attempt_deadline(batch.sent_at)
        self._producing = True
        try:
            self._posted = direct.post(name, batch.wire, acks, deadline, self._on_result)
        except Exception as error:  # noqa: BLE001 - as in _produce
            self._posted = self._loop.call_soon(self._on_result, self._raised(error))

    def _on_ready(self) -> None:
        if self._awaited is not None and self._task is None:
            self._awaited = None
            self._own_context.run(self.advance)

    def _on_result(self, result: AttemptResult) -> None:
        try:
            self._own_context.run(self._go_on, result)
        except Exception as error:  # noqa: BLE001 - a mistake here must not end the connection whose reader calls this
            text = f"what came of an attempt on {self.partition.name} could not be recorded"
            self._loop.call_exception_handler({"message": text, "exception": error})

    def _go_on(self, result: AttemptResult) -> None:
        self._posted, self._producing = None, False
        self.partition.record(result, self._loop.time())
        if self.partition.busy:
            self.advance()

    # --- as a task ----------------------------------------------------------------------

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
                if not could_write:
                    continue
                batch = partition.take(step.profile, loop.time())
                if batch is None or not await self._encode(batch):
                    continue
                if self._direct is not None:
                    self._post(self._direct, batch)
                    return
                await self._send(batch)
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

    async def _encode(self, batch: Batch) -> bool:
        """Encode a batch that was cut anew, in a thread if it is large; false if it cannot be."""
        try:
            codec = batch.profile.compression
            if not self._encode_here(batch, _LARGEST_ON_LOOP[codec]):
                encode = self._transport.encode
                batch.wire = await self._loop.run_in_executor(None, encode, batch.records, batch.stamp, codec)
                batch.sent_at = self._loop.time()
        except asyncio.CancelledError:
            batch.in_flight = False  # nothing was written, and its records' callers are told so
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns these records and not the others
            self.partition.unencodable(batch, error, self._loop.time())
            return False
        return True

    def _encode_here(self, batch: Batch, largest: int) -> bool:
        """Encode *batch*, unless it has *largest* bytes or more; a resend keeps those it has."""
        if batch.wire is not None and batch.wire.stamp == batch.stamp:
            return True
        if batch.size >= largest:
            return False
        batch.wire = self._transport.encode(batch.records, batch.stamp, batch.profile.compression)
        return True

    async def _send(self, batch: Batch) -> None:
        """Produce *batch* with a transport that has only that."""
        self._producing = True
        result = await self._produce(batch, batch.attempt_deadline(batch.sent_at))
        self._producing = False
        self.partition.record(result, self._loop.time())

    async def _produce(self, batch: Batch, deadline: float) -> AttemptResult:
        assert batch.wire is not None  # noqa: S101 - encoded just now
        try:
            return await self._transport.produce(self.partition.name, batch.wire, batch.profile.acks, deadline)
        except Exception as error:  # noqa: BLE001 - a transport returns values; one that raises must not end the lane
            return self._raised(error)

    def _raised(self, error: Exception) -> InDoubt:
        text = "%s: the transport raised instead of returning a value"
        _log.exception(text, self.partition.name, extra={"line": "transport.raised"})
        return InDoubt(None, error)
