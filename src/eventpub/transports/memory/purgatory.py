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

    def stalled(self, lagging: Callable[[TopicPartition], bool]) -> list[bool]:
        """Say of each result whether its partition's replicas lack it."""
        return [
            isinstance(result, Acked) and lagging(entry.partition)
            for entry, result in zip(self.request.entries, self.results, strict=True)
        ]


@dataclass(slots=True, eq=False)
class Purgatory:
    """Holds back the whole answer while one of its partitions lags; then code 7 for that one.

    The batch is in the leader's log all the while, so the answer tells its offset.
    """

    lagging: Callable[[TopicPartition], bool]
    reply: Callable[[Node, Request, Results], None]
    _waiting: dict[Waiting, None] = field(default_factory=dict)

    def admit(self, node: Node, request: Request, results: Results) -> bool:
        """Keep the answer back if a partition of it lags, and say whether it did."""
        waiting = Waiting(node, request, results)
        if not any(waiting.stalled(self.lagging)):
            return False
        waiting.timer = request.loop.call_later(request.timeout, self._time_out, waiting)
        self._waiting[waiting] = None
        return True

    def look_again(self) -> None:
        """Send the answers that wait for nothing any more."""
        for waiting in tuple(self._waiting):
            if not any(waiting.stalled(self.lagging)):
                self._leave(waiting, waiting.results)

    def _time_out(self, waiting: Waiting) -> None:
        stalled = waiting.stalled(self.lagging)
        pairs = zip(waiting.results, stalled, strict=True)
        self._leave(waiting, [_timed_out(result) if late else result for result, late in pairs])

    def _leave(self, waiting: Waiting, results: Results) -> None:
        del self._waiting[waiting]
        if waiting.timer is not None:
            waiting.timer.cancel()
        self.reply(waiting.node, waiting.request, results)


def _timed_out(result: Acked | Rejected) -> Rejected:
    return Rejected(result.broker, REQUEST_TIMED_OUT, result.offset)
