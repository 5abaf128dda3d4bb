"""What one publisher counts and measures, topic by topic."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opentelemetry.context import Context

from eventpub.delivery import AttemptOutcome, Delivery, PersistenceStatus
from eventpub.instrumentation import names, table

if TYPE_CHECKING:
    from eventpub.delivery import Attempt
    from eventpub.exceptions import PublishError
    from eventpub.instrumentation.instruments import Count, Counters, Instruments
    from eventpub.receipt import Receipt

TOPICS = 200  # counted by name; a publisher that makes up more has the rest counted together
NO_CONTEXT = Context()  # of no span: a lane's own context is that of whoever opened the publisher


class TopicMeters:
    """The attributes and counts of one topic, looked up once per event.

    Attributes:
        name: of the topic, ``None`` for those beyond the bound.
        span: the name of a send span.
        start: the attributes of a send span that are known when it begins; samplers see these.
        persisted: events that were.
        sent: events sent that did not fail.
        succeeded: attributes of the duration of those that did not fail.
    """

    __slots__ = ("_counters", "_counts", "_failed", "base", "name", "persisted", "sent", "span", "start", "succeeded")

    def __init__(self, name: str | None, counters: Counters, client_id: str) -> None:
        self.name = name
        self._counters = counters
        self._counts: dict[tuple[table.Metric, str], Count] = {}
        self._failed: dict[str, tuple[dict[str, str], Count]] = {}
        self.base = {} if name is None else {names.DESTINATION: name}
        self.succeeded = self._operation()
        self.span = self.named(names.SEND)
        self.start = {**self.succeeded, names.CLIENT_ID: client_id}
        self.sent = self._sent_count(self.succeeded)
        self.persisted = self.count(table.OUTCOMES, names.OUTCOME, PersistenceStatus.PERSISTED.value)

    def named(self, operation: str) -> str:
        """Return the name of a span of *operation*."""
        return operation if self.name is None else f"{operation} {self.name}"

    def count(self, metric: table.Metric, attribute: str, value: str) -> Count:
        """Return this topic's count of *metric* where *attribute* is *value*."""
        count = self._counts.get((metric, value))
        if count is None:
            count = self._counts[metric, value] = self._counters.count(metric, {**self.base, attribute: value})
        return count

    def failed(self, error_type: str) -> tuple[dict[str, str], Count]:
        """Return the attributes of the duration of those that failed so, and the count of those sent."""
        known = self._failed.get(error_type)
        if known is None:
            attributes = {**self._operation(), names.ERROR_TYPE: error_type}
            known = self._failed[error_type] = (attributes, self._sent_count(attributes))
        return known

    def _operation(self) -> dict[str, str]:
        operation = {names.OPERATION_NAME: names.SEND, names.OPERATION_TYPE: names.SEND}
        return {names.SYSTEM: names.KAFKA, **operation, **self.base}

    def _sent_count(self, operation: dict[str, str]) -> Count:
        attributes = {name: value for name, value in operation.items() if name != names.OPERATION_TYPE}
        return self._counters.count(table.SENT, attributes)


