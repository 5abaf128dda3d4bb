"""The error tree answers "may I send it again?", travels by pickle, and shows nobody's payload."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest

import eventpub
from eventpub import exceptions
from eventpub.delivery import Attempt, AttemptOutcome, PersistenceStatus
from eventpub.exceptions import (
    BufferFullError,
    ConfigurationError,
    EventPubError,
    Finding,
    NotPersistedError,
    PossiblyPersistedError,
    PublisherClosed,
    PublisherNotOpen,
    PublishError,
    RejectedError,
    StartError,
    UnavailableError,
    UsageError,
)
from eventpub.record import Record

SECRET = b"s3cret"
HISTORY = (
    Attempt(1.0, 0.5, "b:9092", AttemptOutcome.IN_DOUBT, 7, "REQUEST_TIMED_OUT"),
    Attempt(2.0, 0.1, "b:9092", AttemptOutcome.NOT_APPENDED, None, None, "ConnectionRefusedError"),
)
CLASSES = sorted(
    (each for each in vars(exceptions).values() if isinstance(each, type) and issubclass(each, EventPubError)),
    key=lambda each: each.__name__,
)
OUTCOMES = [each for each in CLASSES if issubclass(each, PublishError)]


def failure(kind: type[PublishError]) -> PublishError:
    """Return an error with everything it may know."""
    return kind(
        "orders[3]: not delivered",
        event_id="e-1",
        topic="orders",
        partition=3,
        history=HISTORY,
        elapsed=2.5,
        kafka_code=7,
        kafka_error="REQUEST_TIMED_OUT",
        reason="budget",
        record=Record("orders", SECRET, SECRET, [("h", SECRET)]),
    )


@pytest.mark.parametrize("kind", OUTCOMES)
def test_every_outcome_travels_by_pickle_without_the_event(kind: type[PublishError]) -> None:
    """A worker may hand it to another process: all facts go along, key and payload do not."""
    error = failure(kind)
    data = pickle.dumps(error)
    assert SECRET not in data
    again = pickle.loads(data)
    assert type(again) is kind
    assert str(again) == str(error)
    for fact in (
        "status",
        "event_id",
        "topic",
        "partition",
        "history",
        "elapsed",
        "kafka_code",
        "kafka_error",
        "reason",
    ):
        assert getattr(again, fact) == getattr(error, fact), fact
    assert again.attempts == 2
    assert again.record is None
    assert error.record is not None


@pytest.mark.parametrize("kind", [each for each in CLASSES if each not in OUTCOMES])
def test_every_other_error_travels_by_pickle(kind: type[EventPubError]) -> None:
    """Findings included."""
    error = kind([Finding("a", "b", "c")]) if issubclass(kind, ConfigurationError) else kind("what happened")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert getattr(again, "findings", None) == getattr(error, "findings", None)


@pytest.mark.parametrize("kind", OUTCOMES)
def test_no_outcome_shows_a_payload(kind: type[PublishError]) -> None:
    """Neither its text nor its repr, nor a traceback of it."""
    error = failure(kind)
    shown = [str(error), repr(error), *traceback.format_exception(error)]
    assert all(SECRET.decode() not in text for text in shown)
    assert "orders[3]" in repr(error)


@pytest.mark.parametrize("kind", OUTCOMES)
def test_the_first_level_says_whether_it_may_be_sent_again(kind: type[PublishError]) -> None:
    """An outcome is one of the two, and its status says the same; only the root says neither."""
    if kind is PublishError:
        return
    assert issubclass(kind, NotPersistedError) is not issubclass(kind, PossiblyPersistedError)
    expected = (
        PersistenceStatus.NOT_PERSISTED if issubclass(kind, NotPersistedError) else PersistenceStatus.POSSIBLY_PERSISTED
    )
    assert failure(kind).status is expected


@pytest.mark.parametrize(
    "kind, parents",
    [
        (ConfigurationError, (EventPubError, ValueError)),
        (UsageError, (EventPubError, RuntimeError)),
        (PublisherNotOpen, (UsageError,)),
        (StartError, (EventPubError,)),
        (PublisherClosed, (NotPersistedError, UsageError)),
        (BufferFullError, (NotPersistedError,)),
        (UnavailableError, (NotPersistedError,)),
    ],
)
def test_errors_are_caught_by_what_they_are(kind: type[Exception], parents: tuple[type[Exception], ...]) -> None:
    """The parents that users catch."""
    assert all(issubclass(kind, parent) for parent in parents)


def test_what_has_to_be_fixed_first_is_a_rejection() -> None:
    """Five of them by name."""
    names = {each.__name__ for each in CLASSES if issubclass(each, RejectedError)} - {"RejectedError"}
    assert names == {
        "SerializationError",
        "EventTooLargeError",
        "TopicAuthorizationError",
        "UnknownTopicError",
        "InvalidRecordError",
    }


def test_every_error_is_importable_from_the_package() -> None:
    """Nobody has to know the module."""
    assert all(getattr(eventpub, each.__name__) is each for each in CLASSES)
    assert all(each.__name__ in eventpub.__all__ for each in CLASSES)


def test_an_outcome_says_only_what_it_knows() -> None:
    """The rest is there and empty."""
    error = UnavailableError("not delivered")
    assert (error.event_id, error.topic, error.partition, error.reason, error.record) == (None,) * 5
    assert (error.history, error.attempts, error.elapsed) == ((), 0, 0.0)


def test_notes_and_causes_stay_with_an_outcome() -> None:
    """It is an exception like any other."""
    error = failure(UnavailableError)
    error.add_note("seen at night")
    error.__cause__ = OSError("gone")
    assert "seen at night" in "".join(traceback.format_exception(error))
    assert "gone" in "".join(traceback.format_exception(error))


def test_a_copy_of_an_outcome_is_one() -> None:
    """Made as a pickle is: without the event."""
    again = copy.copy(failure(UnavailableError))
    assert (type(again), again.event_id, again.record) == (UnavailableError, "e-1", None)


def test_findings_are_listed_one_a_line() -> None:
    """Setting, reason and fix."""
    error = ConfigurationError([Finding("acks", "is 2", "use 1"), Finding("linger", "is negative", "give 0 or more")])
    assert str(error) == "acks: is 2; use 1\nlinger: is negative; give 0 or more"
    assert [finding.setting for finding in error.findings] == ["acks", "linger"]
    assert ConfigurationError.of("acks", "is 2", "use 1").findings == error.findings[:1]
