"""Trace context on the record: W3C, once, and what a caller brought is left alone."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from eventpub.instrumentation.context import brought, context_in, headers_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
CONTEXT = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7, is_remote=True, trace_flags=TraceFlags(1))


def test_as_the_propagator_writes_it() -> None:
    """The same two headers that OpenTelemetry's own W3C propagator makes."""
    for state in (TraceState(), TraceState([("vendor", "1"), ("other", "2")])):
        context = SpanContext(
            CONTEXT.trace_id, CONTEXT.span_id, is_remote=False, trace_flags=TraceFlags(0), trace_state=state
        )
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(NonRecordingSpan(context), Context()))
        assert {name: (value or b"").decode() for name, value in headers_of(context)} == carrier


def test_no_valid_context() -> None:
    """Nothing is written."""
    assert headers_of(trace.INVALID_SPAN_CONTEXT) == ()


def test_read_back() -> None:
    """What was written is what is linked to; without tracestate, or with one."""
    assert headers_of(CONTEXT) == (("traceparent", PARENT.encode()),)
    assert context_in(headers_of(CONTEXT)) == CONTEXT
    found = context_in((("tracestate", b"a=1"), ("traceparent", PARENT.encode())))
    assert found is not None
    assert found.trace_state.get("a") == "1"


def test_malformed() -> None:
    """It is no context to link to, and yet the caller brought it."""
    for value in (b"00-0-0-0", b"", None, b"\xff\x00"):
        assert context_in((("traceparent", value),)) is None
        assert brought((("other", b"x"), ("traceparent", value)))
    assert not brought((("tracestate", b"a=1"), ("Traceparent", PARENT.encode())))


def test_two() -> None:
    """Of two that somebody else wrote the last one counts, as for Java's consumers."""
    first = ("traceparent", b"00-11111111111111111111111111111111-2222222222222222-01")
    assert context_in((first, ("traceparent", PARENT.encode()))) == CONTEXT
