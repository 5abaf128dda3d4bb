"""The engine's side of dead letters: what is kept instead of delivered, and when its caller is told.

Which sinks there are, and in what order and time they are tried, is the writer's business
(``eventpub.deadletter``). States: ``docs/design/dead-letters.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from eventpub._engine.hooks import call
from eventpub._engine.letter_of import dead_letter_of
from eventpub.abc import DeadLetterDetails
from eventpub.delivery import Delivery
from eventpub.envelope import wall_clock
from eventpub.exceptions import PublishError
from eventpub.letter import Resolution
from eventpub.receipt import Receipt

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from eventpub._engine.hooks import Hooks
    from eventpub._rules.entry import Entry
    from eventpub.abc import Recorder
    from eventpub.exceptions import DeadLetterError
    from eventpub.letter import DeadLetter


_CLOCK_SET = 0.05  # seconds


class Submission(Protocol):
    """A letter that the writer has taken."""

    def withdraw(self) -> bool:
        """Take it back, if no sink has been given it; say whether that was so. Then nobody is told its end."""

    def resolve(self, resolution: Resolution, /) -> None:
        """Keep what became of it later, wherever it lies or will lie."""


class DeadLetterWriter(Protocol):
    """What the router needs of ``deadletter.writer``."""

    async def open(self) -> None:
        """Begin work."""

    def submit(
        self, letter: DeadLetter, deadline: float, on_end: Callable[[Receipt, DeadLetterError | None], None], /
    ) -> Submission:
        """Write *letter* by *deadline*, in the background; *on_end* hears of it once, in a later turn of the loop."""

    async def aclose(self, deadline: float, /) -> None:
        """Write what can be written by *deadline*, end the rest, leave nothing behind."""


class PendingLetter:
    """One event that is being kept."""

    __slots__ = ("entry", "error", "letter", "submission", "timer", "told")

    def __init__(self, entry: Entry, error: PublishError, letter: DeadLetter) -> None:
        self.entry = entry
        self.error = error
        self.letter = letter
        self.told = False
        self.timer: asyncio.TimerHandle | None = None
        self.submission: Submission


class DeadLetterRouter:
    """Routes what was not delivered to the writer, and tells each caller once.

    Attributes:
        open: events whose callers are still to be told.
        written: letters that a sink has.
        failed: letters that no sink took.
    """

    def __init__(
        self,
        writer: DeadLetterWriter,
        tell: Callable[[Entry, Delivery | PublishError], None],
        hooks: Hooks,
        recorder: Recorder,
        loop: asyncio.AbstractEventLoop,
        client_id: str,
    ) -> None:
        self._writer = writer
        self._tell_caller = tell
        self._hooks = hooks
        self._recorder = recorder
        self._loop = loop
        self._client_id = client_id
        self._offset = 0.0
        self._pending: dict[Entry, PendingLetter] = {}
        self.written = 0
        self.failed = 0

    @property
    def open(self) -> Iterable[Entry]:
        """Events whose callers are still to be told."""
        return self._pending.keys()

    def route(self, entry: Entry, error: PublishError) -> None:
        """Keep *entry*, which ended as *error*; its caller is told when that is done, or at his limit."""
        now = self._loop.time()
        letter = dead_letter_of(entry, error, now, now + self._wall_offset(now), self._client_id)
        pending = entry.letter = self._pending[entry] = PendingLetter(entry, error, letter)
        deadline = now + entry.profile.dead_letter_timeout
        pending.submission = self._writer.submit(letter, deadline, lambda *end: self._on_end(pending, *end))
        if entry.limit <= now:
            self._tell_pending(pending)
        elif entry.limit < deadline:
            pending.timer = self._loop.call_at(entry.limit, self._tell_pending, pending)

    def _wall_offset(self, now: float) -> float:
        # The same for all letters while nobody sets the clock: so what they say of time keeps the order
        # of the publishes, to the microsecond.
        offset = wall_clock() / 1e9 - now
        if abs(offset - self._offset) > _CLOCK_SET:
            self._offset = offset
        return self._offset

    def take_late(self, pending: PendingLetter, outcome: Delivery | PublishError) -> bool:
        """Take in what came after the event had become a dead letter; whether its caller gets to hear it as his outcome."""
        if isinstance(outcome, Delivery) and pending.submission.withdraw():
            if pending.told:
                return False
            self._tell(pending, outcome)
            return True
        pending.submission.resolve(_resolution(pending.letter, outcome))
        return False

    async def aclose(self, deadline: float) -> None:
        """Let the writer end by *deadline*; whoever still waits then is told."""
        try:
            await self._writer.aclose(deadline)
        finally:
            for pending in list(self._pending.values()):
                self._tell_pending(pending)

    def _on_end(self, pending: PendingLetter, receipt: Receipt, failure: DeadLetterError | None) -> None:
        if failure is None:
            self.written += 1
        else:
            self.failed += 1
        if not pending.told:
            error = pending.error
            error.dead_letter = receipt
            if failure is not None:
                # Both causes: why it was not delivered is the error itself, why it was not kept is behind it.
                failure.__cause__, error.__cause__ = error.__cause__, failure
            self._tell(pending, error)
        letter = pending.letter
        self._recorder.dead_letter(letter.reason, receipt)
        if self._hooks.on_dead_letter:
            details = DeadLetterDetails(letter.event_id, letter.record.topic, letter.reason, receipt)
            call(self._hooks.on_dead_letter, details)

    def _tell_pending(self, pending: PendingLetter) -> None:
        if not pending.told:
            pending.error.dead_letter = Receipt(pending.letter.id, None, "pending")
            self._tell(pending, pending.error)

    def _tell(self, pending: PendingLetter, outcome: Delivery | PublishError) -> None:
        pending.told = True
        del self._pending[pending.entry]
        if pending.timer is not None:
            pending.timer.cancel()
        self._tell_caller(pending.entry, outcome)


def _resolution(letter: DeadLetter, outcome: Delivery | PublishError) -> Resolution:
    at = wall_clock() / 1e9
    if isinstance(outcome, PublishError):
        return Resolution(id=letter.id, record=letter.record, verdict="not persisted", at=at)
    return Resolution(
        id=letter.id,
        record=letter.record,
        verdict="persisted",
        at=at,
        partition=outcome.partition,
        offset=outcome.offset,
    )
