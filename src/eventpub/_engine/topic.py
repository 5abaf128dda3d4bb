"""Routes one topic's records to its partitions, in order, once their number is known."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from eventpub._engine.keyed_defaultdict import KeyedDefaultDict
from eventpub._engine.lane import Lane
from eventpub._fairness import fits_one_callback
from eventpub._rules.failures import Ending
from eventpub._rules.limit import SizeLimit
from eventpub._rules.listener import PartitionListener
from eventpub._rules.partition import Partition
from eventpub._rules.queue import EntryQueue
from eventpub.abc import Partitioner, Recorder, Rejected, TopicPartition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from contextvars import Context

    from eventpub._rules.entry import Entry
    from eventpub.abc import CallbackTransport, Transport

_RECORD, _STARTED = attrgetter("record"), attrgetter("started")
_ROUTED_AT_ONCE = 2_500  # records, before the event loop gets its turn
_STICKY_BYTES = 16 * 1024  # Kafka's batch.size: a partition without leader keeps no more null keys than this


class TopicContext(Protocol):
    """What a topic needs of the engine around it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def background(self) -> Context: ...
    @property
    def transport(self) -> Transport: ...
    @property
    def direct(self) -> CallbackTransport | None: ...
    @property
    def partitioner(self) -> Partitioner: ...
    @property
    def listener(self) -> PartitionListener: ...
    @property
    def hastened(self) -> float: ...
    @property
    def recorder(self) -> Recorder: ...


