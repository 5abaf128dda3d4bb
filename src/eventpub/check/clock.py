"""Whether this machine's clock agrees with the cluster's: brokers refuse timestamps from far ahead.

Only a time that the cluster gave to something just now is a measure. The active controller tells one to
who may describe the cluster; a broker gives one to a record that is written to a topic with
``message.timestamp.type=LogAppendTime``, which is done only where the user named the topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from eventpub.check.facts import Absent, Topic
from eventpub.check.finding import Finding, Grade, not_checked
from eventpub.config import Address, KafkaConfig
from eventpub.envelope import wall_clock
from eventpub.exceptions import EventPubError
from eventpub.profile import STANDARD, as_seconds
from eventpub.publisher import Publisher
from eventpub.record import Record
from eventpub.transports.kafka import wire
from eventpub.transports.kafka.errors import ConnectionFault, TransportClosedError

_SUBJECT = "clock"
_PROBE = "eventpub check --write-probe"
_PROBE_TAKES = 10.0
_MILLISECOND = 0.001  # as fine as Kafka's times are
_TOLERATED = 5.0
"""Seconds; machines that follow NTP differ by a hundredth of one."""


@dataclass(frozen=True, slots=True)
class Skew:
    """How far this machine's clock is ahead of another, in seconds; negative: behind. True within *margin*."""

    ahead: float
    margin: float
    other: str

    @classmethod
    def between(cls, began: int, ended: int, told: float, other: str) -> Skew:
        """Return the skew, when between *began* and *ended* (ns) of our clock it was *told* (s) at the other."""
        half = (ended - began) / 2e9
        return cls(began / 1e9 + half - told, half + _MILLISECOND, other)


async def ask_controller(address: Address, config: KafkaConfig, client_id: str) -> Skew | None:
    """Ask the broker at *address* for the active controller's time; ``None`` where it is not told."""
    access = wire.Access(config, client_id, await asyncio.to_thread(config.open_tls))
    try:
        connection = await wire.connect(address, access)
    except ConnectionFault:
        return None  # a finding already, or a moment's trouble
    try:
        async with asyncio.timeout(as_seconds("metadata_timeout", config.metadata_timeout)):
            began = wall_clock()
            told = await connection.controller_clock()
            ended = wall_clock()
    except (ConnectionFault, TimeoutError):
        return None
    finally:
        connection.abort(TransportClosedError("the check is done with it"))
        await connection.wait_closed()
    return None if told is None else Skew.between(began, ended, told, "the active controller's")


async def probe(publisher: Publisher, topic: str) -> Skew:
    """Write one record to *topic*, which has LogAppendTime, and compare the broker's time of it with ours.

    Raises:
        EventPubError: it was not written.
    """
    began = wall_clock()
    record = Record(topic, _PROBE.encode(), key=b"eventpub-check")
    delivery = await publisher.publish(record, profile=STANDARD, timeout=_PROBE_TAKES)
    ended = wall_clock()
    assert delivery.timestamp is not None  # noqa: S101 - acks=1 is answered
    return Skew.between(began, ended, delivery.timestamp / 1000, "that of the broker which took the probe")


def judge(skew: Skew, topics: Iterable[Topic]) -> Iterator[Finding]:
    """Say whether *skew* lets brokers refuse the timestamps of *topics*, or at least confuses who reads them."""
    distance = abs(skew.ahead)
    if distance - skew.margin <= _TOLERATED:
        return
    where = "ahead of" if skew.ahead > 0 else "behind"
    reason = f"this machine's is {distance:.1f} s {where} {skew.other} (measured to {skew.margin:.2f} s)"
    refusing = [topic.name for topic in topics if _refuses(topic, skew.ahead)]
    if refusing:
        reason += f": beyond message.timestamp.after.max.ms, refused by {', '.join(refusing)} (INVALID_TIMESTAMP)"
    grade = Grade.ERROR if refusing else Grade.WARNING
    yield Finding(grade, "clock-skew", _SUBJECT, reason, "let all machines follow NTP")


def _refuses(topic: Topic, ahead: float) -> bool:
    limit = topic.number("message.timestamp.after.max.ms")
    return limit is not None and topic.text("message.timestamp.type") == "CreateTime" and ahead * 1000 > limit


def unmeasured() -> Finding:
    """Say that there was no measure."""
    reason = "the controller's time is told by Kafka 3.3 and later, and only to who may describe the cluster"
    fix = (
        "grant Describe on the cluster, or let one record be written to a topic with LogAppendTime: --write-probe TOPIC"
    )
    return not_checked(_SUBJECT, reason, fix)


def unfit(topic: Topic | Absent) -> Finding | None:
    """Say why *topic* cannot tell the time; then nothing is written to it."""
    if isinstance(topic, Absent):
        return not_checked(_SUBJECT, f"the brokers say of topic {topic.name}: {topic.words}", "name another")
    if topic.text("message.timestamp.type") != "LogAppendTime":
        told = topic.text("message.timestamp.type") or "a timestamp type that this client may not see"
        reason = f"topic {topic.name} has {told}: its answers hold no broker's time, and nothing was written"
        return not_checked(_SUBJECT, reason, "name a topic with message.timestamp.type=LogAppendTime")
    return None


def failed(topic: str, error: EventPubError) -> Finding:
    """Say that the probe was not written."""
    fix = "see the other findings, or name another topic"
    return Finding(Grade.ERROR, "write-probe", f"topic {topic}", str(error), fix)
