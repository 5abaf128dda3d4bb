"""Telemetry as the engine sees it (`eventpub.abc.Recorder`): spans and metrics, and nothing they raise."""

from __future__ import annotations

import logging
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from opentelemetry import trace

from eventpub.delivery import Delivery
from eventpub.instrumentation.instruments import process_instruments
from eventpub.instrumentation.meters import NO_CONTEXT, Meters
from eventpub.instrumentation.spans import Spans
from eventpub.instrumentation.trail import GroupSpan, Trail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.context import Context

    from eventpub.abc import Levels, WaitStage
    from eventpub.delivery import Attempt
    from eventpub.exceptions import PublishError
    from eventpub.instrumentation.instruments import Instruments
    from eventpub.letter import DeadLetter
    from eventpub.receipt import Receipt
    from eventpub.record import Headers, Record

_log = logging.getLogger("eventpub.telemetry")

_Method = TypeVar("_Method", bound="Callable[..., Any]")
_NOTHING: tuple[Headers, Trail | None] = ((), None)


def _guarded(otherwise: object) -> Callable[[_Method], _Method]:
    """Make a method return *otherwise* where a processor, sampler or reader of the user's raises."""

    def guard(method: _Method) -> _Method:
        @wraps(method)
        def call(self: Telemetry, *args: Any) -> Any:
            try:
                return method(self, *args)
            except Exception:  # noqa: BLE001 - whatever a processor, a sampler or an exporter raises
                self.complain()
                return otherwise

        return cast("_Method", call)

    return guard


