"""What a publisher's log says of its attempts: the first failure of a kind, one line a minute, and the recovery.

Decides nothing about delivery. Nothing here runs while all is well but one truth test for each
batch (``AttemptLog.open``). What is known of a topic in trouble is bounded, and so are the lines.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from eventpub._log_limit import PAUSE, LogLimiter, and_more
from eventpub._rules.codes import Action, Code, lookup
from eventpub.delivery import AttemptOutcome, Delivery

if TYPE_CHECKING:
    from eventpub._rules.batch import Batch
    from eventpub._rules.entry import Entry
    from eventpub.abc import TopicPartition
    from eventpub.delivery import Attempt
    from eventpub.exceptions import PublishError

_log = logging.getLogger("eventpub.attempts")
# Whoever published is told by his exception. Without logging set up, Python would print these lines
# too; it prints those of the other loggers, which tell what nobody hears of otherwise.
_log.addHandler(logging.NullHandler())

_TOPICS = 200  # whose recovery is told
_KINDS = 5  # named in one recovery
_NO_PARTITION = -1
_OF_THE_RECORD = frozenset({Action.BISECT, Action.EXCLUDE, Action.RESEND_ONCE})


class Outage:
    """One topic, from the first attempt that failed until all that is tried is written again."""

    __slots__ = ("_failing", "failures", "kinds", "partitions", "since", "told")

    def __init__(self, now: float) -> None:
        self.since = now
        self.failures = 0
        self.told = False
        self.kinds: dict[str, None] = {}
        self.partitions: set[int] = set()
        self._failing: dict[int, float] = {}

    def failed(self, partition: int, kind: str, now: float) -> None:
        """Take in a failure."""
        self.failures += 1
        self.partitions.add(partition)
        self._failing[partition] = now
        if len(self.kinds) < _KINDS:
            self.kinds[kind] = None

    def is_over(self, partition: int, now: float) -> bool:
        """Take in that *partition* was written; whether no other is being tried in vain."""
        self._failing.pop(_NO_PARTITION, None)
        self._failing.pop(partition, None)
        # What was given up is tried no more, and would keep the others' recovery from being told.
        return all(now - last > PAUSE for last in self._failing.values())


class AttemptLog:
    """Of one publisher.

    Attributes:
        open: the topics in trouble; while it is empty, no attempt that succeeds is of interest.
    """

    __slots__ = ("_limiter", "open")

    def __init__(self) -> None:
        self.open: dict[str, Outage] = {}
        self._limiter = LogLimiter()

    def failed(self, partition: TopicPartition, batch: Batch, attempt: Attempt, now: float) -> None:
        """Note an attempt that was not acknowledged."""
        kind = attempt.kafka_error or attempt.detail or attempt.outcome.value
        code = None if attempt.kafka_code is None else lookup(attempt.kafka_code)
        told = self._tell(
            (partition.topic, kind),
            now,
            f"{partition}: attempt {attempt}",
            _advice(code, attempt, resent=batch.profile.idempotence or batch.profile.allow_duplicates),
            line="attempt.failed",
            topic=partition.topic,
            partition=partition.partition,
            broker=attempt.broker,
            attempt_outcome=attempt.outcome.value,
            error_type=kind,
            kafka_code=attempt.kafka_code,
            records=len(batch.entries),
        )
        if code is None or code.action not in _OF_THE_RECORD:
            self._note(*partition, kind, now, told=told)

    def refused(self, error: PublishError, now: float) -> None:
        """Note an event that the brokers refused before anything was sent."""
        topic, kind = error.topic or "", str(error.kafka_error)
        told = self._tell(
            (topic, kind),
            now,
            f"{topic}: refused before anything was sent ({kind})",
            lookup(error.kafka_code or 0).advice,
            line="topic.refused",
            topic=topic,
            error_type=kind,
            kafka_code=error.kafka_code,
        )
        self._note(topic, _NO_PARTITION, kind, now, told=told)

    def written(self, partition: TopicPartition, now: float) -> None:
        """Note an acknowledgement; asked only while something is open."""
        topic, number = partition
        outage = self.open.get(topic)
        if outage is None or not outage.is_over(number, now):
            return
        del self.open[topic]
        if outage.told:
            took, kinds = now - outage.since, ", ".join(outage.kinds)
            several = len(outage.partitions - {_NO_PARTITION}) > 1
            where = f"{topic}, {len(outage.partitions)} partitions" if several else str(partition)
            failures = "1 attempt" if outage.failures == 1 else f"{outage.failures} attempts"
            facts = {"line": "attempt.recovered", "topic": topic, "duration": took, "failures": outage.failures}
            _log.info("%s: written again after %.1f s, %s failed (%s)", where, took, failures, kinds, extra=facts)

    def abandoned(self, partition: TopicPartition, batch: Batch, now: float) -> None:
        """Note a batch that was given up in doubt, at the cost of an epoch."""
        if not batch.stamp.idempotent or (untold := self._limiter.due(("epoch", partition.topic), now)) is None:
            return
        text = "%s: a batch of %d was given up in doubt, and the partition leaves epoch %d%s"
        facts = {"line": "epoch.bumped", "topic": partition.topic, "partition": partition.partition}
        facts |= {"records": len(batch.entries), "epoch": batch.stamp.epoch}
        _log.info(text, partition, len(batch.entries), batch.stamp.epoch, and_more(untold), extra=facts)

    def late(self, entry: Entry, outcome: Delivery | PublishError, now: float) -> None:
        """Note an answer that came after its caller had been told another outcome."""
        topic = entry.record.topic
        if (untold := self._limiter.due(("late", topic), now)) is None:
            return
        before = "" if entry.outcome is None else f"; its caller had been told: {entry.outcome.status.value}"
        facts = {"line": "outcome.late", "event_id": entry.event_id, "topic": topic, "outcome": outcome.status.value}
        where = str(outcome) if isinstance(outcome, Delivery) else f"{topic}: {outcome.status.value}"
        _log.info("late answer: %s%s%s", where, before, and_more(untold), extra=facts)

    def _tell(self, kind: tuple[str, str], now: float, what: str, advice: str, **facts: Any) -> bool:
        untold = self._limiter.due(kind, now)
        if untold is None:
            return False
        _log.warning("%s%s; %s", what, and_more(untold), advice, extra={**facts, "untold": untold})
        return True

    def _note(self, topic: str, partition: int, kind: str, now: float, *, told: bool) -> None:
        outage = self.open.get(topic)
        if outage is None:
            if len(self.open) >= _TOPICS:
                return
            outage = self.open[topic] = Outage(now)
        outage.failed(partition, kind, now)
        outage.told = outage.told or told


def unheard(error: PublishError) -> dict[str, Any]:
    """Return the facts of the line about an outcome that nobody awaits."""
    facts = {"line": "outcome.unheard", "event_id": error.event_id, "topic": error.topic, "partition": error.partition}
    return facts | {"outcome": error.status.value, "attempts": error.attempts, "kafka_code": error.kafka_code}


def _advice(code: Code | None, attempt: Attempt, *, resent: bool) -> str:
    """Return what happens next by itself, and what to look at."""
    if attempt.outcome is AttemptOutcome.IN_DOUBT and not resent:
        return "it may be in the log, and is not sent again: this profile has no idempotence"
    if code is None:
        sent_again = attempt.outcome is AttemptOutcome.IN_DOUBT
        again = "the same bytes are sent again, in the same sequence" if sent_again else "nothing had been sent"
        return f"{again}; it is tried for as long as the budget lasts; see the lines of eventpub.brokers"
    if code.action is Action.NEW_EPOCH:
        return "the broker remembers another sequence: the partition goes on in a new epoch"
    if code.action is Action.RETRY:
        return f"it is tried again inside its budget; if this lasts, {code.advice}"
    return code.advice
