"""What is kept of one event, and of one ``publish_many``, between the call and the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace

from eventpub.envelope import wall_clock
from eventpub.instrumentation import facts, names
from eventpub.instrumentation.meters import attempt_error, error_type, pause_before

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Span, SpanContext

    from eventpub.delivery import Attempt, Delivery
    from eventpub.exceptions import PublishError

_EVENTS = 100  # on the span of one publish_many: an SDK keeps 128 by default


class Trail:
    """One event's span, or its place in a `GroupSpan`.

    Attributes:
        span: from the call to the outcome, ``None`` where nothing is recorded of this event alone.
        group: of the ``publish_many`` it is part of.
        context: what its record carries, to link to.
        since: when it entered the stage it is in, in seconds of the loop's clock.
    """

    __slots__ = ("_began", "context", "group", "since", "span")

    def __init__(
        self, span: Span | None = None, group: GroupSpan | None = None, context: SpanContext | None = None
    ) -> None:
        self.span = span
        self.group = group
        self.context = context
        self.since = 0.0
        self._began = wall_clock()

    def end(
        self, outcome: Delivery | PublishError | None, history: tuple[Attempt, ...], started: float, now: float
    ) -> None:
        """End the span, as the outcome says; what was tried becomes its events."""
        if self.group is not None:
            self.group.note(outcome, history, now)
        if self.span is None:
            return
        self.span.set_attributes(facts.of_outcome(outcome, history))
        _add_attempts(self.span, history, self._began, started)
        _fail(self.span, outcome)
        self.span.end(_at(self._began, started, now))

    def end_write(self, failed: int, now: float) -> None:
        """End the span of a dead-letter write, *failed* letters of which were not taken."""
        if self.span is None:
            return
        self.span.set_attribute(names.FAILED, failed)
        if failed:
            self.span.set_attribute(names.ERROR_TYPE, "DeadLetterError")
            self.span.set_status(trace.StatusCode.ERROR, f"{failed} letters were not taken")
        self.span.end(_at(self._began, self.since, now))


class GroupSpan:
    """The span of one ``publish_many``: CLIENT, linked to the contexts of its messages.

    It ends with the last of them. What one batch went through is told once, not for each of its records.
    """

    def __init__(self, count: int, started: float) -> None:
        self.span: Span | None = None
        self._left = count
        self._count = count
        self._started = started
        self._began = wall_clock()
        self._topics: set[str] = set()
        self._errors: set[str] = set()
        self._failed = 0
        self._events = 0
        self._told: dict[int, Attempt] = {}

    def begin(self, span: Span) -> None:
        """Take *span*, whose name is that of the first message's topic."""
        self.span = span

    def add(self, topic: str, context: SpanContext | None) -> None:
        """Add a message to *topic* that carries *context*."""
        self._topics.add(topic)
        if self.span is not None and context is not None:
            self.span.add_link(context)

    def note(self, outcome: Delivery | PublishError | None, history: tuple[Attempt, ...], now: float) -> None:
        """Take in what became of one message."""
        self._left -= 1
        if self.span is not None and self.span.is_recording():
            self._add_attempts(self.span, history)
        if outcome is None or isinstance(outcome, Exception):
            self._note_failure(outcome, now)
        if not self._left:
            self._end(now)

    def _add_attempts(self, span: Span, history: tuple[Attempt, ...]) -> None:
        fresh = tuple(attempt for attempt in history if id(attempt) not in self._told)
        self._told.update((id(attempt), attempt) for attempt in fresh)
        if fresh and self._room():
            _add_attempts(span, fresh, self._began, self._started)

    def cut(self, seen: int, now: float) -> None:
        """Expect no more than the *seen* messages that the call came to before it was cancelled."""
        self._left -= self._count - seen
        self._count = seen
        if not self._left:
            self._end(now)

    def _room(self) -> bool:
        self._events += 1
        return self._events <= _EVENTS

    def _note_failure(self, outcome: PublishError | None, now: float) -> None:
        self._failed += 1
        self._errors.add(error_type(outcome))
        if self.span is not None and self._room():
            event_id = None if outcome is None else outcome.event_id
            known: facts.Facts = {names.OUTCOME: facts.word(outcome), names.ERROR_TYPE: error_type(outcome)}
            if event_id is not None:
                known[names.MESSAGE_ID] = event_id
            self.span.add_event(names.FAILURE_EVENT, known, _at(self._began, self._started, now))

    def _end(self, now: float) -> None:
        span, self.span = self.span, None
        if span is None:
            return
        span.set_attribute(names.MESSAGE_COUNT, self._count)
        span.set_attribute(names.FAILED, self._failed)
        if len(self._topics) == 1:
            span.set_attribute(names.DESTINATION, next(iter(self._topics)))
        else:
            span.update_name(names.SEND)
        if self._errors:
            span.set_attribute(names.ERROR_TYPE, self._errors.pop() if len(self._errors) == 1 else names.OTHER_ERROR)
            span.set_status(trace.StatusCode.ERROR, f"{self._failed} of {self._count} events were not delivered")
        span.end(_at(self._began, self._started, now))


def _add_attempts(span: Span, history: tuple[Attempt, ...], began: int, started: float) -> None:
    before = None
    for attempt in history:
        if before is not None:
            pause: facts.Facts = {
                names.BACKOFF_DURATION: max(pause_before(attempt, before), 0.0),
                names.ATTEMPT_ERROR: attempt_error(before),
            }
            span.add_event(names.BACKOFF_EVENT, pause, _at(began, started, before.started + before.duration))
        span.add_event(names.ATTEMPT_EVENT, facts.of_attempt(attempt), _at(began, started, attempt.started))
        before = attempt


def _fail(span: Span, outcome: Delivery | PublishError | None) -> None:
    if outcome is None or isinstance(outcome, Exception):
        span.set_attribute(names.ERROR_TYPE, error_type(outcome))
        span.set_status(trace.StatusCode.ERROR, "withdrawn by its caller" if outcome is None else str(outcome))


def _at(began: int, started: float, time: float) -> int:
    """Return *time* of the loop's clock in nanoseconds since the epoch, given one moment by both clocks.

    So durations are those of the clock that delivery goes by, whatever becomes of the wall clock meanwhile.
    """
    return began + max(0, int((time - started) * 1e9))


def link_to(context: SpanContext | None) -> tuple[Link, ...]:
    """Return *context* as the links of a new span."""
    return () if context is None else (trace.Link(context),)