class Telemetry:
    """The `Recorder` on OpenTelemetry's global providers, those of now or those that will be set.

    Args:
        client_id: of the publisher.
        source: the CloudEvents source of its events.
        instruments: where it counts; default: that of the process.
    """

    def __init__(self, client_id: str, source: str | None, instruments: Instruments | None = None) -> None:
        self._meters = Meters(instruments or process_instruments(), client_id)
        self._spans = Spans(source)
        self._complained = False

    def complain(self) -> None:
        """Log that telemetry raised, once."""
        if not self._complained:
            self._complained = True
            text = "telemetry raised; no delivery is affected, and more of it is not logged"
            _log.exception(text, extra={"line": "telemetry.raised"})

    def watch(self, levels: Callable[[], Levels], /) -> None:
        """Read queue depth and the engine's own counters from *levels* when somebody collects."""
        self._meters.counters.watch(levels)

    # --- one event: not by the decorator, which costs 0.2 µs a call ---------------------

    def started(self, event: object, record: Record, group: object | None, /) -> tuple[Headers, Trail | None]:
        """Begin the span of a publish."""
        try:
            spans = self._spans
            tracer = spans.live or spans.tracer()
            if tracer is None:
                return spans.pass_on(record)
            topic = self._meters.topics.get(record.topic) or self._meters.topic(record.topic)
            if group is None:
                return spans.start(tracer, event, record, topic)
            return spans.start_in(tracer, event, record, topic, cast("GroupSpan", group))
        except Exception:  # noqa: BLE001 - as in _guarded
            self.complain()
            return _NOTHING

    def ended(
        self,
        token: object | None,
        topic: str,
        outcome: Delivery | PublishError | None,
        history: tuple[Attempt, ...],
        started: float,
        now: float,
        /,
    ) -> None:
        """End the span, and count what became of the event."""
        try:
            around = NO_CONTEXT
            if isinstance(token, Trail):
                around = _context_of(token)
                token.end(outcome, history, started, now)
            if isinstance(outcome, Delivery):
                self._meters.succeeded(topic, outcome, now - started, around)
            else:
                self._meters.failed(topic, outcome, now - started, around)
        except Exception:  # noqa: BLE001 - as in _guarded
            self.complain()

    @_guarded(None)
    def delivered(
        self,
        topic: str,
        tokens: Sequence[object | None],
        deliveries: Sequence[Delivery],
        history: tuple[Attempt, ...],
        now: float,
        /,
    ) -> None:
        """End the spans of a batch, and count its events."""
        self._meters.delivered(topic, len(deliveries))
        measured = self._meters.measured
        if not measured and not any(tokens):
            return
        for token, delivery in zip(tokens, deliveries, strict=True):
            around = NO_CONTEXT
            if isinstance(token, Trail):
                around = _context_of(token)
                token.end(delivery, history, now - delivery.elapsed, now)
            if measured:
                self._meters.took(topic, delivery.elapsed, around)

    @_guarded(None)
    def refused(self, error: PublishError, group: object | None, now: float, /) -> None:
        """Record a publish that failed before it was taken in."""
        topic = error.topic or ""
        self._meters.failed(topic, error, 0.0, NO_CONTEXT)
        if isinstance(group, GroupSpan):
            group.note(error, (), now)
        else:
            self._spans.refuse(self._meters.topic(topic), error)

    @_guarded(None)
    def late(self, token: object | None, topic: str, outcome: Delivery | PublishError, /) -> None:
        """Count an answer that came too late; its span is linked to the one that has ended."""
        self._meters.late(topic, outcome)
        if isinstance(token, Trail):
            self._spans.late(token, self._meters.topic(topic), outcome)

    # --- many --------------------------------------------------------------------------

    @_guarded(None)
    def many(self, count: int, started: float, /) -> GroupSpan | None:
        """Begin a ``publish_many``."""
        return None if self._spans.tracer() is None else GroupSpan(count, started)

    @_guarded(None)
    def many_cut(self, group: object | None, seen: int, now: float, /) -> None:
        """Expect no more messages than were *seen*."""
        if isinstance(group, GroupSpan):
            group.cut(seen, now)

    # --- stages and attempts -----------------------------------------------------------

    def waited(
        self, token: object | None, stage: WaitStage, topic: str, started: float, now: float, /
    ) -> object | None:
        """Measure a wait that is over; what it returns is the event's token from now on."""
        try:
            trail = token if isinstance(token, Trail) else Trail()
            self._meters.stage(topic, stage, now - (trail.since or started))
            trail.since = now
        except Exception:  # noqa: BLE001 - as in _guarded; the token has a span that is still to be ended
            self.complain()
            return token
        return trail

    @_guarded(None)
    def attempt(
        self,
        oldest: tuple[object | None, float],
        topic: str,
        batch: tuple[int, int, int],
        history: tuple[Attempt, ...],
        /,
    ) -> None:
        """Measure an attempt, and with the first one the batch."""
        self._meters.attempt(topic, *batch, history)
        if len(history) == 1:
            token, started = oldest
            queued = token.since if isinstance(token, Trail) and token.since else started
            self._meters.stage(topic, "linger", history[0].started - queued)

    # --- dead letters ------------------------------------------------------------------

    @_guarded(None)
    def writing(self, sink: str, letters: Sequence[DeadLetter], now: float, /) -> Trail | None:
        """Begin the span of a write to *sink*."""
        trail = self._spans.write_letters(sink, letters)
        if trail is not None:
            trail.since = now
        return trail

    @_guarded(None)
    def written(self, token: object | None, failed: int, now: float, /) -> None:
        """End the span of a write, *failed* letters of which were not taken."""
        if isinstance(token, Trail):
            token.end_write(failed, now)

    @_guarded(None)
    def dead_letter(self, reason: str, receipt: Receipt, /) -> None:
        """Count a dead letter whose write has ended."""
        self._meters.dead_letter(reason, receipt)

    @_guarded(None)
    def close(self) -> None:
        """Keep the counts, and let go of the engine."""
        self._meters.close()


def _context_of(trail: Trail) -> Context:
    """Return the context of the event's span, by which a histogram's examples name its trace."""
    return NO_CONTEXT if trail.span is None else trace.set_span_in_context(trail.span, NO_CONTEXT)
