"""The way to one broker for one acks value: it connects, comes back, and renews itself.

A line connects when somebody waits for it, comes back with growing, jittered pauses, and is
replaced before its SASL session ends. No lock is shared: a broker that does not answer
delays nobody but those who wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from eventpub.abc import Acks
from eventpub.config import Address
from eventpub.transports.bell import Bell
from eventpub.transports.kafka.answers import ProduceReply, Topics
from eventpub.transports.kafka.backoff import RECONNECT, REFUSED
from eventpub.transports.kafka.errors import (
    AccessRefusedError,
    ConnectionFault,
    ConnectionLostError,
)

RENEW_AT = 0.85
"""Share of a SASL session after which its successor is made (KIP-368)."""
_EXPIRE_AT = 0.97
_IDLE = 540.0  # brokers close what was idle for 600 s; a request written just then is in doubt
_SHORT_LIVED = 1.0


class Link(Protocol):
    """What a line needs of `wire.Connection`."""

    broker: str
    on_lost: Callable[[ConnectionFault], None] | None

    @property
    def usable(self) -> bool:
        """Whether a request can be written now."""

    @property
    def session_lifetime(self) -> float:
        """Seconds after which the broker ends the SASL session; 0 if it does not."""

    def produce(self, topics: Topics, acks: Acks, timeout: float, reply: ProduceReply, /) -> None:
        """Write a request; *reply* hears of it once."""

    def abort(self, fault: ConnectionFault, /) -> None:
        """End the connection; whoever waits for an answer hears *fault*."""

    async def wait_closed(self) -> None:
        """Return when its socket is closed."""


Connect = Callable[[Address], Awaitable[Link]]


class Line:
    """One broker's connection for one acks value: there, coming, or not wanted.

    ``bell`` rings whenever a look is worth while: connected, lost, failed, or free again.
    """

    def __init__(self, address: Address, connect: Connect, on_trouble: Callable[[], None]) -> None:
        self.address = address
        self.link: Link | None = None
        self.in_flight: Link | None = None
        self.fault: ConnectionFault | None = None
        self.bell = Bell()
        self.used_at = 0.0
        self._connect = connect
        self._on_trouble = on_trouble
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._failures = 0
        self._since = 0.0
        self._connecting_since: float | None = None
        self._try_again_at = 0.0
        self._closed = False
        self._closing: list[Link] = []

    @property
    def awaited_since(self) -> float | None:
        """When the answer or the connection that is waited for now was asked for; ``None`` if none is."""
        return self._connecting_since if self.in_flight is None else self.used_at

    def want(self) -> None:
        """See to it that a connection comes about, in the background; the bell rings either way."""
        if self.link is None:
            self._begin()

    def move(self, address: Address) -> None:
        """Take note of where the broker listens now: the next connection goes there."""
        if address == self.address:
            return
        self.address = address
        self._failures, self._try_again_at = 0, 0.0
        if self._task is not None:
            # A connect to where the broker no longer is may hang for all of connect_timeout.
            self._task.cancel()

    def acquire(self, link: Link) -> None:
        """Note that a request is in flight on *link*."""
        self.in_flight, self.used_at = link, self._loop.time()

    def release(self, link: Link) -> None:
        """Note that the request on *link* has ended; if a successor took over, nobody needs it any more."""
        self.in_flight = None
        if link is not self.link:
            # Not at once: this runs inside the old connection's own reader.
            self._loop.call_soon(link.abort, _replaced(link))
        self.bell.ring()

    def close(self, fault: ConnectionFault) -> None:
        """End the connection, or the attempt at one."""
        self._closed = True
        self._cancel_timers()
        if self._task is not None:
            self._task.cancel()
        self._closing = [link for link in {self.link, self.in_flight} if link is not None]
        for link in self._closing:
            link.abort(fault)
        self.bell.ring()

    async def wait_closed(self) -> None:
        """Return when no socket and no task is left."""
        if self._task is not None:
            await asyncio.wait([self._task])
        for link in self._closing:
            await link.wait_closed()

    def _begin(self) -> None:
        if self._task is None and not self._closed:
            self._task = self._loop.create_task(self._attempt(), name=f"connect {self.address}")

    async def _attempt(self) -> None:
        """Try once, after the pause that earlier failures have earned."""
        try:
            await asyncio.sleep(self._try_again_at - self._loop.time())
            self._connecting_since = self._loop.time()
            link = await self._connect(self.address)
        except ConnectionFault as fault:
            self._failed(fault)
        else:
            self._took(link)
        finally:
            self._task = self._connecting_since = None
            # Failure too wakes those who wait: the leader may be another one by now, and
            # whoever still needs this broker asks for the next attempt.
            self.bell.ring()

    def _took(self, link: Link) -> None:
        old, self.link, self.fault = self.link, link, None
        self._since = self.used_at = self._loop.time()
        link.on_lost = lambda fault: self._lost(link, fault)
        self._cancel_timers()
        self._set_timer("idle", _IDLE, lambda: self._end_if_idle(link))
        if link.session_lifetime > 0:
            self._set_timer("renew", link.session_lifetime * RENEW_AT, self._begin)
            self._set_timer("expire", link.session_lifetime * _EXPIRE_AT, lambda: self._retire(link))
        if old is not None and old is not self.in_flight:
            old.abort(_replaced(old))

    def _failed(self, fault: ConnectionFault) -> None:
        self.fault = fault
        self._add_failure(fault)
        if self.link is not None:  # this was to be the successor, and the session still has time
            self._set_timer("renew", self._try_again_at - self._loop.time(), self._begin)
        else:
            self._on_trouble()

    def _lost(self, link: Link, fault: ConnectionFault) -> None:
        if link is not self.link:
            return
        self.link, self.fault = None, fault
        self._cancel_timers()
        # A broker that hangs up right after it let us in (so it does when it refuses an
        # acks=0 batch) would otherwise be reconnected to as fast as the network allows.
        if self._loop.time() - self._since < _SHORT_LIVED:
            self._add_failure(fault)
        else:
            self._failures, self._try_again_at = 0, 0.0
        if not self._closed:
            self._on_trouble()
        self.bell.ring()

    def _add_failure(self, fault: ConnectionFault) -> None:
        self._failures += 1
        backoff = REFUSED if isinstance(fault, AccessRefusedError) else RECONNECT
        self._try_again_at = self._loop.time() + backoff.pause(self._failures)

    def _retire(self, link: Link) -> None:
        """Use *link* no more; a request in flight on it may end."""
        self.link = None
        self._cancel_timers()
        if self.in_flight is not link:
            link.abort(_replaced(link))

    def _end_if_idle(self, link: Link) -> None:
        left = self.used_at + _IDLE - self._loop.time()
        if self.in_flight is link or left > 0:
            self._set_timer("idle", max(left, _SHORT_LIVED), lambda: self._end_if_idle(link))
        else:
            self._retire(link)

    def _set_timer(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = self._loop.call_later(seconds, call)

    def _cancel_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


def _replaced(link: Link) -> ConnectionFault:
    return ConnectionLostError(f"the connection to {link.broker} was replaced")
