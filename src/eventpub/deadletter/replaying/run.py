"""One replay, from the first letter to its report.

Composes: letters come from a source, ``plan`` and ``verify`` choose, a sender sends, and the journal
knows at any moment what may have been written. The steps, and why a kill at any moment costs no event
and makes no copy, are in ``docs/design/dead-letters.md``.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from eventpub._target import transport_for
from eventpub.deadletter.replaying.journalling import JournallingTransport
from eventpub.deadletter.replaying.notes import Notes
from eventpub.deadletter.replaying.plan import LeaveOut, Plan, Policy, Verify
from eventpub.deadletter.replaying.recovery import Recovery, Undecided
from eventpub.deadletter.replaying.report import LetterNote, ReplayReport, Tally
from eventpub.deadletter.replaying.sender import running
from eventpub.deadletter.replaying.verify import Absent, Present, Untold
from eventpub.deadletter.spooling.store import State
from eventpub.envelope import wall_clock
from eventpub.letter import Resolution

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eventpub.abc import Transport
    from eventpub.deadletter.replaying.filters import Filters
    from eventpub.deadletter.replaying.sender import Sender
    from eventpub.deadletter.replaying.storage import Storage
    from eventpub.deadletter.spooling.store import StoredLetter
    from eventpub.letter import DeadLetter
    from eventpub.record import Record

CLIENT_ID = "eventpub-replay"


class Run:
    """The letters of one replay, page by page."""

    def __init__(
        self, storage: Storage, filters: Filters, policy: Policy, on_progress: Callable[[ReplayReport], object] | None
    ) -> None:
        self._storage = storage
        self._filters = filters
        self._policy = policy
        self._on_progress = on_progress
        self._tally = Tally()
        self._undecided: dict[str, str] = {}  # letters that an unfinished batch may have written, and why
        config = storage.source.config
        self._notes = None if config is None else Notes(transport_for(config, CLIENT_ID))

    async def report(self) -> ReplayReport:
        """Return what was done."""
        self._tally.unfinished = len(await self._storage.unfinished())
        self._tally.unreadable = await self._storage.unreadable()
        return self._tally.report()

    async def look(self) -> None:
        """Say what would happen, and change nothing."""
        batches = await self._storage.unfinished()
        begun = {letter_id for batch in batches for letter_id in batch.letters}
        self._undecided = dict.fromkeys(begun, "an earlier replay may have sent it; the next one settles that first")
        async with aclosing(self._storage.pages()) as pages:
            async for page in pages:
                chosen, _ = await self._choose(page)
                self._tally.would_replay += [LetterNote.about(letter, "would be sent") for letter in chosen]
                self._tell_progress()

    async def send(self, inner: Transport, timeout: float, rate: float | None, topic: str | None) -> None:
        """Settle what is unfinished, then send."""
        transport = JournallingTransport(inner, self._storage.journal, self._storage.worker)
        try:
            async with running(transport, timeout, rate) as sender:
                if await self._recover(inner, timeout):
                    await self._send_pages(transport, sender, topic)
                    self._tally.stopped = transport.stopped
            await self._take_over(transport)  # what was acknowledged while it stopped
        finally:
            if self._notes is not None:
                await self._notes.aclose()

    async def _send_pages(self, transport: JournallingTransport, sender: Sender, topic: str | None) -> None:
        async with aclosing(self._storage.pages()) as pages:
            async for page in pages:
                await self._republish(page)
                chosen, found = await self._choose(page)
                await self._publish(await self._storage.settle(found))
                refusals = await sender.send(chosen, topic)
                await self._take_over(transport)
                self._tally.refused += [LetterNote.about(letter, str(error)) for letter, error in refusals]
                await self._publish(await self._storage.failed([refusal.letter for refusal in refusals]))
                self._tell_progress()
                if transport.stopped is not None:
                    return

    def _tell_progress(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._tally.report())

    # --- choosing ------------------------------------------------------------------

    async def _choose(self, page: Sequence[StoredLetter]) -> tuple[list[DeadLetter], list[Resolution]]:
        """Return which letters of *page* to send, in order, and what verifications have found."""
        now = wall_clock() / 1e9
        meant = [stored for stored in page if stored.state is State.OPEN and self._filters.match(stored, now)]
        plans = [(stored.letter, self._plan(stored, now)) for stored in meant]
        evidence = await self._storage.search([letter for letter, plan in plans if isinstance(plan, Verify)])
        chosen: list[DeadLetter] = []
        resolutions: list[Resolution] = []
        for letter, plan in plans:
            found = evidence.get(letter.id)
            if isinstance(plan, LeaveOut):
                self._tally.left_out.append(LetterNote.about(letter, plan.reason))
            elif isinstance(found, Untold):
                self._tally.left_out.append(LetterNote.about(letter, f"whether it is in the log: {found.reason}"))
            elif isinstance(found, Present):
                self._tally.persisted += 1
                resolutions.append(_resolution(letter, found))
            else:
                chosen.append(letter)
                if found is not None:
                    resolutions.append(_resolution(letter, found))
        return chosen, resolutions

    def _plan(self, stored: StoredLetter, now: float) -> Plan:
        why = self._undecided.get(stored.letter.id)
        return self._policy.plan(stored, now) if why is None else LeaveOut(why)

    # --- what became of them -------------------------------------------------------

    async def _recover(self, transport: Transport, timeout: float) -> bool:
        """Settle what an earlier run has begun; false if nothing else may be sent before that."""
        batches = await self._storage.unfinished()
        if not batches:
            return True
        letters = await self._storage.letters_of(batches)
        recovery = Recovery(transport, self._storage, letters)
        try:
            for batch in batches:
                outcome = await recovery.settle(batch, timeout)
                if isinstance(outcome, Undecided):
                    await self._leave_undecided(outcome)
                else:
                    self._tally.replayed += len(outcome)
                    await self._publish(self._storage.source.resolved(outcome))
        except TimeoutError as error:
            self._tally.stopped = str(error)
        return self._tally.stopped is None

    async def _leave_undecided(self, left: Undecided) -> None:
        batch = left.batch
        if self._policy.include_possibly and not self._policy.verify:
            await self._storage.void(batch)  # asked for: its letters go again with the others
        elif not batch.letters:
            self._tally.stopped = (
                f"batch {batch.number} of {batch.partition} may have been written, and {left.reason};"
                " include what is possibly persisted to give it up"
            )
        else:
            reason = f"an earlier replay may have written it, and {left.reason}"
            self._undecided |= dict.fromkeys(batch.letters, reason)

    async def _take_over(self, transport: JournallingTransport) -> None:
        """Count what was acknowledged, and tell the source's other readers."""
        resolutions, transport.resolutions = transport.resolutions, []
        self._tally.replayed += len(resolutions)
        await self._publish(self._storage.source.resolved(resolutions))

    async def _republish(self, page: Sequence[StoredLetter]) -> None:
        """Tell other readers what the journal knows and the topic does not: the last run ended in between."""
        closed = [stored.resolution for stored in page if stored.state is not State.OPEN and stored.resolution]
        await self._publish(self._storage.source.resolved(closed))

    async def _publish(self, records: Sequence[Record]) -> None:
        if self._notes is not None:
            self._tally.unpublished += await self._notes.publish(records)


def _resolution(letter: DeadLetter, found: Present | Absent) -> Resolution:
    """Return what a reading makes of *letter*."""
    now = wall_clock() / 1e9
    if isinstance(found, Absent):
        return Resolution(id=letter.id, record=letter.record, verdict="not persisted", at=now)
    return Resolution(id=letter.id, record=letter.record, verdict="persisted", at=now, **found._asdict())
