"""Requests that wait in the broker until their replicas have caught up (Kafka's own word for it)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from eventpub.abc import Acked, Rejected, TopicPartition
from eventpub.transports.memory.node import Node
from eventpub.transports.memory.request import Request, Results

REQUEST_TIMED_OUT = 7


@dataclass(slots=True, eq=False)
class Waiting:
    """A served request whose answer is not due yet."""

    node: Node
    request: Request
    results: Results
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True, eq=False)
class Purgatory:
    """Holds back the whole answer while one of its partitions lags; then code 7 for that one.

    The batch is in the leader's log all the while, so the answer tells its offset.
    """

    reply: Callable[[Node, Request, Results], None]
    lagging: set[TopicPartition] = field(default_factory=set)
    _waiting: dict[Waiting, None] = field(default_factory=dict)

    def admit(self, node: Node, request: Request, results: Results) -> bool:
        """Keep the answer back if a partition of it lags and somebody waits for it; say whether it did."""
        waiting = Waiting(node, request, results)
        if not self.lagging or request.abandoned or not any(self._lags(waiting)):
            return False
        waiting.timer = request.loop.call_later(request.timeout, self._time_out, waiting)
        self._waiting[waiting] = None
        return True

    def catch_up(self, partition: TopicPartition) -> None:
        """The replicas of *partition* have followed: send the answers that wait for nothing more."""
        self.lagging.discard(partition)
        for waiting in tuple(self._waiting):
            if not any(self._lags(waiting)):
                self._leave(waiting, waiting.results)

    def _lags(self, waiting: Waiting) -> list[bool]:
        pairs = zip(waiting.request.entries, waiting.results, strict=True)
        return [isinstance(result, Acked) and entry.partition in self.lagging for entry, result in pairs]

    def _time_out(self, waiting: Waiting) -> None:
        pairs = zip(waiting.results, self._lags(waiting), strict=True)
        self._leave(waiting, [_timed_out(result) if lags else result for result, lags in pairs])

    def _leave(self, waiting: Waiting, results: Results) -> None:
        del self._waiting[waiting]
        if waiting.timer is not None:
            waiting.timer.cancel()
        self.reply(waiting.node, waiting.request, results)


def _timed_out(result: Acked | Rejected) -> Rejected:
    return Rejected(result.broker, REQUEST_TIMED_OUT, result.offset)
