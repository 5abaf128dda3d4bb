"""Judging one attempt, and folding a history into one word (rule 1)."""

from __future__ import annotations

from itertools import product

import pytest

from eventpub._rules.attempts import describe, fold, in_doubt, judge
from eventpub.abc import Acked, Acks, AttemptResult, InDoubt, NotSent, Rejected, Unacknowledged
from eventpub.delivery import Attempt, AttemptOutcome, PersistenceStatus
from tests.unit.rules.kit import BROKER

A, N, U, HANDED = (
    AttemptOutcome.ACKED,
    AttemptOutcome.NOT_APPENDED,
    AttemptOutcome.IN_DOUBT,
    AttemptOutcome.UNACKNOWLEDGED,
)


@pytest.mark.parametrize(
    "result, acks, outcome",
    [
        (Acked(BROKER, 5), "all", A),
        (Unacknowledged(BROKER), 0, HANDED),
        (NotSent(None, OSError()), "all", N),
        (InDoubt(BROKER, None), "all", U),
        (InDoubt(BROKER, None), 0, U),
        (Rejected(BROKER, 19), "all", N),
        (Rejected(BROKER, 7), "all", U),
        (Rejected(BROKER, 6), "all", U),
        (Rejected(BROKER, 6), 1, N),
        (Rejected(BROKER, 6, 0), 1, U),
        (Rejected(BROKER, 6, 12), "all", U),
        (Rejected(BROKER, 3), "all", N),
        (Rejected(BROKER, 3, 0), "all", U),
        (Rejected(BROKER, 29, 3), "all", U),
        (Rejected(BROKER, 45), "all", N),
        (Rejected(BROKER, 999), 1, U),
    ],
)
def test_what_an_answer_says_about_the_log(result: AttemptResult, acks: Acks, outcome: AttemptOutcome) -> None:
    """An offset in an error, 0 included, means that the append came first; 6 depends on who waited for whom."""
    assert judge(result, acks) is outcome


def attempt(outcome: AttemptOutcome) -> Attempt:
    """Return an attempt that came to *outcome*."""
    return Attempt(0.0, 0.1, BROKER, outcome)


@pytest.mark.parametrize("outcomes", [o for n in range(4) for o in product((A, N, U, HANDED), repeat=n)])
def test_a_history_folds_into_the_one_word_that_is_true(outcomes: tuple[AttemptOutcome, ...]) -> None:
    """An ack settles it wherever it stands; else one doubt outweighs every refusal, before it or after."""
    history = tuple(map(attempt, outcomes))
    if A in outcomes:
        expected = PersistenceStatus.PERSISTED
    elif U in outcomes or HANDED in outcomes:
        expected = PersistenceStatus.POSSIBLY_PERSISTED
    else:
        expected = PersistenceStatus.NOT_PERSISTED
    assert fold(history) is expected
    assert in_doubt(history) is (U in outcomes)


def test_an_attempt_is_described_without_payload() -> None:
    """Code and name of an answer, the kind of error of a socket: never its text, which could hold anything."""
    answered = describe(Rejected(BROKER, 87, message="no key"), "all", 1.0, 1.5)
    assert answered == Attempt(1.0, 0.5, BROKER, N, 87, "INVALID_RECORD", "no key")
    broken = describe(InDoubt(BROKER, ConnectionResetError("secret")), "all", 1.0, 3.0)
    assert broken == Attempt(1.0, 2.0, BROKER, U, None, None, "ConnectionResetError")
    assert describe(NotSent(None, None), 1, 0.0, 0.0).detail is None
    assert describe(Acked(BROKER, 1), "all", 0.0, 0.0).kafka_code is None
