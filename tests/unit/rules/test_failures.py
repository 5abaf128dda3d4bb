"""The error that one entry ends with."""

from __future__ import annotations

import pytest

from eventpub._rules.failures import Ending
from eventpub.delivery import Attempt, AttemptOutcome, PersistenceStatus
from eventpub.exceptions import InvalidRecordError, PossiblyPersistedError, SerializationError, UnavailableError
from tests.unit.rules.kit import BROKER, entry

REFUSED = Attempt(10.0, 0.1, BROKER, AttemptOutcome.NOT_APPENDED, 19, "NOT_ENOUGH_REPLICAS")
DOUBTED = Attempt(11.0, 2.0, BROKER, AttemptOutcome.IN_DOUBT, None, None, "TimeoutError")


def ending(*history: Attempt) -> Ending:
    """Return how a batch with *history* ends at 14 s."""
    return Ending("orders", 3, history, 14.0)


def test_giving_up_says_what_the_history_says() -> None:
    """One doubt is enough."""
    each = entry("x", started=10.0, budget=5)
    assert type(ending().gave_up(each, "budget")) is UnavailableError
    assert type(ending(REFUSED).gave_up(each, "attempts")) is UnavailableError
    assert type(ending(DOUBTED, REFUSED).gave_up(each, "drain")) is PossiblyPersistedError


def test_an_error_knows_its_event_and_its_attempts() -> None:
    """Everything that a dead letter or a log line needs."""
    each = entry("x", started=10.0, budget=5)
    error = ending(DOUBTED, REFUSED).gave_up(each, "budget")
    assert error.event_id == "x"
    assert (error.topic, error.partition) == ("orders", 3)
    assert error.history == (DOUBTED, REFUSED)
    assert error.attempts == 2
    assert error.elapsed == 4.0
    assert (error.kafka_code, error.kafka_error) == (19, "NOT_ENOUGH_REPLICAS")
    assert error.reason == "budget"
    assert error.status is PersistenceStatus.POSSIBLY_PERSISTED
    assert error.record is each.event


def test_the_message_names_place_budget_last_answer_and_the_setting_to_change() -> None:
    """A person reads it at night."""
    each = entry("x", started=10.0, budget=5)
    text = str(ending(DOUBTED, REFUSED).gave_up(each, "budget"))
    assert text == (
        "orders[3]: possibly persisted (budget) after 4.00 s of 5 s, 2 attempts,"
        " the last one not appended (NOT_ENOUGH_REPLICAS) after 100.0 ms;"
        " raise delivery_timeout, or see why the brokers did not answer"
    )
    assert "1 attempt, the last one" in str(ending(REFUSED).unavailable(each, "attempts"))
    assert "0 attempts; " in str(ending().unavailable(each, "closing"))


@pytest.mark.parametrize("reason", ["budget", "attempts", "drain", "closing", "rejected", "no_retry", "fenced"])
def test_every_reason_has_advice(reason: str) -> None:
    """What to change, or why not to send it again."""
    error = ending(DOUBTED).gave_up(entry(), reason)
    assert error.reason == reason
    assert len(str(error).rsplit("; ", 1)[1]) > 10


def test_a_rejection_is_the_answer_that_decided() -> None:
    """Code, name and words of the broker; whatever came before is in the history."""
    error = ending(REFUSED).rejected(entry("x"), 87, "no key")
    assert str(error) == "orders[3]: INVALID_RECORD (87): no key; a compacted topic needs a key on every record"
    assert (error.kafka_code, error.kafka_error, error.reason) == (87, "INVALID_RECORD", None)
    assert type(error) is InvalidRecordError
    assert error.history == (REFUSED,)


def test_before_the_partition_is_known_the_topic_is_named_alone() -> None:
    """No partition is made up."""
    error = Ending("orders", None, (), 14.0).unavailable(entry(), "budget")
    assert error.partition is None
    assert str(error).startswith("orders: ")


def test_a_partition_beyond_the_topic_s_is_named_with_those_there_are() -> None:
    """An outcome, not a usage error: the topic may have shrunk meanwhile."""
    error = ending().no_such_partition(entry(), 3)
    assert type(error) is InvalidRecordError
    assert "orders[3] does not exist, the topic has 3; give one from 0 to 2" in str(error)


def test_no_message_holds_a_payload() -> None:
    """Keys and values may be anybody's secrets."""
    each = entry("s3cret")
    each.event_id = "id"
    cause = TypeError("s3cret")
    errors = [
        ending(REFUSED).gave_up(each, "budget"),
        ending(DOUBTED).gave_up(each, "budget"),
        ending().rejected(each, 10),
        ending().unencodable(each, cause),
        ending().no_such_partition(each, 1),
    ]
    assert all("s3cret" not in str(error) + repr(error) for error in errors)
    assert isinstance(errors[3], SerializationError)
    assert errors[3].__cause__ is cause
