"""One Produce request on its way: what it carries, and whether an answer may still be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from eventpub.abc import Acked, Acks, AttemptResult, OnResult, Rejected, TopicPartition, WireBatch
from eventpub.transports.memory.faults import LoseAck

Results = Sequence[Acked | Rejected]
"""The broker's answer: one result for each entry of the request, in their order."""


class Client(Protocol):
    """The end of a connection that writes requests."""

    def written(self, request: Request, /) -> None:
        """The socket took the whole of *request*."""

    def answer(self, request: Request, results: Results, throttle: float, /) -> None:
        """The broker answered; *throttle* asks for that many seconds of silence."""

    def lose(self, cause: BaseException, /) -> None:
        """The connection broke."""


@dataclass(slots=True, eq=False)
class Entry:
    """One batch of one partition in a request, and who waits for its result while it is *open*."""

    partition: TopicPartition
    batch: WireBatch
    deadline: float
    on_result: OnResult
    loop: asyncio.AbstractEventLoop
    timer: asyncio.TimerHandle | None = None
    open: bool = True

    def acknowledge(self, result: Acked) -> None:
        """Tell whoever waits at once; what he posts then goes with the next request."""
        self._end()
        self.on_result(result)

    def settle(self, result: AttemptResult) -> None:
        """Tell whoever still waits in the next turn of the loop, in a callback of his own."""
        if self.open:
            self._end()
            self.loop.call_soon(self.on_result, result)

    def _end(self) -> None:
        self.open = False
        self.forget_timer()

    def cancel(self) -> None:
        """Wait no longer. The request lives until its deadline all the same."""
        self.open = False

    def forget_timer(self) -> None:
        """Stop watching the deadline."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


@dataclass(slots=True, eq=False)
class Request:
    """Batches of several partitions, written at once to one connection.

    Attributes:
        timeout: seconds the broker may wait for its replicas before it answers code 7.
        incarnation: of the broker process it was written to; a later one never reads it.
        loop: the client's, for whoever has to wait on the way.
        lost_ack: how the answer gets lost, if it shall.
        outlives_deadline: the connection is kept beyond the deadlines, and with it the answer.
        abandoned: no client will see an answer.
        reply: the answer on its way back.
    """

    entries: list[Entry]
    acks: Acks
    broker: str
    client: Client
    timeout: float
    incarnation: int
    loop: asyncio.AbstractEventLoop
    lost_ack: LoseAck | None = None
    outlives_deadline: bool = False
    abandoned: bool = False
    reply: asyncio.TimerHandle | None = None

    @property
    def partitions(self) -> tuple[TopicPartition, ...]:
        """The partitions it has batches for."""
        return tuple(entry.partition for entry in self.entries)

    @property
    def size(self) -> int:
        """The bytes of its batches."""
        return sum(len(entry.batch.data) for entry in self.entries)

    @property
    def deadline(self) -> float:
        """When the last of its attempts ends."""
        return max(entry.deadline for entry in self.entries)

    def abandon(self) -> None:
        """See to it that no answer is seen; the broker may serve the request all the same."""
        self.abandoned = True
        if self.reply is not None:
            self.reply.cancel()
