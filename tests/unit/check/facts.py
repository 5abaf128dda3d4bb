"""Sound facts, and one thing wrong with them at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eventpub.check.facts import Partition, Topic
from eventpub.check.finding import Finding, Grade

SETTINGS = {
    "min.insync.replicas": "2",
    "max.message.bytes": "1048588",
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "unclean.leader.election.enable": "false",
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": "3600000",
}


def partition(
    number: int = 0, leader: int | None = 1, replicas: Any = (1, 2, 3), in_sync: Any = (1, 2, 3)
) -> Partition:
    """Return a partition with three replicas, all in sync."""
    return Partition(number, leader, tuple(replicas), tuple(in_sync))


def topic(
    name: str = "tasks", *partitions: Partition, operations: Any = ("DESCRIBE", "WRITE"), **settings: str
) -> Topic:
    """Return a sound topic; *settings* with ``_`` for the dots replace the usual ones."""
    given = {setting.replace("_", "."): value for setting, value in settings.items()}
    return Topic(name, partitions or (partition(),), SETTINGS | given, frozenset(operations))


def told(findings: Iterable[Finding]) -> list[tuple[Grade, str]]:
    """Return the grade and the rule of each."""
    return [(finding.grade, finding.rule) for finding in findings]
