"""Merging: lanes that produce in one turn of the loop share a request.

Deliberately dumb: one list of what waits, one request in flight. A request carries each
partition once and at most 8 MiB. What an answer means is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

from eventpub._fairness import fits_one_callback
from eventpub.abc import (
    Acked,
    Acks,
    AttemptResult,
    InDoubt,
    NotSent,
    OnResult,
    Rejected,
    TopicPartition,
    Unacknowledged,
    WireBatch,
)
from eventpub.transports.kafka.answers import ProduceAnswer, Topics
from eventpub.transports.kafka.errors import (
    ConnectionFault,
    ConnectionLostError,
    NoAnswerError,
    UnreachableError,
)
from eventpub.transports.kafka.line import Line, Link

MAX_REQUEST = 8 * 1024 * 1024
_BROKER_SHARE = 0.9
_IDEMPOTENT_LIMIT = 2.0
_NEVER = float("inf")


class Notes(Protocol):
    """Who is told what no caller waits for any more, and which partition was refused."""

    def on_late(self, partition: TopicPartition, batch: WireBatch, result: Acked | Rejected, /) -> None:
        """An answer came for an attempt that had ended as in doubt."""

    def on_rejected(self, partition: TopicPartition, code: int, /) -> None:
        """A broker answered with an error code."""


class Entry:
    """One batch on its way: until its answer, its deadline, or its caller's cancellation."""

    __slots__ = ("_loop", "_on_result", "batch", "deadline", "partition")

    def __init__(
        self,
        partition: TopicPartition,
        batch: WireBatch,
        deadline: float,
        on_result: OnResult,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.partition = partition
        self.batch = batch
        self.deadline = deadline
        self._on_result: OnResult | None = on_result
        self._loop = loop

    @property
    def open(self) -> bool:
        """Whether its caller still waits."""
        return self._on_result is not None

    def cancel(self) -> None:
        """Wait no longer."""
        self._on_result = None

    def acknowledge(self, result: Acked) -> None:
        """Give the caller, who waits, the acknowledgement at once; what he posts then goes with the next request."""
        on_result, self._on_result = self._on_result, None
        if on_result is not None:
            on_result(result)

    def end(self, result: AttemptResult) -> None:
        """Give the caller his value, unless one was given before, in the next turn of the loop.

        Not in this one where too many others have theirs, since what each does with it takes its time;
        nor where he may try again at once, while what the value comes from (a connection that ends, a
        leader that changed) is still under way.
        """
        on_result, self._on_result = self._on_result, None
        if on_result is not None:
            self._loop.call_soon(on_result, result)


class Request:
    """A Produce request in flight; it hears the answer for its entries."""

    __slots__ = ("_outbox", "entries", "link")

    def __init__(self, outbox: Outbox, link: Link, entries: dict[TopicPartition, Entry]) -> None:
        self._outbox = outbox
        self.link = link
        self.entries = entries

    @property
    def deadline(self) -> float:
        """The longest of its entries' deadlines: the request itself lives as long."""
        return max(entry.deadline for entry in self.entries.values())

    @property
    def size(self) -> int:
        """The bytes of its batches, as they were sent."""
        return sum(len(entry.batch.data) for entry in self.entries.values())

    @property
    def topics(self) -> Topics:
        """The entries as Produce wants them, by topic."""
        topics: dict[str, list[tuple[int, bytes]]] = {}
        for (topic, number), entry in self.entries.items():
            topics.setdefault(topic, []).append((number, entry.batch.data))
        return list(topics.items())

    def broker_timeout(self, now: float) -> float:
        """How long the broker may wait for replicas.

        Less than the longest attempt has left, so that the broker's answer comes before the
        attempt is given up. And short if all can be sent again without harm: while one
        partition waits for its replicas, all others of the connection wait with it.
        """
        timeout = (self.deadline - now) * _BROKER_SHARE
        if all(entry.batch.stamp.idempotent for entry in self.entries.values()):
            return min(timeout, _IDEMPOTENT_LIMIT)
        return timeout

    def answered(self, answer: ProduceAnswer, /) -> None:
        """Take the broker's answer."""
        self._outbox.on_answer(self, answer)

    def lost(self, fault: ConnectionFault, /) -> None:
        """Take the end of the connection."""
        self._outbox.on_loss(self, fault)


class Outbox:
    """What goes to one broker with one acks value: waiting, then in flight, one request at a time.

    Each batch ends by itself at its own deadline. Only when the last of a request is over,
    the connection is ended, because whatever is written behind an unanswered request waits.
    """

    def __init__(self, line: Line, acks: Acks, notes: Notes) -> None:
        self.line = line
        self._acks = acks
        self._notes = notes
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Entry] = []
        self._waiting_bytes = 0
        self._request: Request | None = None
        self._flush_due: asyncio.Handle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = _NEVER
        self._throttle: asyncio.TimerHandle | None = None

    @property
    def free(self) -> bool:
        """Whether a batch handed in now would be written in the next turn of the loop."""
        return (
            self._request is None
            and self.line.link is not None
            and self._throttle is None
            and self._waiting_bytes < MAX_REQUEST
        )

    def post(self, partition: TopicPartition, batch: WireBatch, deadline: float, on_result: OnResult) -> Entry:
        """Write *batch* with the next request, and tell *on_result* what came of it by *deadline*.

        Cancelled before it was written, it is not written. Cancelled later, its answer is a
        late one.
        """
        entry = Entry(partition, batch, deadline, on_result, self._loop)
        self._waiting.append(entry)
        self._waiting_bytes += len(batch.data)
        self._flush_soon()
        if deadline < self._alarm_at:
            self._set_alarm(deadline)
        return entry

    def leave(self, partitions: Collection[TopicPartition]) -> None:
        """Wait no longer for the answers about *partitions*, which others lead now.

        Only where the new leader recognises the batch if this broker appended it. An answer
        that comes all the same is a late one.
        """
        entries = self._request.entries if self._request is not None else {}
        for entry in entries.values():
            if entry.partition in partitions and entry.batch.stamp.idempotent:
                fault = NoAnswerError(f"{self._broker} did not answer, and does not lead {entry.partition} any more")
                entry.end(InDoubt(self._broker, fault))

    def close(self, fault: ConnectionFault) -> None:
        """End everything with its value: what waits was not sent, what is in flight is in doubt."""
        for entry in self._take_waiting():
            entry.end(NotSent(self._broker, fault))
        if self._request is not None:
            self._request.link.abort(fault)
        for handle in (self._alarm, self._throttle, self._flush_due):
            if handle is not None:
                handle.cancel()

    # --- writing ------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        # In the next turn: the other lanes that were woken in this one have their batches by then.
        if self._flush_due is None:
            self._flush_due = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = None
        if self._request is not None or self._throttle is not None:
            return
        link = self.line.link
        if link is None or not link.usable:
            self._refuse_waiting()
        elif entries := self._pick():
            self._write(link, entries)
        else:  # cancelled, all of them: whoever saw them waiting may go ahead
            self.line.bell.ring()

    def _write(self, link: Link, entries: dict[TopicPartition, Entry]) -> None:
        request = self._request = Request(self, link, entries)
        self.line.acquire(link)
        # With acks=0 this may call `on_answer` before it returns.
        link.produce(request.topics, self._acks, request.broker_timeout(self._loop.time()), request)

    def _pick(self) -> dict[TopicPartition, Entry]:
        """Take what fits into one request, in the order it came."""
        picked: dict[TopicPartition, Entry] = {}
        left: list[Entry] = []
        size = 0
        for entry in self._take_waiting():
            if not entry.open:  # cancelled meanwhile
                continue
            if entry.partition in picked or (picked and size + len(entry.batch.data) > MAX_REQUEST):
                left.append(entry)
                continue
            picked[entry.partition] = entry
            size += len(entry.batch.data)
        self._keep_waiting(left)
        return picked

    def _refuse_waiting(self) -> None:
        fault = self.line.fault or UnreachableError(f"{self._broker} is not connected")
        for entry in self._take_waiting():
            entry.end(NotSent(self._broker, fault))

    def _take_waiting(self) -> list[Entry]:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return waiting

    def _keep_waiting(self, entries: list[Entry]) -> None:
        self._waiting = entries
        self._waiting_bytes = sum(len(entry.batch.data) for entry in entries)

    # --- answers ------------------------------------------------------------------------

    def on_answer(self, request: Request, answer: ProduceAnswer) -> None:
        """Give each batch of *request* its part of the answer."""
        if self._acks != 0 and not request.entries.keys() <= answer.results.keys():
            # A broker answers for every partition it was asked for, so this is noise that happens to
            # decode. Its throttle time was once believed: up to 24 days of silence to a broker that
            # was well. What else comes over this connection is as little worth.
            fault = ConnectionLostError(f"{request.link.broker} left partitions out of its answer")
            self._loop.call_soon(request.link.abort, fault)  # not at once: its reader runs this
        elif answer.throttle > 0 and self._throttle is None:
            self._throttle = self._loop.call_later(answer.throttle, self._unthrottle)
        # First, because whoever is told may post what comes next: who waited for this has his turn
        # before that is written, else busy partitions would keep the others waiting for ever.
        self._finish(request)
        at_once = fits_one_callback(len(request.entries), request.size)
        for partition, entry in request.entries.items():
            self._settle(entry, self._result_of(partition, request, answer), at_once=at_once)

    def on_loss(self, request: Request, fault: ConnectionFault) -> None:
        """Leave each batch of *request* in doubt: its bytes were written, and no answer will come."""
        for entry in request.entries.values():
            entry.end(InDoubt(request.link.broker, fault))
        self._finish(request)

    def _result_of(self, partition: TopicPartition, request: Request, answer: ProduceAnswer) -> AttemptResult:
        broker = request.link.broker
        if self._acks == 0:
            return Unacknowledged(broker)
        result = answer.results.get(partition)
        if result is None:
            return InDoubt(broker, ConnectionLostError(f"{broker} left {partition} out of its answer"))
        return result

    def _settle(self, entry: Entry, result: AttemptResult, *, at_once: bool) -> None:
        if isinstance(result, Rejected):
            self._notes.on_rejected(entry.partition, result.code)
        if not entry.open:
            if isinstance(result, (Acked, Rejected)):
                self._notes.on_late(entry.partition, entry.batch, result)
        elif isinstance(result, Acked) and at_once:
            entry.acknowledge(result)
        else:
            entry.end(result)

    def _finish(self, request: Request) -> None:
        self._request = None
        self.line.release(request.link)
        if self._waiting:
            self._flush_soon()

    def _unthrottle(self) -> None:
        self._throttle = None
        if self._waiting:
            self._flush_soon()
        self.line.bell.ring()

    # --- deadlines ----------------------------------------------------------------------

    def _set_alarm(self, at: float) -> None:
        # One timer for all, and it stays when an answer comes: setting and cancelling one
        # per request costs more than letting it ring for nothing once in a request_timeout.
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = self._loop.call_at(at, self._on_alarm), at

    def _on_alarm(self) -> None:
        self._alarm, self._alarm_at = None, _NEVER
        now = self._loop.time()
        self._expire_waiting(now)
        if self._request is not None:
            self._expire(self._request, now)
        deadlines = [entry.deadline for entry in self._waiting if entry.open]
        if self._request is not None:
            deadlines += [entry.deadline for entry in self._request.entries.values() if entry.open]
            deadlines.append(self._request.deadline)
        if deadlines:
            self._set_alarm(min(deadlines))

    def _expire_waiting(self, now: float) -> None:
        entries = self._take_waiting()
        self._keep_waiting([entry for entry in entries if entry.open and entry.deadline > now])
        for entry in entries:
            if entry.deadline <= now:
                fault = NoAnswerError(f"{self._broker} was busy until the attempt's time was over")
                entry.end(NotSent(self._broker, fault))

    def _expire(self, request: Request, now: float) -> None:
        fault = NoAnswerError(f"{request.link.broker} did not answer in time")
        for entry in request.entries.values():
            if entry.deadline <= now:
                entry.end(InDoubt(request.link.broker, fault))
        if request.deadline <= now:
            request.link.abort(fault)

    @property
    def _broker(self) -> str:
        return str(self.line.address)
