"""One broker of the cluster as a process: up, stopped, slow or gone.

Decides when a request is read and when an answer leaves; what a request does to the log is
decided by the cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from eventpub.transports.memory.request import Client, Request, Results


@dataclass(slots=True, eq=False)
class Node:
    """One broker process.

    Paused (SIGSTOP), it still takes what comes over connections it has, and reads it when it
    goes on; new connections get no answer meanwhile. Going down it loses both. Clogged, its
    sockets take no more bytes.
    """

    name: str
    network: Callable[[Node, Request], None]
    serve: Callable[[Node, Request], None]
    injected: Counter[str]
    up: bool = True
    paused: bool = False
    refusal: str | None = None
    latency: float = 0.0
    throttle: float = 0.0
    incarnation: int = 0
    clients: dict[Client, None] = field(default_factory=dict)
    _clogged: bool = False
    _unwritten: list[Request] = field(default_factory=list)
    _unread: list[Request] = field(default_factory=list)

    @property
    def answers(self) -> bool:
        """Whether somebody new who connects would get an answer."""
        return self.trouble is None

    @property
    def trouble(self) -> str | None:
        """Why a new connection would come to nothing."""
        if not self.up:
            return "is down"
        return "does not answer" if self.paused else self.refusal

    def turn_away(self) -> None:
        """Count a client that looked for an answer and found none."""
        if not self.up:
            self.injected["down"] += 1
        else:
            self.injected["pause" if self.paused else "refuse_clients"] += 1

    def accept(self, client: Client) -> None:
        """Keep a connection of *client*, to break it when this process dies."""
        self.clients[client] = None

    def forget(self, client: Client) -> None:
        """*client* closed its connection; what it wrote is read nevertheless."""
        self.clients.pop(client, None)

    def write(self, request: Request) -> None:
        """Take *request* into the socket and hand it to the network, as soon as there is room."""
        if self._clogged:
            self.injected["clog"] += 1
            self._unwritten.append(request)
        else:
            request.client.written(request)
            self.network(self, request)

    def carry(self, request: Request) -> None:
        """Let a written *request* travel for half of the round trip, and arrive."""
        if self.latency:
            self.injected["latency"] += 1
            request.loop.call_later(self.latency / 2, self.arrive, request)
        else:
            self.arrive(request)

    def arrive(self, request: Request) -> None:
        """Read *request* now, later if paused, never if the process it was written to is dead."""
        if not self.up or request.incarnation != self.incarnation:
            self.injected["down"] += 1
        elif self.paused:
            self.injected["pause"] += 1
            self._unread.append(request)
        else:
            self.serve(self, request)

    def reply(self, request: Request, results: Results) -> None:
        """Send the answer back to whoever still waits for it."""
        if request.abandoned or request.incarnation != self.incarnation:
            return
        if self.throttle:
            self.injected["throttle"] += 1
        if self.latency:
            delay, answer = self.latency / 2, request.client.answer
            request.reply = request.loop.call_later(delay, answer, request, results, self.throttle)
        else:
            request.client.answer(request, results, self.throttle)

    def resume(self) -> None:
        """Go on where `paused` began: read all that came meanwhile, in order."""
        self.paused = False
        unread, self._unread = self._unread, []
        for request in unread:
            self.arrive(request)

    def clog(self) -> None:
        """Let the sockets take no more bytes."""
        self._clogged = True

    def unclog(self) -> None:
        """Take what clients still want to write."""
        self._clogged = False
        unwritten, self._unwritten = self._unwritten, []
        for request in unwritten:
            if not request.abandoned:
                self.write(request)

    def down(self) -> None:
        """Die: connections break, and what was not read is lost. The logs are on disk."""
        self.up = False
        self.incarnation += 1
        self._unread.clear()
        self._unwritten.clear()
        for client in tuple(self.clients):
            self.injected["down"] += 1
            client.lose(ConnectionResetError(f"{self.name} went down"))

    def heal(self) -> None:
        """Be a broker that works."""
        self.up, self.refusal, self.latency, self.throttle = True, None, 0.0, 0.0
        self.unclog()
        self.resume()
