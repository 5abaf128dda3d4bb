"""The spans of one publisher, by the messaging conventions: which, of what kind, and what they are linked to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.trace import SpanKind

from eventpub.instrumentation import context, facts, names
from eventpub.instrumentation.meters import NO_CONTEXT
from eventpub.instrumentation.trail import GroupSpan, Trail, link_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.trace import Tracer

    from eventpub.delivery import Delivery
    from eventpub.exceptions import PublishError
    from eventpub.instrumentation.meters import TopicMeters
    from eventpub.letter import DeadLetter
    from eventpub.record import Headers, Record

_NOTHING: tuple[Headers, Trail | None] = ((), None)
_SDK = "opentelemetry.sdk.trace"
_LINKS = 128  # what an SDK keeps by default


class Spans:
    """Begins spans; each is ended by what it returned for it (`Trail`, `GroupSpan`).

    A tracer provider may be set after the publisher was opened. Without one, asking
    OpenTelemetry costs 1.1 µs each time, so it is not asked before its SDK was imported.

    Args:
        source: the CloudEvents source of its events.

    Attributes:
        live: the tracer, once a provider was seen.
    """

    def __init__(self, source: str | None) -> None:
        self._source = source
        self.live: Tracer | None = None
        self._look()

    def _look(self) -> Tracer | None:
        if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            self.live = trace.get_tracer(names.SCOPE, names.VERSION, schema_url=names.SCHEMA_URL)
        return self.live

    def tracer(self) -> Tracer | None:
        """Return the tracer, ``None`` while no provider was set."""
        if self.live is None and _SDK in sys.modules:
            return self._look()
        return self.live

    # --- one event -----------------------------------------------------------------

    def start(self, tracer: Tracer, event: object, record: Record, topic: TopicMeters) -> tuple[Headers, Trail | None]:
        """Begin the span of a publish in the caller's context; return headers to add, and its trail if it is recorded."""
        if context.brought(record.headers):
            links = link_to(context.context_in(record.headers))
            span = tracer.start_span(topic.span, None, SpanKind.CLIENT, topic.start, links)
            headers: Headers = ()
        else:
            span = tracer.start_span(topic.span, None, SpanKind.PRODUCER, topic.start)
            headers = context.headers_of(span.get_span_context())
        if not span.is_recording():
            return headers, None
        span.set_attributes({names.DESTINATION: record.topic, **facts.of_record(event, record, self._source)})
        return headers, Trail(span, None, span.get_span_context())

    @staticmethod
    def pass_on(record: Record) -> tuple[Headers, Trail | None]:
        """Return the context around the call as it is, as OpenTelemetry does where it has no SDK."""
        if not get_current():  # asking an empty context for its span costs as much again
            return _NOTHING
        span = trace.get_current_span()
        if span is trace.INVALID_SPAN or context.brought(record.headers):
            return _NOTHING
        return context.headers_of(span.get_span_context()), None

    def refuse(self, topic: TopicMeters, error: PublishError) -> None:
        """Record a publish that failed before it was taken in."""
        tracer = self.tracer()
        if tracer is not None:
            span = tracer.start_span(topic.span, None, SpanKind.PRODUCER, topic.start)
            Trail(span).end(error, (), 0.0, 0.0)

    def late(self, trail: Trail | None, topic: TopicMeters, outcome: Delivery | PublishError) -> None:
        """Record an answer that came after the span had ended: on a span of its own, in the same trace."""
        tracer = self.tracer()
        if tracer is None or trail is None or trail.context is None:
            return
        around = trace.set_span_in_context(trace.NonRecordingSpan(trail.context), NO_CONTEXT)
        attributes = {names.SYSTEM: names.KAFKA, **topic.base}
        links = link_to(trail.context)
        span = tracer.start_span(topic.named(names.LATE_SPAN), around, SpanKind.INTERNAL, attributes, links)
        span.add_event(names.LATE_EVENT, facts.of_outcome(outcome, ()))
        span.end()

    # --- many ----------------------------------------------------------------------

    def start_in(
        self, tracer: Tracer, event: object, record: Record, topic: TopicMeters, group: GroupSpan
    ) -> tuple[Headers, Trail | None]:
        """Begin what one message of a ``publish_many`` needs: a create span, whose context the record carries."""
        if group.span is None:
            attributes = {name: value for name, value in topic.start.items() if name != names.DESTINATION}
            group.begin(tracer.start_span(topic.span, None, SpanKind.CLIENT, attributes))
        headers: Headers = ()
        if context.brought(record.headers):
            created = context.context_in(record.headers)
        else:
            attributes = {**topic.start, names.OPERATION_NAME: names.CREATE, names.OPERATION_TYPE: names.CREATE}
            span = tracer.start_span(topic.named(names.CREATE), None, SpanKind.PRODUCER, attributes)
            created = span.get_span_context()
            headers = context.headers_of(created)
            if span.is_recording():
                span.set_attributes({names.DESTINATION: record.topic, **facts.of_record(event, record, self._source)})
                span.end()
        group.add(record.topic, created)
        return headers, Trail(None, group, created)

    # --- dead letters --------------------------------------------------------------

    def write_letters(self, sink: str, letters: Sequence[DeadLetter]) -> Trail | None:
        """Begin the span of a write to *sink*, linked to the contexts of the records in *letters*."""
        tracer = self.tracer()
        if tracer is None:
            return None
        found = (context.context_in(letter.record.headers) for letter in letters[:_LINKS])
        links = tuple(trace.Link(created) for created in found if created is not None)
        attributes: facts.Facts = {names.DEAD_LETTER_SINK: sink, names.MESSAGE_COUNT: len(letters)}
        span = tracer.start_span(names.DEAD_LETTER_SPAN, NO_CONTEXT, SpanKind.CLIENT, attributes, links)
        return Trail(span) if span.is_recording() else None
