"""What each Kafka error code says about the log, and what may be done about it.

From the broker's produce path (``ReplicaManager``, ``UnifiedLog``, ``LogValidator``,
``ProducerAppendInfo``) and from runs on Apache Kafka 4.3.1. A code that is not listed here
is treated as in doubt: only a resend that the broker recognises is safe after it.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from eventpub.exceptions import (
    EventTooLargeError,
    InvalidRecordError,
    RejectedError,
    TopicAuthorizationError,
    UnknownTopicError,
)

NOT_LEADER_OR_FOLLOWER = 6
DUPLICATE_SEQUENCE_NUMBER = 46


class Action(enum.Enum):
    """What a code asks for, where the history allows it."""

    RETRY = "retry"  # it may pass by itself
    FAIL = "fail"  # topic, client or permissions must change: the whole batch fails at once
    BISECT = "bisect"  # some record is too much, nobody says which
    EXCLUDE = "exclude"  # the broker names the guilty records (KIP-467), else bisect
    RESEND_ONCE = "resend once"  # damaged on the way, or damaged at the source
    NEW_EPOCH = "new epoch"  # the broker's and our idea of the sequence differ (KIP-360)


class Code(NamedTuple):
    """One error code of the protocol.

    ``in_doubt`` says that the answer may come after the append.
    """

    number: int
    name: str
    action: Action
    in_doubt: bool = False
    error: type[RejectedError] = RejectedError
    advice: str = "see the broker's log"


_R, _F = Action.RETRY, Action.FAIL
_CODES = {
    code.number: code
    for code in (
        Code(-1, "UNKNOWN_SERVER_ERROR", _R, in_doubt=True),
        Code(
            2,
            "CORRUPT_MESSAGE",
            Action.RESEND_ONCE,
            error=InvalidRecordError,
            advice="the record arrived damaged twice; check compression and proxies",
        ),
        Code(
            3,
            "UNKNOWN_TOPIC_OR_PARTITION",
            _R,
            error=UnknownTopicError,
            advice="create the topic (eventpub never does), or correct its name",
        ),
        Code(5, "LEADER_NOT_AVAILABLE", _R),
        Code(NOT_LEADER_OR_FOLLOWER, "NOT_LEADER_OR_FOLLOWER", _R, in_doubt=True),
        Code(7, "REQUEST_TIMED_OUT", _R, in_doubt=True),
        Code(8, "BROKER_NOT_AVAILABLE", _F),
        Code(9, "REPLICA_NOT_AVAILABLE", _R),
        Code(
            10,
            "MESSAGE_TOO_LARGE",
            Action.BISECT,
            error=EventTooLargeError,
            advice="make the event smaller, or raise the topic's max.message.bytes",
        ),
        Code(13, "NETWORK_EXCEPTION", _R, in_doubt=True),
        Code(14, "COORDINATOR_LOAD_IN_PROGRESS", _R),
        Code(15, "COORDINATOR_NOT_AVAILABLE", _R),
        Code(16, "NOT_COORDINATOR", _R),
        Code(17, "INVALID_TOPIC_EXCEPTION", _F, advice="publish to a legal topic that is not internal"),
        Code(
            18,
            "RECORD_LIST_TOO_LARGE",
            Action.BISECT,
            error=EventTooLargeError,
            advice="make the event smaller, or raise the topic's segment.bytes",
        ),
        Code(19, "NOT_ENOUGH_REPLICAS", _R, advice="bring replicas back, or lower min.insync.replicas"),
        Code(20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", _R, in_doubt=True),
        Code(21, "INVALID_REQUIRED_ACKS", _F, advice="change the profile's acks"),
        Code(
            29,
            "TOPIC_AUTHORIZATION_FAILED",
            _F,
            error=TopicAuthorizationError,
            advice="grant this client WRITE on the topic",
        ),
        Code(
            31,
            "CLUSTER_AUTHORIZATION_FAILED",
            _F,
            error=TopicAuthorizationError,
            advice="grant this client WRITE on a topic: without one it gets no producer id",
        ),
        Code(
            32,
            "INVALID_TIMESTAMP",
            Action.EXCLUDE,
            error=InvalidRecordError,
            advice="bring timestamp= within the topic's message.timestamp.before/after.max.ms",
        ),
        Code(33, "UNSUPPORTED_SASL_MECHANISM", _F, advice="change sasl_mechanism"),
        Code(34, "ILLEGAL_SASL_STATE", _F, advice="check security_protocol"),
        Code(35, "UNSUPPORTED_VERSION", _F, advice="brokers must speak Produce v3 or later"),
        Code(41, "NOT_CONTROLLER", _R),
        Code(42, "INVALID_REQUEST", _F),
        Code(43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", _F, advice="upgrade the topic's message format"),
        Code(44, "POLICY_VIOLATION", _F, advice="see the broker's policies"),
        Code(45, "OUT_OF_ORDER_SEQUENCE_NUMBER", Action.NEW_EPOCH),
        Code(DUPLICATE_SEQUENCE_NUMBER, "DUPLICATE_SEQUENCE_NUMBER", _R, in_doubt=True),
        Code(47, "INVALID_PRODUCER_EPOCH", Action.NEW_EPOCH),
        Code(48, "INVALID_TXN_STATE", _F),
        Code(49, "INVALID_PRODUCER_ID_MAPPING", Action.NEW_EPOCH),
        Code(51, "CONCURRENT_TRANSACTIONS", _R),
        Code(53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", _F, error=TopicAuthorizationError),
        Code(54, "SECURITY_DISABLED", _F),
        Code(56, "KAFKA_STORAGE_ERROR", _R, in_doubt=True),
        Code(58, "SASL_AUTHENTICATION_FAILED", _F, advice="check user name and password"),
        Code(59, "UNKNOWN_PRODUCER_ID", Action.NEW_EPOCH),
        Code(72, "LISTENER_NOT_FOUND", _R),
        Code(74, "FENCED_LEADER_EPOCH", _R),
        Code(75, "UNKNOWN_LEADER_EPOCH", _R),
        Code(
            76,
            "UNSUPPORTED_COMPRESSION_TYPE",
            _F,
            advice="change the profile's compression, or the topic's compression.type",
        ),
        Code(
            87,
            "INVALID_RECORD",
            Action.EXCLUDE,
            error=InvalidRecordError,
            advice="a compacted topic needs a key on every record",
        ),
        Code(89, "THROTTLING_QUOTA_EXCEEDED", _R),
        Code(90, "PRODUCER_FENCED", Action.NEW_EPOCH),
        Code(100, "UNKNOWN_TOPIC_ID", _R),
        Code(120, "TRANSACTION_ABORTABLE", _F),
    )
}


def lookup(number: int) -> Code:
    """Return what is known of code *number*."""
    return _CODES.get(number) or Code(number, f"CODE_{number}", Action.RETRY, in_doubt=True)
