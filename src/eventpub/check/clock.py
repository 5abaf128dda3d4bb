"""Whether this machine's clock agrees with a broker's: brokers refuse timestamps from far ahead.

The only honest measure is a time that a broker gave to something just now. Only a topic with
``message.timestamp.type=LogAppendTime`` tells one, and only of a record that is written to it; so this
writes one, and only where the user named the topic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from eventpub.check.facts import Absent, Topic
from eventpub.check.finding import Finding, Grade, not_checked
from eventpub.envelope import wall_clock
from eventpub.exceptions import EventPubError
from eventpub.profile import STANDARD
from eventpub.publisher import Publisher
from eventpub.record import Record

_SUBJECT = "clock"
_RULE = "clock-skew"
_PROBE = "eventpub check --write-probe"
_PROBE_TAKES = 10.0
_HOUR = 3600.0
_TOLERATED = 5.0
"""Seconds; machines that follow NTP differ by a hundredth of one."""


@dataclass(frozen=True, slots=True)
class Skew:
    """How far this machine's clock is ahead of a broker's, in seconds; negative: behind. True within *margin*."""

    ahead: float
    margin: float


async def measure(publisher: Publisher, topic: str) -> Skew:
    """Write one record to *topic*, which has LogAppendTime, and compare the broker's time of it with ours.

    Raises:
        EventPubError: it was not written.
    """
    record = Record(topic, _PROBE.encode(), key=b"eventpub-check")
    began = wall_clock()
    delivery = await publisher.publish(record, profile=STANDARD, timeout=_PROBE_TAKES)
    ended = wall_clock()
    assert delivery.timestamp is not None  # noqa: S101 - acks=1 is answered
    half = (ended - began) / 2e9
    return Skew(began / 1e9 + half - delivery.timestamp / 1000, half + 0.001)


def judge(skew: Skew, topic: Topic) -> Iterator[Finding]:
    """Say whether *skew*, measured on *topic*, lets brokers refuse timestamps, or confuses who reads them."""
    distance = abs(skew.ahead)
    if distance - skew.margin <= _TOLERATED:
        return
    where = "ahead of" if skew.ahead > 0 else "behind"
    reason = f"this machine's clock is {distance:.1f} s ({skew.margin:.2f} s at most off) {where} the broker's"
    limit = topic.number("message.timestamp.after.max.ms")
    refused = skew.ahead > (_HOUR if limit is None else limit / 1000)
    if refused:
        reason += ": beyond message.timestamp.after.max.ms, records are refused (INVALID_TIMESTAMP)"
    grade = Grade.ERROR if refused else Grade.WARNING
    yield Finding(grade, _RULE, _SUBJECT, reason, "let both follow NTP")


def unmeasured() -> Finding:
    """Say that nobody asked for the measure."""
    reason = "nothing that can be read tells a broker's time; measuring it writes one record"
    fix = "name a topic with message.timestamp.type=LogAppendTime: --write-probe TOPIC"
    return not_checked(_SUBJECT, reason, fix)


def unfit(topic: Topic | Absent, name: str) -> Finding | None:
    """Say why the topic called *name* cannot tell the time; then nothing is written to it."""
    if isinstance(topic, Absent):
        return not_checked(_SUBJECT, f"the brokers say of topic {name}: {topic.words}", "name another --write-probe")
    if topic.text("message.timestamp.type") != "LogAppendTime":
        told = topic.text("message.timestamp.type") or "a timestamp type that this client may not see"
        reason = f"topic {name} has {told}: its answers hold no broker's time, and nothing was written"
        return not_checked(_SUBJECT, reason, "name a topic with message.timestamp.type=LogAppendTime")
    return None


def failed(name: str, error: EventPubError) -> Finding:
    """Say that the probe was not written."""
    return Finding(Grade.ERROR, "write-probe", f"topic {name}", str(error), "see the other findings about this topic")
