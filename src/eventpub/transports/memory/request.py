"""One Produce request on its way: what it carries, and what it still may do to the client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from eventpub.abc import Acked, Acks, AttemptResult, Rejected, TopicPartition, WireBatch


class Client(Protocol):
    """The end of a connection that sent a request."""

    def answer(
        self, request: Request, results: Sequence[Acked | Rejected], throttle: float, /
    ) -> None:
        """The broker answered; *throttle* asks for that many seconds of silence."""

    def lose(self, cause: BaseException, /) -> None:
        """The connection broke."""


@dataclass(slots=True, eq=False)
class Entry:
    """One batch of one partition in a request, and the call that waits for its result."""

    partition: TopicPartition
    batch: WireBatch
    deadline: float
    result: asyncio.Future[AttemptResult]
    timer: asyncio.TimerHandle | None = None

    def settle(self, result: AttemptResult) -> bool:
        """End the waiting call, if one still waits, and say whether it did."""
        self.forget_timer()
        if self.result.done():
            return False
        self.result.set_result(result)
        return True

    def forget_timer(self) -> None:
        """Stop watching the deadline."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


@dataclass(slots=True, eq=False)
class Request:
    """Batches of several partitions for one broker, written to one connection at once.

    ``incarnation`` is that of the broker process it was sent to: one that was killed
    meanwhile never reads it. ``abandoned`` says that no client will see the answer.
    """

    entries: list[Entry]
    acks: Acks
    broker: str
    client: Client
    incarnation: int
    abandoned: bool = False
    reply: asyncio.TimerHandle | None = None

    def abandon(self) -> None:
        """See to it that no answer reaches the client; the broker may serve the request all the same."""
        self.abandoned = True
        if self.reply is not None:
            self.reply.cancel()
