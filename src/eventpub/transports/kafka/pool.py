"""All ways to brokers: an outbox, with its own line, for each broker and acks value in use.

Knows where the brokers listen now; who leads which partition is `metadata`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from eventpub.abc import Acks
from eventpub.config import Address
from eventpub.transports.kafka.errors import ConnectionFault
from eventpub.transports.kafka.line import Connect, Line
from eventpub.transports.kafka.merge import Notes, Outbox


class Pool:
    """Makes outboxes as they are asked for, and ends them all."""

    def __init__(self, connect: Connect, notes: Notes, on_trouble: Callable[[], None]) -> None:
        self._connect = connect
        self._notes = notes
        self._on_trouble = on_trouble
        self._addresses: dict[int, Address] = {}
        self._outboxes: dict[tuple[int, Acks], Outbox] = {}
        self.find = self._outboxes.get
        """Return the outbox for ``(node, acks)``, if there is one: a dictionary's own ``get``."""

    def outbox(self, node: int, acks: Acks) -> Outbox:
        """Return the outbox for a broker whose address is known."""
        outbox = self._outboxes.get((node, acks))
        if outbox is None:
            line = Line(self._addresses[node], self._connect, self._on_trouble)
            outbox = self._outboxes[node, acks] = Outbox(line, acks, self._notes)
        return outbox

    def update(self, addresses: Mapping[int, Address]) -> None:
        """Take note of where the brokers listen now."""
        # Merged: an answer about few topics may leave out a broker that others still count on.
        self._addresses.update(addresses)
        for (node, _), outbox in self._outboxes.items():
            if node in addresses:
                outbox.line.move(addresses[node])

    def outboxes(self) -> Iterator[tuple[int, Outbox]]:
        """Give every outbox with its broker's node id."""
        return ((node, outbox) for (node, _), outbox in self._outboxes.items())

    @property
    def connected(self) -> bool:
        """Whether any broker can be written to."""
        return any(outbox.line.link is not None for outbox in self._outboxes.values())

    @property
    def faults(self) -> list[ConnectionFault]:
        """What keeps brokers from being written to that somebody waits for.

        A broker that was lost while nobody wrote is not connected to again before it is
        needed: counting it would leave an idle client "not ready" for ever.
        """
        lines = [outbox.line for outbox in self._outboxes.values() if outbox.line.bell]
        return [line.fault for line in lines if line.fault is not None]

    def close(self, fault: ConnectionFault) -> None:
        """End every batch with its value and every connection by abort."""
        for outbox in self._outboxes.values():
            outbox.close(fault)
            outbox.line.close(fault)

    async def wait_closed(self) -> None:
        """Return when no socket and no task is left."""
        for outbox in self._outboxes.values():
            await outbox.line.wait_closed()