class Topic:
    """A topic's queue, its partitions' lanes, and the partition that null keys stick to.

    What is published in one turn of the loop is routed together in the next: hashing a hundred
    keys at once takes an eighth of what hashing each takes.
    """

    __slots__ = (
        "_beyond",
        "_context",
        "_count",
        "_known_since",
        "_lanes",
        "_limit",
        "_queue",
        "_resolver",
        "_routing",
        "_sticky",
        "_sticky_cuts",
        "_sticky_left",
        "name",
    )

    def __init__(self, name: str, context: TopicContext) -> None:
        self.name = name
        self._context = context
        self._count = 0
        self._known_since = 0.0
        self._lanes = KeyedDefaultDict(self._open)
        self._limit = SizeLimit()
        self._queue = EntryQueue()  # until the loop's next turn, or while the partition count is unknown
        self._beyond = EntryQueue()  # asked for a partition that the last count does not have
        self._resolver: asyncio.Task[None] | None = None
        self._routing: asyncio.Handle | None = None
        self._sticky = -1
        self._sticky_cuts = -1
        self._sticky_left = 0  # bytes

    def put(self, entry: Entry) -> None:
        """Queue *entry* behind every earlier one of its partition."""
        self._queue.append(entry)
        if self._routing is None:
            self._route_soon() if self._count else self._resolve()

    def _route_soon(self) -> None:
        if self._routing is None and self._queue:
            self._routing = self._context.loop.call_soon(self._route_queued, context=self._context.background)

    def _route_queued(self) -> None:
        """Route what was published since the last turn."""
        self._routing = None
        entries = self._queue.take(_ROUTED_AT_ONCE)
        for entry in entries:
            if entry.started <= self._known_since:
                self._note_wait(entry)
        lanes = self._route(entries)
        # All of them now, or none: who went at once would be written before the others had their batches.
        at_once = fits_one_callback(len(lanes), sum(lane.partition.queued_bytes for lane in lanes))
        for lane in lanes:
            lane.advance() if at_once else lane.advance_soon()
        self._route_soon()

    def _route(self, entries: Sequence[Entry]) -> Sequence[Lane]:
        """Give each partition its share of *entries*, and return the lanes of those that got one."""
        places = [(record.key, record.partition) for record in map(_RECORD, entries)]
        keys = [key for key, partition in places if key is not None and partition is None]
        chosen = iter(self._context.partitioner(keys, self._count))
        shares: defaultdict[int, list[Entry]] = defaultdict(list)
        for entry, (key, partition) in zip(entries, places, strict=True):
            if partition is None:
                shares[self._sticky_for(entry) if key is None else next(chosen)].append(entry)
            elif partition < self._count:
                shares[partition].append(entry)
            else:
                self._beyond.append(entry)
                self._resolve()
        for number, share in shares.items():
            partition = self._lanes[number].partition
            partition.extend(share)
            if min(map(_STARTED, share)) <= self._context.hastened:  # published before a flush or a close
                partition.stop_lingering()
        return [self._lanes[number] for number in shares]

    def lane(self, number: int) -> Lane:
        """Return the lane of partition *number*."""
        return self._lanes[number]

    def _open(self, number: int) -> Lane:
        context = self._context
        partition = Partition(TopicPartition(self.name, number), context.listener, self._limit)
        return Lane(partition, context.transport, context.direct, context.loop, context.background)

    def _sticky_for(self, entry: Entry) -> int:
        """Return the partition for null keys: the same one until its batch was cut (KIP-480)."""
        if self._sticky_left <= 0 or self.lane(self._sticky).partition.cuts != self._sticky_cuts:
            self._sticky = self._next_with_leader()
            partition = self.lane(self._sticky).partition
            self._sticky_left = _STICKY_BYTES - partition.queued_bytes
            self._sticky_cuts = partition.cuts
        self._sticky_left -= entry.size
        return self._sticky

    def _next_with_leader(self) -> int:
        turns = [(self._sticky + 1 + turn) % self._count for turn in range(self._count)]
        has_leader = self._context.transport.has_leader
        return next((number for number in turns if has_leader(TopicPartition(self.name, number))), turns[0])

    # --- learning the partition count ----------------------------------------------

    def grow(self, count: int) -> None:
        """Take over a new partition count; keyed records of now on follow it, as Java's do."""
        if not self._count:
            self._known_since = self._context.loop.time()
        self._count = count
        # In the same step: whoever publishes now would be routed sooner than those that asked
        # for a new partition while it was not there yet (rule 7).
        waiting, self._beyond = self._beyond, EntryQueue()
        for lane in self._route([*waiting.drain()]):
            lane.wake()
        self._route_soon()

    def _resolve(self) -> None:
        if self._resolver is None:
            # Not eager, as in Lane.wake.
            self._resolver = asyncio.Task(self._learn(), loop=self._context.loop, context=self._context.background)

    async def _learn(self) -> None:
        """Ask for the partition count until no record needs it."""
        try:
            while self._wanted:
                answer = await self._context.transport.partitions(self.name, fresh=bool(self._beyond))
                if isinstance(answer, Rejected):
                    await self._refuse(answer)
                else:
                    self.grow(answer)
                    await self._end_beyond()
        finally:
            if self._resolver is asyncio.current_task():
                self._resolver = None

    @property
    def _wanted(self) -> bool:
        """Whether a record waits for the partition count, or for a newer one."""
        return bool(self._beyond) or (not self._count and bool(self._queue))

    async def _end_beyond(self) -> None:
        """Refuse what asked for a partition that the count just learned does not have either."""
        async for entry in _in_turns(self._beyond.drain()):
            partition = entry.record.partition
            if partition is not None and partition >= self._count:
                ending = Ending(self.name, partition, (), self._context.loop.time())
                self._context.listener.on_outcome(entry, ending.no_such_partition(entry, self._count))
            else:
                for lane in self._route([entry]):
                    lane.wake()

    def _note_wait(self, entry: Entry) -> None:
        context, known = self._context, self._known_since
        entry.token = context.recorder.waited(entry.token, "metadata", self.name, entry.started, known)

    async def _refuse(self, refusal: Rejected) -> None:
        for queue in (self._beyond,) if self._count else (self._queue, self._beyond):
            async for entry in _in_turns(queue.drain()):
                ending = Ending(self.name, None, (), self._context.loop.time())
                self._context.listener.on_outcome(entry, ending.rejected(entry, refusal.code, refusal.message))

    # --- what the engine asks ------------------------------------------------------

    @property
    def lanes(self) -> Iterable[Lane]:
        """The lanes of partitions used so far."""
        return self._lanes.values()

    def lane_of(self, entry: Entry) -> Lane | None:
        """Return where *entry* was routed to."""
        return None if entry.partition is None else self._lanes[entry.partition.name.partition]

    def relax(self) -> None:
        """Stop asking for a partition count that no record needs any more."""
        if self._resolver is not None and not self._wanted:
            self._resolver.cancel()
            self._resolver = None

    def halt(self) -> None:
        """Begin nothing any more; what was sent may still be answered."""
        if self._resolver is not None:
            self._resolver.cancel()
        if self._routing is not None:
            self._routing.cancel()
        for lane in self._lanes.values():
            lane.halt()

    async def stop(self, now: float) -> None:
        """End every task, and every record that is left, as its history says. Comes after `halt`."""
        if self._resolver is not None:
            await asyncio.gather(self._resolver, return_exceptions=True)
        ending = Ending(self.name, None, (), now)
        for queue in (self._queue, self._beyond):
            for entry in queue.drain():
                self._context.listener.on_outcome(entry, ending.unavailable(entry, "drain"))
        for lane in self._lanes.values():
            lane.partition.close(now)
            await lane.stop()


async def _in_turns(entries: Iterator[Entry]) -> AsyncIterator[Entry]:
    """Yield *entries*, and let the event loop have its turn now and then."""
    for number, entry in enumerate(entries, 1):
        yield entry
        if number % _ROUTED_AT_ONCE == 0:
            await asyncio.sleep(0)
