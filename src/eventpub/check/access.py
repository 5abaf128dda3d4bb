"""Whether a topic is there for this client, and may be written to: what the brokers say, nothing guessed."""

from __future__ import annotations

from collections.abc import Iterator

from eventpub.check.facts import TOPIC_DENIED, UNKNOWN_TOPIC, Absent, Topic
from eventpub.check.finding import Finding, Grade, not_checked

_GRANT = "kafka-acls --add --allow-principal User:<this client> --operation Write --topic"


def judge(topic: Topic | Absent, subject: str) -> Iterator[Finding]:
    """Say why *topic* cannot be written to, or cannot be judged."""
    if isinstance(topic, Absent):
        yield _absence(topic, subject)
        return
    if topic.operations is None:
        reason = "the brokers do not say what this client may do"
        yield not_checked(subject, reason, "rights are told by Kafka 2.3 and later")
    elif "WRITE" not in topic.operations:
        yield _denied(topic.name, subject, "this client may not write to it (TOPIC_AUTHORIZATION_FAILED)")
    if topic.settings is None:
        reason = "its settings cannot be seen: min.insync.replicas, sizes, retention and compaction were not looked at"
        fix = "grant DescribeConfigs on it, or run the check as somebody who has it"
        yield not_checked(subject, reason, fix)


def _absence(topic: Absent, subject: str) -> Finding:
    if topic.code == UNKNOWN_TOPIC:
        fix = "create it (eventpub never does), or correct the name"
        return Finding(Grade.ERROR, "unknown-topic", subject, "there is no such topic", fix)
    if topic.code == TOPIC_DENIED:
        return _denied(topic.name, subject, "this client may not even see whether it exists")
    return Finding(Grade.ERROR, "unreadable-topic", subject, f"the brokers say: {topic.words}", "see the brokers' logs")


def _denied(name: str, subject: str, reason: str) -> Finding:
    return Finding(Grade.ERROR, "write-denied", subject, reason, f"grant it: {_GRANT} {name}")
