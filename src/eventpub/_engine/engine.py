"""Takes entries in, and sees each of them to exactly one outcome."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import asdict
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from eventpub._engine.abandoned import AbandonedBatches
from eventpub._engine.attempt_log import AttemptLog, unheard
from eventpub._engine.budget_timer import BudgetTimer
from eventpub._engine.callers import Callers
from eventpub._engine.counters import Counters
from eventpub._engine.dead_letters import DeadLetterRouter
from eventpub._engine.drain import Drain, DrainReport
from eventpub._engine.hooks import Hooks, call
from eventpub._engine.keyed_defaultdict import KeyedDefaultDict
from eventpub._engine.noop import NoOpRecorder
from eventpub._engine.topic import Topic
from eventpub._rules.admission import Admission
from eventpub._rules.deadlines import Deadlines
from eventpub._rules.failures import Ending
from eventpub.abc import Acked, AttemptDetails, CallbackTransport, Levels, OutcomeDetails
from eventpub.delivery import AttemptOutcome, Delivery
from eventpub.exceptions import BufferFullError, PublishError
from eventpub.statistics import PublisherStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from eventpub._engine.dead_letters import DeadLetterWriter
    from eventpub._engine.lane import Lane
    from eventpub._rules.batch import Batch
    from eventpub._rules.entry import Entry
    from eventpub.abc import Partitioner, Recorder, Rejected, TopicPartition, Transport, WireBatch
    from eventpub.buffer import BufferLimits
    from eventpub.delivery import Attempt

_log = logging.getLogger("eventpub.delivery")

_ENDED = attrgetter("ended")
_SOCKETS_CLOSE = 0.5  # seconds a transport may take to abort them
_LETTERS_CLOSE = 0.3  # seconds the dead-letter writer has at least


class Engine:
    """Admission, topics, budgets and outcomes of one publisher, on one event loop."""

    def __init__(
        self,
        transport: Transport,
        limits: BufferLimits,
        partitioner: Partitioner,
        hooks: Hooks,
        loop: asyncio.AbstractEventLoop,
        letters: DeadLetterWriter | None = None,
        client_id: str = "",
        recorder: Recorder | None = None,
    ) -> None:
        self.transport = transport
        self.direct = transport if isinstance(transport, CallbackTransport) else None
        self.partitioner = partitioner
        self.loop = loop
        # What serves all callers runs in the name of none: a lane or timer that one request
        # happened to start would show its context variables to hooks, and put what they
        # publish under that request's budget.
        self.background = copy_context()
        self.listener = self  # of the partitions: their outcomes come here
        self._hooks = hooks
        self.recorder: Recorder = recorder or NoOpRecorder()
        self.recorder.watch(self.levels)
        self._router = (
            None if letters is None else DeadLetterRouter(letters, self._tell, hooks, self.recorder, loop, client_id)
        )
        self._attempt_log = AttemptLog()
        self._admission = Admission(limits)
        self._deadlines = Deadlines()
        self._budget_timer = BudgetTimer(self._deadlines, self._expire_all, loop, self.background)
        self._topics = KeyedDefaultDict[str, Topic](partial(Topic, context=self))
        self._drains: list[Drain] = []
        self._abandoned = AbandonedBatches(self.on_outcome)
        self._callers = Callers(loop, self.background)
        self._counters = Counters()
        self.hastened = float("-inf")

    # --- taking in -----------------------------------------------------------------

    def accept(self, entry: Entry) -> None:
        """Give *entry* its place: in its topic's queue, or among the waiters for room."""
        if self._deadlines.add(entry):
            self._budget_timer.set()
        if self._admission.try_acquire(entry.size):
            entry.has_room = True
            self._topics[entry.record.topic].put(entry)
        else:
            self._admission.waiters.append(entry)

    def accept_nowait(self, entry: Entry) -> None:
        """Give *entry* its place in its topic's queue.

        Raises:
            BufferFullError: there is no room, or others wait for it.
        """
        if not self._admission.try_acquire(entry.size):
            error = self._buffer_full(entry)
            self._end_record(entry, error)
            raise error
        if self._deadlines.add(entry):
            self._budget_timer.set()
        entry.has_room = True
        self._topics[entry.record.topic].put(entry)

    def _buffer_full(self, entry: Entry) -> BufferFullError:
        room = self._admission
        text = (
            f"buffer: {room.records} events and {room.bytes} bytes are unconfirmed, {len(room.waiters)} wait for room;"
            " await publish() to wait too, or raise BufferLimits(max_records=, max_bytes=)"
        )
        return BufferFullError(text, event_id=entry.event_id, topic=entry.record.topic, record=entry.event)

    # --- outcomes (PartitionListener) ----------------------------------------------

    def on_outcome(self, entry: Entry, outcome: Delivery | PublishError) -> None:
        """Tell *entry*'s caller, or whoever listens for late outcomes if he was told before."""
        if entry.ended:
            if entry.letter is None or self._router is None or not self._router.take_late(entry.letter, outcome):
                self._counters.late_outcomes += 1
                self._attempt_log.late(entry, outcome, self.loop.time())
                self.recorder.late(entry.token, entry.record.topic, outcome)
                call(self._hooks.on_late_outcome, OutcomeDetails(entry.event_id, entry.record.topic, outcome))
        else:
            entry.ended = True
            self._settle(entry, outcome)

    def on_acked(self, entries: Sequence[Entry], deliveries: Sequence[Delivery]) -> None:
        """Tell the callers of a whole batch. What `on_outcome` does, in one call instead of ten for each event."""
        if any(map(_ENDED, entries)):
            for entry, delivery in zip(entries, deliveries, strict=True):
                self.on_outcome(entry, delivery)
            return
        for entry, delivery in zip(entries, deliveries, strict=True):
            entry.ended, entry.outcome = True, delivery
        self._deadlines.discard_all(entries)
        partition, batch = entries[0].partition, entries[0].batch
        history = () if batch is None else batch.history
        took = history[-1].duration if history else 0.0
        self._callers.tell(entries, took, more_queued=partition is not None and bool(partition.queue))
        self._counters.persisted += len(deliveries)
        if self._drains:
            self._callers.tell_all()  # before the drain that is over with them returns
            for entry in entries:
                self._note_end(entry)
        tokens, now = [entry.token for entry in entries], self.loop.time()
        self.recorder.delivered(deliveries[0].topic, tokens, deliveries, history, now)
        if self._hooks.on_outcome:
            for entry, delivery in zip(entries, deliveries, strict=True):
                call(self._hooks.on_outcome, OutcomeDetails(entry.event_id, entry.record.topic, delivery))

    def _settle(self, entry: Entry, outcome: Delivery | PublishError) -> None:
        """Tell the caller, or make a dead letter of the event first; in both cases its room is free."""
        if self._router is None or isinstance(outcome, Delivery) or not entry.profile.dead_lettered:
            self._tell(entry, outcome)
            return
        try:
            self._router.route(entry, outcome)
        except Exception:  # noqa: BLE001 - whatever it is: the caller waits, and a budget's timer would find the entry again
            _log.exception("a dead letter could not be made, its event is only in the exception")
            entry.letter = None
            self._tell(entry, outcome)
        else:
            self._free(entry)

    def _tell(self, entry: Entry, outcome: Delivery | PublishError) -> None:
        entry.outcome = outcome
        self._counters.count(outcome.status)
        if entry.letter is None:
            self._free(entry)
        self._note_end(entry)
        waiter, entry.waiter = entry.waiter, None
        try:
            if waiter is not None:
                waiter(outcome)
        except asyncio.InvalidStateError:
            waiter = None  # cancelled in this very turn of the loop
        if waiter is None and isinstance(outcome, PublishError):
            _log.warning("nobody awaits this outcome: %s", outcome, extra=unheard(outcome))
        self._end_record(entry, outcome)
        if self._hooks.on_outcome:
            call(self._hooks.on_outcome, OutcomeDetails(entry.event_id, entry.record.topic, outcome))

    def _end_record(self, entry: Entry, outcome: Delivery | PublishError | None) -> None:
        """Note the end for spans and metrics, after the caller was told: an exporter that blocks keeps nobody waiting."""
        now = self.loop.time()
        if isinstance(outcome, PublishError):
            history = outcome.history
            if outcome.kafka_code is not None and not history:
                self._attempt_log.refused(outcome, now)
        else:
            history = () if entry.batch is None else entry.batch.history
        self.recorder.ended(entry.token, entry.record.topic, outcome, history, entry.started, now)

    def _free(self, entry: Entry) -> None:
        """Stop counting *entry*, unless a batch still holds its room."""
        self._deadlines.discard(entry)
        if not entry.has_room:
            self._admit()  # it may have been the one too large for the room there is
        elif entry.batch is None:
            entry.has_room = False
            self._give_back(1, entry.size)

    def _note_end(self, entry: Entry) -> None:
        for drain in self._drains:
            drain.note(entry)

    def on_batch_ended(self, entries: list[Entry]) -> None:
        """Give back the room that a batch held."""
        size = 0
        for entry in entries:
            entry.batch = None  # also breaks the cycle between the two
            size += entry.size
        self._give_back(len(entries), size)

    def _give_back(self, records: int, size: int) -> None:
        # In the same step the first waiters take the room and their places in the
        # topics' queues: a publish that comes later cannot get in between (rule 7).
        self._admission.give_back(records, size)
        self._admit()

    def _admit(self) -> None:
        while (entry := self._admission.next_waiter()) is not None:
            now = self.loop.time()
            entry.token = self.recorder.waited(entry.token, "admission", entry.record.topic, entry.started, now)
            self._topics[entry.record.topic].put(entry)

    def on_attempt(self, partition: TopicPartition, batch: Batch, attempt: Attempt) -> None:
        """Count an attempt, and tell the hooks."""
        self._counters.attempts += 1
        if attempt.outcome in (AttemptOutcome.NOT_APPENDED, AttemptOutcome.IN_DOUBT):
            self._counters.failed_attempts += 1
            self._attempt_log.failed(partition, batch, attempt, self.loop.time())
        elif self._attempt_log.open:
            self._attempt_log.written(partition, self.loop.time())
        oldest, facts = batch.entries[0], (len(batch.entries), batch.size, batch.profile.batch_size)
        self.recorder.attempt((oldest.token, oldest.started), partition.topic, facts, batch.history)
        if self._hooks.on_attempt:
            call(self._hooks.on_attempt, AttemptDetails(*partition, len(batch.entries), attempt))

    def on_abandoned(self, partition: TopicPartition, batch: Batch) -> None:
        """Remember a batch given up in doubt, for an answer that may still come."""
        self._attempt_log.abandoned(partition, batch, self.loop.time())
        self._abandoned.add(batch)

    # --- what the transport tells (TransportListener) ------------------------------

    def on_late(self, partition: TopicPartition, wire: WireBatch, result: Acked | Rejected) -> None:
        """Settle a batch that still lives, or report late outcomes of one given up."""
        lane = self._topics[partition.topic].lane(partition.partition)
        if lane.partition.late(wire, result, self.loop.time()):
            lane.wake()
            if isinstance(result, Acked) and self._attempt_log.open:
                self._attempt_log.written(partition, self.loop.time())
        else:
            self._abandoned.answer(partition, wire, result, self.loop.time())

    def on_partitions(self, topic: str, count: int) -> None:
        """Take over a partition count that a metadata answer showed."""
        if topic in self._topics:
            self._topics[topic].grow(count)

    # --- budgets and cancellation --------------------------------------------------

    def _expire_all(self, due: Sequence[Entry]) -> None:
        now, problems = self.loop.time(), self.transport.problems()
        for entry in due:
            if not entry.ended:  # else a hook that was told of another one withdrew it
                self._expire(entry, now, problems)

    def _expire(self, entry: Entry, now: float, problems: tuple[str, ...]) -> None:
        if entry.partition is None:
            outcome: PublishError = Ending(entry.record.topic, None, (), now, problems).unavailable(entry, "budget")
        else:
            outcome = entry.partition.interrupted(entry, "budget", now, problems)
        self._end_early(entry)
        self._settle(entry, outcome)
        self._relax(entry)

    def withdraw(self, entry: Entry) -> bool:
        """Take *entry* back, if no attempt to write it can have begun (rule 10)."""
        if entry.ended or (entry.partition is not None and entry.partition.holds(entry)):
            return False
        self._end_early(entry)
        self._counters.withdrawn += 1
        self._free(entry)
        self._note_end(entry)
        self._end_record(entry, None)
        self._relax(entry)
        return True

    @staticmethod
    def _end_early(entry: Entry) -> None:
        entry.ended = True
        if entry.partition is not None:
            entry.partition.release(entry)
        elif entry.queue is not None:
            entry.queue.note_ended()

    def _relax(self, entry: Entry) -> None:
        """Let waits end that only *entry* needed."""
        topic = self._topics.get(entry.record.topic)
        if topic is None:
            return
        lane = topic.lane_of(entry)
        if lane is None:
            topic.relax()
        else:
            lane.relax()

    # --- flush and close -----------------------------------------------------------

    async def flush(self, timeout: float) -> DrainReport:
        """Wait until every event that is open now has ended, or *timeout* seconds."""
        with self._watched() as drain:
            self._stop_lingering(self.loop.time())
            await drain.wait(self.loop.time() + timeout)
            now = self.loop.time()
            return drain.report(self._status(entry, now) for entry in drain.pending)

    async def aclose(self, timeout: float, hurry: asyncio.Future[None]) -> DrainReport:
        """Drain for *timeout* seconds or until *hurry*, settle what is left, leave nothing behind.

        The last fifth of it, at least a second and at most half, is the dead-letter writer's.
        """
        end = self.loop.time() + timeout
        draining = timeout if self._router is None else timeout - min(max(timeout / 5, 1.0), timeout / 2)
        with self._watched() as drain:
            hurry.add_done_callback(lambda _: drain.stop_waiting())
            self._end_waiters()
            self._stop_lingering(float("inf"))
            await drain.wait(self.loop.time() + draining)
            drain.begin_closing(self._routed())
            # A lane that is not halted takes what a closing transport answers for a refusal, and
            # one whose policy waits for nothing would try again for ever.
            for topic in self._topics.values():
                topic.halt()
            # Then the transport: it knows which requests were written, and says so to the lanes.
            await self.transport.aclose(self.loop.time() + _SOCKETS_CLOSE)
            await asyncio.sleep(0)
            for topic in self._topics.values():
                await topic.stop(self.loop.time())
            await self._end_letters(end, hurry)
            self._budget_timer.cancel()
            return drain.report()

    @contextmanager
    def _watched(self) -> Iterator[Drain]:
        self._callers.tell_all()  # whose outcome is known at the end of a flush or a close has heard of it
        drain = Drain((*self._deadlines, *self._routed()), self.loop)
        self._drains.append(drain)
        try:
            yield drain
        finally:
            self._drains.remove(drain)

    def _routed(self) -> Iterable[Entry]:
        return () if self._router is None else self._router.open

    async def _end_letters(self, end: float, hurry: asyncio.Future[None]) -> None:
        """Let the dead-letter writer have what is left of the time, or hurry."""
        if self._router is None:
            return
        closing = self.loop.create_task(self._router.aclose(max(end, self.loop.time() + _LETTERS_CLOSE)))
        await asyncio.wait({closing, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)

    def _end_waiters(self) -> None:
        now = self.loop.time()
        for entry in list(self._admission.waiters.drain()):  # all out, before one's end could let another in
            self.on_outcome(entry, Ending(entry.record.topic, None, (), now).unavailable(entry, "closing"))

    def _stop_lingering(self, until: float) -> None:
        # What waits for room or for its topic's partition count is in no lane yet, and
        # would begin to linger when it gets there, after a flush or a close has begun.
        self.hastened = until
        for lane in self._lanes():
            lane.partition.stop_lingering()
            lane.wake()

    def _status(self, entry: Entry, now: float) -> PublishError:
        if entry.partition is None:
            return Ending(entry.record.topic, None, (), now).unavailable(entry, "drain")
        return entry.partition.interrupted(entry, "drain", now)

    # --- looking in ----------------------------------------------------------------

    def _lanes(self) -> Iterable[Lane]:
        return (lane for topic in self._topics.values() for lane in topic.lanes)

    @property
    def full(self) -> bool:
        """Whether a publish would have to wait for room now."""
        return self._admission.full

    def levels(self) -> Levels:
        """Return what metrics are read from. Called in any thread, hence the copies."""
        room, lanes = self._admission, [lane for topic in list(self._topics.values()) for lane in list(topic.lanes)]
        bumps = sum(lane.partition.sequence.bumps for lane in lanes)
        mixed = sum(lane.partition.mixed_cuts for lane in lanes)
        return Levels(room.records, room.bytes, len(room.waiters), bumps, mixed)

    def statistics(self) -> PublisherStatistics:
        """Return the counters as of now."""
        partitions = [lane.partition for lane in self._lanes()]
        return PublisherStatistics(
            unconfirmed=self._admission.records,
            unconfirmed_bytes=self._admission.bytes,
            waiting_for_room=len(self._admission.waiters),
            epoch_bumps=sum(partition.sequence.bumps for partition in partitions),
            mixed_cuts=sum(partition.mixed_cuts for partition in partitions),
            dead_letters_written=self._router.written if self._router else 0,
            dead_letters_failed=self._router.failed if self._router else 0,
            **asdict(self._counters),
        )