class Meters:
    """The metrics of one publisher.

    Attributes:
        topics: what is known of those that are counted by name.
    """

    def __init__(self, instruments: Instruments, client_id: str) -> None:
        self._instruments = instruments
        self._client_id = client_id
        self.topics: dict[str, TopicMeters] = {}
        self.counters = instruments.open()
        self._others = TopicMeters(None, self.counters, client_id)
        self._duration = instruments.histogram(table.DURATION)
        self._stages = instruments.histogram(table.STAGES)
        self._records = instruments.histogram(table.BATCH_RECORDS)
        self._size = instruments.histogram(table.BATCH_SIZE)
        self._fill = instruments.histogram(table.BATCH_FILL)

    def topic(self, name: str) -> TopicMeters:
        """Return the meters of topic *name*."""
        meters = self.topics.get(name)
        if meters is None:
            known = name if name and len(self.topics) < TOPICS else None
            meters = self._others if known is None else self._new(known)
        return meters

    def _new(self, name: str) -> TopicMeters:
        meters = self.topics[name] = TopicMeters(name, self.counters, self._client_id)
        return meters

    @property
    def measured(self) -> bool:
        """Whether anybody could look at a histogram: before an SDK is loaded, nobody does."""
        return "opentelemetry.sdk.metrics" in sys.modules

    def delivered(self, topic: str, count: int) -> None:
        """Count events that were persisted."""
        meters = self.topics.get(topic) or self.topic(topic)
        meters.persisted.value += count
        meters.sent.value += count

    def took(self, topic: str, seconds: float, context: Context) -> None:
        """Measure how long one of them took."""
        self._duration.record(seconds, self.topic(topic).succeeded, context)

    def succeeded(self, topic: str, delivery: Delivery, seconds: float, context: Context) -> None:
        """Count an event that was persisted, or handed to the socket."""
        meters = self.topics.get(topic) or self.topic(topic)
        if delivery.status is PersistenceStatus.PERSISTED:
            meters.persisted.value += 1
        else:
            meters.count(table.OUTCOMES, names.OUTCOME, delivery.status.value).value += 1
        meters.sent.value += 1
        self._duration.record(seconds, meters.succeeded, context)

    def failed(self, topic: str, error: PublishError | None, seconds: float, context: Context) -> None:
        """Count an event that failed, or was withdrawn."""
        meters = self.topic(topic)
        word = names.WITHDRAWN if error is None else error.status.value
        meters.count(table.OUTCOMES, names.OUTCOME, word).value += 1
        attributes, sent = meters.failed(error_type(error))
        if error is not None and error.history:
            sent.value += 1
        self._duration.record(seconds, attributes, context)

    def late(self, topic: str, outcome: Delivery | PublishError) -> None:
        """Count an answer that came too late."""
        self.topic(topic).count(table.LATE_OUTCOMES, names.OUTCOME, outcome.status.value).value += 1

    def attempt(self, topic: str, records: int, size: int, limit: int, history: tuple[Attempt, ...]) -> None:
        """Measure the last attempt of *history*; the first one also says what batches look like."""
        meters, attempt = self.topic(topic), history[-1]
        meters.count(table.ATTEMPTS, names.ATTEMPT_OUTCOME, attempt.outcome.value).value += 1
        self.stage(topic, "wire", attempt.duration)
        if len(history) > 1:
            before = history[-2]
            meters.count(table.RETRIES, names.ERROR_TYPE, attempt_error(before)).value += 1
            self.stage(topic, "backoff", pause_before(attempt, before))
        elif self.measured:
            self._records.record(records, meters.base, NO_CONTEXT)
            self._size.record(size, meters.base, NO_CONTEXT)
            self._fill.record(size / limit, meters.base, NO_CONTEXT)

    def stage(self, topic: str, stage: str, seconds: float) -> None:
        """Measure *seconds* spent in *stage*."""
        if self.measured:
            self._stages.record(max(seconds, 0.0), {**self.topic(topic).base, names.STAGE: stage}, NO_CONTEXT)

    def dead_letter(self, reason: str, receipt: Receipt) -> None:
        """Count a dead letter whose write has ended."""
        attributes = {
            names.DEAD_LETTER_REASON: reason,
            names.DEAD_LETTER_SINK: receipt.sink or "none",
            names.DEAD_LETTER_STATE: receipt.state,
        }
        self.counters.count(table.DEAD_LETTERS, attributes).value += 1

    def close(self) -> None:
        """Keep the counts, and let go of the publisher."""
        self._instruments.close(self.counters)


def error_type(error: PublishError | None) -> str:
    """Return the protocol's name for why an event failed, else eventpub's: a word of a short list."""
    return names.CANCELLED if error is None else error.kafka_error or type(error).__name__


def attempt_error(attempt: Attempt) -> str:
    """Return why *attempt* was not acknowledged: the protocol's name, else what it did to the log."""
    if attempt.kafka_error:
        return attempt.kafka_error
    return "IN_DOUBT" if attempt.outcome is AttemptOutcome.IN_DOUBT else "NOT_SENT"


def pause_before(attempt: Attempt, before: Attempt) -> float:
    """Return the seconds between two attempts: back-off, and until a broker could be written to."""
    return attempt.started - before.started - before.duration
