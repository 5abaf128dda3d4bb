"""What spans, events, metrics and attributes are called: OpenTelemetry's words, and eventpub's own.

The messaging conventions are in development and move, so the version they are taken from is
pinned by its schema URL, and a test compares the words with that version.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "eventpub"
VERSION: Final = version("eventpub")

# --- attributes of the conventions -------------------------------------------------------

SYSTEM: Final = "messaging.system"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
PARTITION: Final = "messaging.destination.partition.id"
MESSAGE_ID: Final = "messaging.message.id"
MESSAGE_COUNT: Final = "messaging.batch.message_count"
CLIENT_ID: Final = "messaging.client.id"
OFFSET: Final = "messaging.kafka.offset"
TOMBSTONE: Final = "messaging.kafka.message.tombstone"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
EVENT_ID: Final = "cloudevents.event_id"
EVENT_SOURCE: Final = "cloudevents.event_source"
EVENT_SPEC_VERSION: Final = "cloudevents.event_spec_version"
EVENT_SUBJECT: Final = "cloudevents.event_subject"
EVENT_TYPE: Final = "cloudevents.event_type"

KAFKA: Final = "kafka"
SEND: Final = "send"
CREATE: Final = "create"
OTHER_ERROR: Final = "_OTHER"  # several error types within one publish_many

# --- attributes of eventpub --------------------------------------------------------------

OUTCOME: Final = "eventpub.outcome"
ATTEMPTS: Final = "eventpub.attempts"
DEAD_LETTER_ID: Final = "eventpub.dead_letter.id"
DEAD_LETTER_STATE: Final = "eventpub.dead_letter.state"
DEAD_LETTER_SINK: Final = "eventpub.dead_letter.sink"
DEAD_LETTER_REASON: Final = "eventpub.dead_letter.reason"
STAGE: Final = "eventpub.stage"
ATTEMPT_OUTCOME: Final = "eventpub.attempt.outcome"
ATTEMPT_DURATION: Final = "eventpub.attempt.duration"
ATTEMPT_ERROR: Final = "eventpub.attempt.error"
BACKOFF_DURATION: Final = "eventpub.backoff.duration"
FAILED: Final = "eventpub.batch.failed"

WITHDRAWN: Final = "withdrawn"  # an outcome: cancelled before anything was sent
CANCELLED: Final = "cancelled"  # its error type

# --- spans and their events --------------------------------------------------------------

LATE_SPAN: Final = "late"
DEAD_LETTER_SPAN: Final = "dead_letter"
ATTEMPT_EVENT: Final = "eventpub.attempt"
BACKOFF_EVENT: Final = "eventpub.backoff"
FAILURE_EVENT: Final = "eventpub.failure"
LATE_EVENT: Final = "eventpub.late_outcome"
