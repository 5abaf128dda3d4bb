"""Judges one attempt, and folds a history of attempts into one of the three words.

The last error alone decides nothing. An answer of "not enough replicas" to a resend says
that *this* request was not appended; the one before it may well have been (both seen on
Apache Kafka, in that order).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpub._rules.codes import NOT_LEADER_OR_FOLLOWER, lookup
from eventpub.abc import Acked, InDoubt, NotSent, Rejected, Unacknowledged
from eventpub.delivery import Attempt, AttemptOutcome, PersistenceStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventpub.abc import Acks, AttemptResult


def judge(result: AttemptResult, acks: Acks) -> AttemptOutcome:
    """Return what the request behind *result* did to the log."""
    match result:
        case Acked():
            return AttemptOutcome.ACKED
        case Unacknowledged():
            return AttemptOutcome.UNACKNOWLEDGED
        case NotSent():
            return AttemptOutcome.NOT_APPENDED
        case InDoubt():
            return AttemptOutcome.IN_DOUBT
        case Rejected(code=code, offset=offset):
            return _judge_code(code, offset, acks)


def _judge_code(code: int, offset: int, acks: Acks) -> AttemptOutcome:
    # An offset in an error answer: the append came first (seen with 3, 6 and 7).
    if offset >= 0:
        return AttemptOutcome.IN_DOUBT
    # A leader that lost office while it waited for replicas answers 6 after the append;
    # with acks=1 it never waits.
    if code == NOT_LEADER_OR_FOLLOWER and acks != "all":
        return AttemptOutcome.NOT_APPENDED
    return AttemptOutcome.IN_DOUBT if lookup(code).in_doubt else AttemptOutcome.NOT_APPENDED


def describe(result: AttemptResult, acks: Acks, started: float, now: float) -> Attempt:
    """Return the history's entry for *result*."""
    outcome = judge(result, acks)
    code = name = detail = None
    match result:
        case Rejected():
            code, name, detail = result.code, lookup(result.code).name, result.message
        case NotSent() | InDoubt():
            detail = type(result.cause).__name__ if result.cause else None
    return Attempt(started, now - started, result.broker, outcome, code, name, detail)


def in_doubt(history: Iterable[Attempt]) -> bool:
    """Whether some attempt may have appended the batch without our hearing of it."""
    return any(attempt.outcome is AttemptOutcome.IN_DOUBT for attempt in history)


def fold(history: Iterable[Attempt]) -> PersistenceStatus:
    """Return the one word that is true after all of *history* (rule 1)."""
    outcomes = {attempt.outcome for attempt in history}
    if AttemptOutcome.ACKED in outcomes:
        return PersistenceStatus.PERSISTED
    if outcomes <= {AttemptOutcome.NOT_APPENDED}:
        return PersistenceStatus.NOT_PERSISTED
    return PersistenceStatus.POSSIBLY_PERSISTED
