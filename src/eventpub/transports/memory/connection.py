"""A client's connection to one broker for one acks value: one request at a time, batches merged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from eventpub._fairness import fits_one_callback
from eventpub.abc import (
    Acked,
    Acks,
    InDoubt,
    NotSent,
    OnResult,
    TopicPartition,
    TransportListener,
    Unacknowledged,
    WireBatch,
)
from eventpub.transports.bell import Bell
from eventpub.transports.memory.node import Node
from eventpub.transports.memory.request import Entry, Request, Results

MAX_REQUEST = 8 * 1024 * 1024
IDEMPOTENT_TIMEOUT = 2.0


@dataclass(slots=True, eq=False)
class Connection:
    """What one transport writes to one broker with one acks value.

    Batches given in one turn of the loop leave as one request. Each ends by its own
    deadline; at the last of them the connection is closed, and the answer is never seen.
    """

    node: Node
    acks: Acks
    listener: TransportListener
    send: Callable[[Request], None]
    loop: asyncio.AbstractEventLoop
    released: Bell = field(default_factory=Bell)
    _open: bool = False
    _closed: bool = False
    _pending: list[Entry] = field(default_factory=list)
    _in_flight: Request | None = None
    _overdue: dict[Request, None] = field(default_factory=dict)
    _mute: asyncio.TimerHandle | None = None

    def connect(self) -> bool:
        """Connect if need be, and say whether there is a connection now."""
        if self._open or self._closed:
            return self._open
        if not self.node.answers:
            self.node.turn_away()
        else:
            self._open = True
            self.node.accept(self)
        return self._open

    @property
    def free(self) -> bool:
        """Whether a batch given now would leave now: nothing is in flight and no throttle time runs."""
        return self._in_flight is None and self._mute is None

    def post(self, partition: TopicPartition, batch: WireBatch, deadline: float, on_result: OnResult) -> Entry:
        """Put *batch* into the next request, and tell *on_result* what came of it."""
        entry = Entry(partition, batch, deadline, on_result, self.loop)
        self._pending.append(entry)
        if not self.free:
            self._watch_unsent(entry)
        elif len(self._pending) == 1:
            self.loop.call_soon(self._flush)
        return entry

    def written(self, request: Request) -> None:
        """With acks=0 nobody will answer: the batches end here."""
        if request.acks == 0:
            for entry in request.entries:
                entry.settle(Unacknowledged(self.node.name))
            self._release(request)

    def answer(self, request: Request, results: Results, throttle: float) -> None:
        """Hand each batch its result; one whose call has ended is told as late."""
        if request.abandoned:
            return
        self._overdue.pop(request, None)
        if throttle and self._mute is None:
            self._mute = self.loop.call_later(throttle, self._unmute)
        # First, because whoever is told may post what comes next: who waited for this has his turn before.
        self._release(request)
        at_once = fits_one_callback(len(request.entries), request.size)
        for entry, result in zip(request.entries, results, strict=True):
            if not entry.open:
                self.listener.on_late(entry.partition, entry.batch, result)
            elif isinstance(result, Acked) and at_once:
                entry.acknowledge(result)
            else:
                entry.settle(result)

    def lose(self, cause: BaseException) -> None:
        """The connection broke: what is in flight is in doubt at once."""
        self._disconnect()
        request = self._in_flight
        if request is not None:
            request.abandon()
            for entry in request.entries:
                entry.settle(InDoubt(self.node.name, cause))
            self._release(request)

    def close(self) -> None:
        """End everything that waits, and leave no timer behind."""
        self._closed = True
        cause = ConnectionAbortedError("the transport was closed")
        self.lose(cause)
        self._unmute()
        pending, self._pending = self._pending, []
        self._refuse(pending, cause)
        self.released.ring()

    def _disconnect(self) -> None:
        self._open = False
        self.node.forget(self)
        for request in self._overdue:
            request.abandon()
        self._overdue.clear()

    def _flush(self) -> None:
        if not self.free:
            return  # the answer will come back here
        entries = self._next_entries()
        if entries and self.connect():
            self._write(entries)
        elif entries:
            self._refuse(entries, ConnectionRefusedError(f"no connection to {self.node.name}"))
            self._next()

    def _refuse(self, entries: list[Entry], cause: Exception) -> None:
        for entry in entries:
            entry.settle(NotSent(self.node.name, cause))

    def _next_entries(self) -> list[Entry]:
        """Take what may share a request: each partition once, 8 MiB, and nothing whose call was cancelled."""
        chosen: dict[TopicPartition, Entry] = {}
        later: list[Entry] = []
        room = MAX_REQUEST
        for entry in self._pending:
            size = len(entry.batch.data)
            if not entry.open:
                entry.forget_timer()
            elif entry.partition in chosen or (chosen and size > room):
                later.append(entry)
                self._watch_unsent(entry)
            else:
                chosen[entry.partition] = entry
                room -= size
        self._pending = later
        return list(chosen.values())

    def _write(self, entries: list[Entry]) -> None:
        timeout = self._broker_timeout(entries)
        request = Request(entries, self.acks, self.node.name, self, timeout, self.node.incarnation, self.loop)
        self._in_flight = request
        self.send(request)
        if self._in_flight is request:
            self._watch(request)

    def _broker_timeout(self, entries: list[Entry]) -> float:
        """Let the broker answer before the client gives up; soon, where a resend is harmless."""
        longest = max(entry.deadline for entry in entries) - self.loop.time()
        idempotent = all(entry.batch.stamp.idempotent for entry in entries)
        return min(0.9 * longest, IDEMPOTENT_TIMEOUT if idempotent else longest)

    def _watch(self, request: Request) -> None:
        for entry in request.entries:
            entry.forget_timer()
            entry.timer = self.loop.call_at(entry.deadline, self._expire, request, entry)

    def _expire(self, request: Request, entry: Entry) -> None:
        cause = TimeoutError(f"no answer from {self.node.name} in time")
        entry.settle(InDoubt(self.node.name, cause))
        if self._in_flight is not request or entry.deadline < request.deadline:
            return
        if request.outlives_deadline:
            self._overdue[request] = None
        else:
            request.abandon()
            self._disconnect()
        self._release(request)

    def _watch_unsent(self, entry: Entry) -> None:
        entry.forget_timer()
        entry.timer = self.loop.call_at(entry.deadline, self._expire_unsent, entry)

    def _expire_unsent(self, entry: Entry) -> None:
        self._pending.remove(entry)
        entry.settle(NotSent(self.node.name, TimeoutError("nothing could be written in time")))

    def _unmute(self) -> None:
        if self._mute is not None:
            self._mute.cancel()
            self._mute = None
            self._next()

    def _release(self, request: Request) -> None:
        if self._in_flight is request:
            self._in_flight = None
            self._next()

    def _next(self) -> None:
        if self.free:
            self.released.ring()
            if self._pending:
                self.loop.call_soon(self._flush)
