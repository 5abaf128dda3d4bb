"""What each error code of Kafka says about the log, and asks for."""

from __future__ import annotations

import pytest

from eventpub._rules.codes import _CODES, Action, lookup
from eventpub.exceptions import (
    EventTooLargeError,
    InvalidRecordError,
    RejectedError,
    TopicAuthorizationError,
    UnknownTopicError,
)

# From `kafka-outcomes`: what librdkafka, the broker's source and runs on Apache Kafka agree on.
IN_DOUBT = {-1, 6, 7, 13, 20, 46, 56}
RETRIED = {-1, 3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 41, 46, 51, 56, 72, 74, 75, 89, 100}
PERMANENT = {8, 17, 21, 29, 31, 33, 34, 35, 42, 43, 44, 48, 53, 54, 58, 76, 120}


def test_codes_that_may_follow_the_append_are_in_doubt() -> None:
    """These and no others: each one more would freeze batches for nothing, each one less would lie."""
    assert {number for number, code in _CODES.items() if code.in_doubt} == IN_DOUBT


def test_codes_that_pass_by_themselves_are_retried() -> None:
    """The rest would be refused again."""
    assert {number for number, code in _CODES.items() if code.action is Action.RETRY} == RETRIED


def test_codes_that_concern_topic_client_or_permissions_fail_at_once() -> None:
    """No resend changes them, and no record is to blame."""
    assert {number for number, code in _CODES.items() if code.action is Action.FAIL} == PERMANENT


@pytest.mark.parametrize(
    "action, numbers",
    [
        (Action.BISECT, {10, 18}),
        (Action.EXCLUDE, {32, 87}),
        (Action.RESEND_ONCE, {2}),
        (Action.NEW_EPOCH, {45, 47, 49, 59, 90}),
    ],
)
def test_codes_with_a_remedy_of_their_own(action: Action, numbers: set[int]) -> None:
    """Rules 5 and 6 name them."""
    assert {number for number, code in _CODES.items() if code.action is action} == numbers


@pytest.mark.parametrize(
    "number, error",
    [
        (2, InvalidRecordError),
        (3, UnknownTopicError),
        (10, EventTooLargeError),
        (18, EventTooLargeError),
        (29, TopicAuthorizationError),
        (31, TopicAuthorizationError),
        (32, InvalidRecordError),
        (53, TopicAuthorizationError),
        (87, InvalidRecordError),
        (42, RejectedError),
    ],
)
def test_a_rejection_has_the_class_that_says_what_to_change(number: int, error: type[RejectedError]) -> None:
    """Event, topic or permissions."""
    assert lookup(number).error is error


def test_an_unknown_code_is_in_doubt_and_retried() -> None:
    """Only a resend that the broker recognises is safe after something nobody has heard of."""
    code = lookup(4711)
    assert (code.number, code.name, code.action, code.in_doubt) == (4711, "CODE_4711", Action.RETRY, True)


def test_names_are_the_protocol_s() -> None:
    """They are what people search for."""
    assert lookup(19).name == "NOT_ENOUGH_REPLICAS"
    assert all(code.name.isupper() for code in _CODES.values())
    assert len({code.name for code in _CODES.values()}) == len(_CODES)
