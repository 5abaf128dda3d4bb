"""One broker of the cluster as a process: up, stopped, slow or gone, and what it does with a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from eventpub.abc import Acked, Acks, Rejected
from eventpub.transports.memory.request import Client, Entry, Request

Handle = Callable[["Node", Entry, Acks], Acked | Rejected]


@dataclass(slots=True, eq=False)
class Node:
    """One broker process.

    A paused one (SIGSTOP) still takes what comes over connections it has, and reads it when
    it goes on; new connections are not answered meanwhile. One that went down loses both.
    """

    name: str
    handle: Handle
    up: bool = True
    paused: bool = False
    latency: float = 0.0
    throttle: float = 0.0
    incarnation: int = 0
    clients: dict[Client, None] = field(default_factory=dict)
    _unread: list[Request] = field(default_factory=list)

    @property
    def answers(self) -> bool:
        """Whether a new connection would get an answer."""
        return self.up and not self.paused

    def carry(self, request: Request) -> None:
        """Take *request* off the wire, after half of the round trip."""
        if self.latency:
            asyncio.get_running_loop().call_later(self.latency / 2, self.arrive, request)
        else:
            self.arrive(request)

    def arrive(self, request: Request) -> None:
        """Read *request* now, later when paused, or never when it was sent to a process that is dead."""
        if not self.up or request.incarnation != self.incarnation:
            return
        if self.paused:
            self._unread.append(request)
        else:
            self._serve(request)

    def resume(self) -> None:
        """Go on where `paused` began: read all that came meanwhile, in order."""
        self.paused = False
        unread, self._unread = self._unread, []
        for request in unread:
            self._serve(request)

    def down(self) -> None:
        """Die: connections break, and what was not read is lost. The logs are on disk."""
        self.up = False
        self.incarnation += 1
        self._unread.clear()
        for client in tuple(self.clients):
            client.lose(ConnectionResetError(f"{self.name} went down"))

    def _serve(self, request: Request) -> None:
        results = [self.handle(self, entry, request.acks) for entry in request.entries]
        if request.acks == 0:
            # Nobody waits for an answer: closing the connection is all a broker can say.
            if any(isinstance(result, Rejected) for result in results):
                request.client.lose(
                    ConnectionResetError(f"{self.name} refused a batch sent with acks=0")
                )
            return
        self._reply(request, results)

    def _reply(self, request: Request, results: list[Acked | Rejected]) -> None:
        if request.abandoned:
            return
        if self.latency:
            loop = asyncio.get_running_loop()
            request.reply = loop.call_later(
                self.latency / 2, request.client.answer, request, results, self.throttle
            )
        else:
            request.client.answer(request, results, self.throttle)
