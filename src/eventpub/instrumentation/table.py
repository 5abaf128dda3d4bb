"""Every metric of eventpub: what it is, its unit, its attributes. ``docs/reference/telemetry.md`` shows the same.

No attribute grows with the number of events: topics are counted by name up to a bound,
error types are the protocol's names and eventpub's classes, the rest are words of a short list.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from eventpub.instrumentation import names

Kind = Literal["histogram", "counter", "up-down counter"]


class Metric(NamedTuple):
    """One metric. Counters are kept here and read when somebody collects: an SDK's own cost 10 µs an event."""

    name: str
    kind: Kind
    unit: str
    attributes: tuple[str, ...]
    description: str
    buckets: tuple[float, ...] | None = None


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)  # advised by the conventions
_STAGE_SECONDS = (0.001, 0.0025, *_SECONDS)
_COUNTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500)
_BYTES = (1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 8_388_608)
_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1)

_SENT = (names.SYSTEM, names.OPERATION_NAME, names.DESTINATION, names.ERROR_TYPE)
_TOPIC = (names.DESTINATION,)

DURATION = Metric(
    "messaging.client.operation.duration",
    "histogram",
    "s",
    (*_SENT, names.OPERATION_TYPE),
    "Duration of messaging operation initiated by a producer or consumer client.",
    _SECONDS,
)
SENT = Metric(
    "messaging.client.sent.messages",
    "counter",
    "{message}",
    _SENT,
    "Number of messages producer attempted to send to the broker.",
)
OUTCOMES = Metric("eventpub.outcomes", "counter", "{event}", (*_TOPIC, names.OUTCOME), "Events by what became of them.")
LATE_OUTCOMES = Metric(
    "eventpub.late_outcomes",
    "counter",
    "{event}",
    (*_TOPIC, names.OUTCOME),
    "Answers that came after their caller had been told another outcome.",
)
ATTEMPTS = Metric(
    "eventpub.attempts",
    "counter",
    "{attempt}",
    (*_TOPIC, names.ATTEMPT_OUTCOME),
    "Produce attempts, one per batch and try, by what they did to the log.",
)
RETRIES = Metric(
    "eventpub.retries",
    "counter",
    "{attempt}",
    (*_TOPIC, names.ERROR_TYPE),
    "Attempts after the first, by what had kept the one before from being acknowledged.",
)
STAGES = Metric(
    "eventpub.stage.duration",
    "histogram",
    "s",
    (*_TOPIC, names.STAGE),
    "Time spent in one stage of delivery.",
    _STAGE_SECONDS,
)
BATCH_RECORDS = Metric("eventpub.batch.records", "histogram", "{event}", _TOPIC, "Records of a batch.", _COUNTS)
BATCH_SIZE = Metric("eventpub.batch.size", "histogram", "By", _TOPIC, "Bytes of a batch, uncompressed.", _BYTES)
BATCH_FILL = Metric("eventpub.batch.fill", "histogram", "1", _TOPIC, "Share of batch_size that was used.", _SHARES)
QUEUE_RECORDS = Metric("eventpub.queue.records", "up-down counter", "{event}", (), "Unconfirmed events in the buffer.")
QUEUE_BYTES = Metric("eventpub.queue.bytes", "up-down counter", "By", (), "Bytes of unconfirmed events in the buffer.")
QUEUE_WAITING = Metric(
    "eventpub.queue.waiting", "up-down counter", "{event}", (), "Publishes that wait for room in the buffer."
)
DEAD_LETTERS = Metric(
    "eventpub.dead_letters",
    "counter",
    "{letter}",
    (names.DEAD_LETTER_REASON, names.DEAD_LETTER_SINK, names.DEAD_LETTER_STATE),
    "Dead letters by why the event failed and where it lies now.",
)
EPOCHS = Metric("eventpub.epochs.bumped", "counter", "{epoch}", (), "Partitions moved to a new producer epoch.")
MIXED_CUTS = Metric(
    "eventpub.cuts.mixed", "counter", "{batch}", (), "Batches ended early by a record of another profile."
)

METRICS = (
    DURATION,
    SENT,
    OUTCOMES,
    LATE_OUTCOMES,
    ATTEMPTS,
    RETRIES,
    STAGES,
    BATCH_RECORDS,
    BATCH_SIZE,
    BATCH_FILL,
    QUEUE_RECORDS,
    QUEUE_BYTES,
    QUEUE_WAITING,
    DEAD_LETTERS,
    EPOCHS,
    MIXED_CUTS,
)
LEVELS = {
    QUEUE_RECORDS: "records",
    QUEUE_BYTES: "bytes",
    QUEUE_WAITING: "waiting",
    EPOCHS: "epochs_bumped",
    MIXED_CUTS: "mixed_cuts",
}
"""Metrics that are read from the engine, and the field of `eventpub.abc.Levels` that each is."""
