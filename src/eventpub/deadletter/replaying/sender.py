"""Sends letters by an engine of its own, without dead letters, and hands back what became of each.

Decides pace and budget, and when to stop: as soon as a letter ends in any other way than
acknowledged or refused, because those behind it could overtake it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from eventpub._engine.engine import Engine
from eventpub._engine.hooks import Hooks
from eventpub._rules.entry import Entry
from eventpub.buffer import BufferLimits
from eventpub.delivery import Delivery
from eventpub.envelope import wall_clock
from eventpub.exceptions import EventTooLargeError, RejectedError
from eventpub.instrumentation import Telemetry
from eventpub.partitioner import partitions_for
from eventpub.profile import MAX_REQUEST_BYTES, DeliveryProfile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from eventpub.deadletter.replaying.journalling import JournallingTransport
    from eventpub.exceptions import PublishError
    from eventpub.letter import DeadLetter
    from eventpub.record import Record

_CLIENT_ID = "eventpub-replay"  # on its spans


class Refusal(NamedTuple):
    """A letter that the brokers, or the rules before them, did not take."""

    letter: DeadLetter
    error: RejectedError


class Pace:
    """Spreads sends evenly: at most *rate* in a second, without bursts after a pause."""

    def __init__(self, rate: float | None) -> None:
        self._gap = 0.0 if rate is None else 1 / rate
        self._next = 0.0

    async def wait(self) -> None:
        """Return when the next may be sent."""
        if self._gap:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(self._next - loop.time())
            self._next = max(self._next, loop.time()) + self._gap


class Sender:
    """Sends letters, in order."""

    def __init__(
        self, engine: Engine, transport: JournallingTransport, profile: DeliveryProfile, rate: float | None
    ) -> None:
        self._engine = engine
        self._transport = transport
        self._profile = profile
        self._pace = Pace(rate)

    async def send(self, letters: Sequence[DeadLetter], topic: str | None) -> list[Refusal]:
        """Send *letters*, to *topic* if it is given, and return the refused ones.

        Returns early when the transport has stopped; what was acknowledged until then is in its
        ``resolutions``.
        """
        records = [_outgoing(letter.record, topic) for letter in letters]
        self._transport.letters = {id(record): letter for record, letter in zip(records, letters, strict=True)}
        flight = _Flight(self._transport)
        for record in records:
            await self._pace.wait()
            if self._transport.stopped is not None:
                break
            self._take(flight.board(self._entry(record)))
        await flight.landed()
        if self._transport.stopped is None:
            self._transport.forget()
        refused = zip(letters, flight.outcomes, strict=False)
        return [Refusal(letter, error) for letter, error in refused if isinstance(error, RejectedError)]

    def _take(self, entry: Entry) -> None:
        if entry.size > MAX_REQUEST_BYTES:
            # It had fitted compressed. A broker closes the connection of a request that is too large.
            text = f"{entry.record.topic}: the event has {entry.size} bytes, no request takes more uncompressed"
            entry.waiter(EventTooLargeError(text, event_id=entry.event_id, topic=entry.record.topic))
        else:
            # Without the headers it would add: a letter is sent byte for byte as it was kept.
            _, entry.token = self._engine.recorder.started(entry.event, entry.record, None)
            self._engine.accept(entry)

    def _entry(self, record: Record) -> Entry:
        now, profile = self._engine.loop.time(), self._profile
        return Entry(record, record.event_id, record, record.size, profile, now, now + profile.delivery_timeout)


class _Flight:
    """Entries under way, and the outcome of each in the order of boarding."""

    def __init__(self, transport: JournallingTransport) -> None:
        self.outcomes: list[Delivery | PublishError | None] = []
        self._transport = transport
        self._under_way = 1  # boarding itself
        self._landed = asyncio.get_running_loop().create_future()

    def board(self, entry: Entry) -> Entry:
        """Count *entry*, and hear of its end."""
        place = len(self.outcomes)
        self.outcomes.append(None)
        self._under_way += 1

        def hear(outcome: Delivery | PublishError) -> None:
            self.outcomes[place] = outcome
            # At once, within this turn of the loop: nothing that was queued behind it goes out.
            if not isinstance(outcome, (Delivery, RejectedError)):
                self._transport.stop(str(outcome))
            self._count_down()

        entry.waiter = hear
        return entry

    def _count_down(self) -> None:
        self._under_way -= 1
        over = self._under_way == 0 or self._transport.stopped is not None
        if over and not self._landed.done():
            self._landed.set_result(None)

    async def landed(self) -> None:
        """Return when all have ended, or one has ended the replay."""
        self._count_down()
        await self._landed


def _outgoing(record: Record, topic: str | None) -> Record:
    """Return *record* as an object of its own that is ready for the wire."""
    timestamp = wall_clock() // 1_000_000 if record.timestamp is None else record.timestamp
    if topic is None:
        return record._replace(timestamp=timestamp)
    # Another topic has other partitions: the number asked for means nothing there.
    return record._replace(topic=topic, partition=None, timestamp=timestamp)


@asynccontextmanager
async def running(transport: JournallingTransport, timeout: float, rate: float | None) -> AsyncIterator[Sender]:
    """Run an engine on *transport*, which it starts and closes; each letter has *timeout* seconds."""
    loop = asyncio.get_running_loop()
    profile = DeliveryProfile("replay", delivery_timeout=timeout)
    recorder = Telemetry(_CLIENT_ID, None)
    engine = Engine(transport, BufferLimits(), partitions_for, Hooks(), loop, recorder=recorder)
    hurry: asyncio.Future[None] = loop.create_future()
    await transport.start(engine)
    try:
        yield Sender(engine, transport, profile, rate)
    finally:
        transport.stop("the replay has ended")
        await engine.aclose(0, hurry)
        recorder.close()
        hurry.cancel()
