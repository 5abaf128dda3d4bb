"""Builds the error that one entry ends with, out of its batch's history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpub._rules.attempts import in_doubt
from eventpub._rules.codes import Code, lookup
from eventpub.exceptions import (
    Facts,
    InvalidRecordError,
    PossiblyPersistedError,
    PublishError,
    RejectedError,
    SerializationError,
    UnavailableError,
)

if TYPE_CHECKING:
    from eventpub._rules.entry import Entry
    from eventpub.delivery import Attempt

_ADVICE = {
    "budget": "raise delivery_timeout, or see why the brokers did not answer",
    "attempts": "the retry policy gave up; see profile.retry",
    "drain": "it was still pending when the drain ended; give aclose() or flush() more time",
    "closing": "the publisher is closing",
    "rejected": "a broker refused a resend after an attempt in doubt",
    "no_retry": "trying again could write it twice; use idempotence=True, or allow_duplicates=True",
    "fenced": "the broker no longer knows the batch's sequence, so nobody can ask it again",
}


class Ending:
    """How a batch ends without an acknowledgement: the same for all of its records but for their names.

    *problems* are what keeps the brokers away now; told where no attempt has reached one.
    """

    __slots__ = ("_history", "_now", "_partition", "_problems", "_topic")

    def __init__(
        self,
        topic: str,
        partition: int | None,
        history: tuple[Attempt, ...],
        now: float,
        problems: tuple[str, ...] = (),
    ) -> None:
        self._problems = problems
        self._topic = topic
        self._partition = partition
        self._history = history
        self._now = now

    def gave_up(self, entry: Entry, reason: str) -> PublishError:
        """Return what *reason* means after this history: possibly persisted, or clean and unavailable."""
        return self.doubtful(entry, reason) if in_doubt(self._history) else self.unavailable(entry, reason)

    def unavailable(self, entry: Entry, reason: str) -> UnavailableError:
        """Return the error for a record that certainly was not written, and could not be in time."""
        return UnavailableError(self._text(entry, "not delivered", reason), **self._facts(entry, reason))

    def doubtful(self, entry: Entry, reason: str) -> PossiblyPersistedError:
        """Return the error for a record that a broker may have appended."""
        return PossiblyPersistedError(self._text(entry, "possibly persisted", reason), **self._facts(entry, reason))

    def rejected(self, entry: Entry, code: int, said: str | None = None) -> RejectedError:
        """Return the error for a record that will be refused again until something changes."""
        known = lookup(code)
        words = f": {said}" if said else ""
        text = f"{self._where()}: {known.name} ({code}){words}; {known.advice}"
        return known.error(text, **self._facts(entry, None, known))

    def unencodable(self, entry: Entry, error: Exception) -> SerializationError:
        """Return the error for a record that the batch encoder refused."""
        text = f"{self._where()}: the record cannot be encoded ({type(error).__name__})"
        outcome = SerializationError(text, **self._facts(entry, None))
        outcome.__cause__ = error
        return outcome

    def no_such_partition(self, entry: Entry, count: int) -> InvalidRecordError:
        """Return the error for a record that asks for a partition its topic does not have."""
        text = f"partition: {self._where()} does not exist, the topic has {count}; give one from 0 to {count - 1}"
        return InvalidRecordError(text, **self._facts(entry, None))

    def _facts(self, entry: Entry, reason: str | None, code: Code | None = None) -> Facts:
        last = self._history[-1] if self._history and code is None else None
        return Facts(
            event_id=entry.event_id,
            topic=self._topic,
            partition=self._partition,
            history=self._history,
            elapsed=self._now - entry.started,
            kafka_code=code.number if code else last.kafka_code if last else None,
            kafka_error=code.name if code else last.kafka_error if last else None,
            reason=reason,
            record=entry.event,
        )

    def _where(self) -> str:
        return self._topic if self._partition is None else f"{self._topic}[{self._partition}]"

    def _text(self, entry: Entry, what: str, reason: str) -> str:
        spent, budget = self._now - entry.started, entry.deadline - entry.started
        tries = len(self._history)
        tail = f", the last one {self._history[-1]}" if tries else ""
        attempts = f"{tries} attempt{'' if tries == 1 else 's'}{tail}"
        told_by_a_broker = in_doubt(self._history) or any(a.kafka_code is not None for a in self._history)
        seen = f": {'; '.join(self._problems)}" if self._problems and not told_by_a_broker else ""
        told = f"{self._where()}: {what} ({reason}) after {spent:.2f} s of {budget:g} s, {attempts}"
        return f"{told}; {_ADVICE[reason]}{seen}"
