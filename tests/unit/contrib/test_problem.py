"""Which answer an outcome gets; each code says whether the client may send its request again."""

from __future__ import annotations

import pytest

import eventpub
from eventpub import (
    BufferFullError,
    EventTooLargeError,
    NotPersistedError,
    PossiblyPersistedError,
    PublisherClosed,
    PublishError,
    RejectedError,
    UnavailableError,
)
from eventpub.contrib.fastapi.problem import body_of, problem_of
from eventpub.receipt import Receipt

WRITTEN = Receipt("letter-1", "spool", "written")
PENDING = Receipt("letter-1", None, "pending")
FAILED = Receipt("letter-1", None, "failed")


@pytest.mark.parametrize("kind", [UnavailableError, BufferFullError, PublisherClosed, NotPersistedError])
@pytest.mark.parametrize("letter", [None, FAILED], ids=["no letter", "in no sink"])
def test_what_is_nowhere_may_be_sent_again(kind: type[PublishError], letter: Receipt | None) -> None:
    """Neither in the log nor in a sink: 503, and the client is the only one who still has it."""
    problem = problem_of(kind("too late", dead_letter=letter))
    assert (problem.name, problem.status, problem.retryable) == ("not-persisted", 503, True)


@pytest.mark.parametrize("letter", [WRITTEN, PENDING], ids=["written", "pending"])
def test_what_is_kept_is_not_asked_for_again(letter: Receipt) -> None:
    """A dead letter may be replayed: a repeated request would publish the same fact under a second id."""
    problem = problem_of(UnavailableError("too late", dead_letter=letter))
    assert (problem.name, problem.status, problem.retryable) == ("kept", 202, False)


@pytest.mark.parametrize("letter", [None, WRITTEN, FAILED], ids=["no letter", "written", "in no sink"])
def test_a_rejection_is_the_services_to_mend(letter: Receipt | None) -> None:
    """500, kept or not: sending it again changes nothing, and somebody has to act."""
    problem = problem_of(EventTooLargeError("too large", dead_letter=letter))
    assert (problem.name, problem.status, problem.retryable) == ("rejected", 500, False)


@pytest.mark.parametrize("letter", [None, WRITTEN, FAILED], ids=["no letter", "written", "in no sink"])
def test_doubt_is_202_whatever_else(letter: Receipt | None) -> None:
    """It may be in the log: no sink makes that certain."""
    problem = problem_of(PossiblyPersistedError("perhaps", dead_letter=letter))
    assert (problem.name, problem.status, problem.retryable) == ("possibly-persisted", 202, False)


def test_every_error_that_is_an_outcome_has_an_answer() -> None:
    """No class of the tree falls through: rejections are 500, doubt is 202, the rest is 503."""
    outcomes = [
        each
        for each in vars(eventpub).values()
        if isinstance(each, type) and issubclass(each, PublishError) and each is not PublishError
    ]
    for kind in outcomes:
        expected = 202 if kind is PossiblyPersistedError else 500 if issubclass(kind, RejectedError) else 503
        assert problem_of(kind("x")).status == expected, kind


def test_a_body_has_the_members_of_a_problem_and_what_eventpub_knows() -> None:
    """Type, title, status and detail as RFC 9457 names them; persistence, retryable, id and letter besides."""
    error = UnavailableError("tasks: memory:1 is down", event_id="id-1", dead_letter=WRITTEN)
    assert body_of(error, details=False) == {
        "type": "urn:problem-type:eventpub:kept",
        "title": "Event kept as a dead letter",
        "status": 202,
        "detail": "The event was not written yet; it is kept and may be written later."
        " The same request could write it twice.",
        "persistence": "not persisted",
        "retryable": False,
        "event_id": "id-1",
        "dead_letter": {"id": "letter-1", "sink": "spool", "state": "written"},
    }


def test_names_of_brokers_are_told_only_where_that_was_asked_for() -> None:
    """The error's own words, with topics and addresses, are for clients that may know them."""
    error = UnavailableError("tasks: kafka-3.internal:9092 refused the connection")
    assert "kafka-3" not in str(body_of(error, details=False))
    assert body_of(error, details=True)["detail"] == str(error)
    assert "dead_letter" not in body_of(error, details=False)
