"""Spans of a publisher, seen by the real SDK."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.aiokafka import AIOKafkaInstrumentor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from eventpub import (
    TELEMETRY,
    BufferFullError,
    BufferLimits,
    Event,
    EventRegistry,
    Record,
    SerializationError,
)
from eventpub.deadletter import DeadLetters, SpoolSink, TopicSink
from eventpub.deadletter.replay import replay
from eventpub.instrumentation import meters, names
from eventpub.instrumentation.context import context_in, headers_of
from tests.publisher.kit import STEADY, Noted, error_of, one_partition, opened, record, turns
from tests.publisher.sinks import FakeSink

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from eventpub.transports.memory import MemoryBroker
    from support.telemetry import Sdk

CALLERS = SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=TraceFlags(1))
PARENT = b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return a span's attributes."""
    return dict(span.attributes or {})


def event_names(span: ReadableSpan) -> list[str]:
    """Return what the span's events are called."""
    return [event.name for event in span.events]


def parents(broker: MemoryBroker, topic: str = "t") -> list[list[bytes | None]]:
    """Return the ``traceparent`` headers of every record in the log."""
    return [[value for name, value in logged.headers if name == "traceparent"] for logged in broker.records(topic)]


def linked(span: ReadableSpan) -> list[int]:
    """Return the span ids that a span is linked to."""
    return [link.context.span_id for link in span.links]


def context_of(span: ReadableSpan) -> SpanContext:
    """Return a span's context."""
    context = span.get_span_context()
    assert context is not None
    return context


def seconds(span: ReadableSpan) -> float:
    """Return how long a span took."""
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


async def test_one_span_from_call_to_acknowledgement(sdk: Sdk) -> None:
    """PRODUCER, ``send {topic}``, with what the acknowledgement said; it ends after it, not when the call was made."""
    broker = one_partition()
    async with opened(broker, client_id="tests") as publisher:
        await publisher.publish(record("warm up"))
        sdk.exporter.clear()
        broker.latency(0.2)
        event = Noted(key="secret-key", text="secret-text")
        delivery = await publisher.publish(event, topic="t")
    (span,) = sdk.spans
    assert (span.name, span.kind, span.status.status_code) == ("send t", SpanKind.PRODUCER, StatusCode.UNSET)
    assert seconds(span) == pytest.approx(delivery.elapsed, abs=0.01)
    assert seconds(span) >= 0.2
    known = attributes(span)
    assert known.pop(names.SERVER_PORT, None) is None or known.pop(names.SERVER_ADDRESS)
    assert known == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "t",
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": delivery.offset,
        "messaging.message.id": event.envelope.id,
        "messaging.client.id": "tests",
        "cloudevents.event_id": event.envelope.id,
        "cloudevents.event_source": "/tests",
        "cloudevents.event_spec_version": "1.0",
        "cloudevents.event_type": "noted",
        "eventpub.attempts": 1,
        "eventpub.outcome": "persisted",
    }
    assert event_names(span) == ["eventpub.attempt"]
    assert "secret" not in span.to_json()
    scope = span.instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.schema_url) == ("eventpub", names.SCHEMA_URL)


async def test_the_record_carries_the_span(sdk: Sdk) -> None:
    """Exactly one ``traceparent``, that of the span."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record(1, headers=[("mine", b"1")]))
    (span,) = sdk.spans
    (logged,) = broker.records("t")
    assert [name for name, _ in logged.headers] == ["mine", "traceparent"]
    carried = context_in(logged.headers)
    assert carried is not None
    assert (carried.trace_id, carried.span_id) == (context_of(span).trace_id, context_of(span).span_id)


async def test_its_parent_is_the_callers_span(sdk: Sdk) -> None:
    """Although the lane that sends it was started by another request."""
    broker = one_partition()
    tracer = trace.get_tracer("application")
    async with opened(broker) as publisher:

        async def request(number: int) -> None:
            with tracer.start_as_current_span(f"request {number}"):
                await publisher.publish(record(number))

        await asyncio.gather(*(request(n) for n in range(3)))
    sends, requests = sdk.named("send t"), {context_of(s).span_id: s for s in sdk.spans if s.name != "send t"}
    assert len(sends) == len({context_of(span).trace_id for span in sends}) == 3
    assert {span.parent.span_id for span in sends if span.parent} == set(requests)
    ids = [carried.span_id for logged in broker.records("t") if (carried := context_in(logged.headers))]
    assert sorted(ids) == sorted(context_of(span).span_id for span in sends)


async def test_a_context_that_the_caller_brought(sdk: Sdk) -> None:
    """It stays as it is and alone; the span is CLIENT and linked to it."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record(1, headers=[("traceparent", PARENT)]))
        await publisher.publish(Noted(key="k"), topic="t", headers=[("traceparent", PARENT)])
        await publisher.publish(record(2, headers=[("traceparent", b"nonsense")]))
    assert parents(broker) == [[PARENT], [PARENT], [b"nonsense"]]
    assert [span.kind for span in sdk.spans] == [SpanKind.CLIENT] * 3
    assert [linked(span) for span in sdk.spans] == [[0x00F067AA0BA902B7], [0x00F067AA0BA902B7], []]


async def test_sampled_out(fresh: Sdk) -> None:
    """Nothing is exported, and the decision travels with the record."""
    fresh.trace(ALWAYS_OFF)
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record(1))
        await publisher.publish_many([record(2)])
    assert fresh.spans == []
    carried = [value for values in parents(broker) for value in values if value]
    assert len(carried) == 2
    assert all(re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[02]", value) for value in carried)


async def test_no_provider(fresh: Sdk) -> None:
    """No header is added, unless there is a context around the call: that one is passed on."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record(1))
        with trace.use_span(NonRecordingSpan(CALLERS)):
            await publisher.publish(record(2))
            await publisher.publish_many([record(3), record(4, headers=[("traceparent", PARENT)])])
    passed_on = [value for _, value in headers_of(CALLERS)]
    assert parents(broker) == [[], passed_on, passed_on, [PARENT]]


async def test_no_sdk(fresh: Sdk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the SDK was not imported, OpenTelemetry is not even asked for a tracer."""
    monkeypatch.delitem(sys.modules, "opentelemetry.sdk.trace")
    async with opened(one_partition()) as publisher:
        fresh.trace()
        await publisher.publish(record(1))
        assert fresh.spans == []


async def test_a_provider_that_is_set_late(fresh: Sdk) -> None:
    """The next publish has its span."""
    async with opened(one_partition()) as publisher:
        await publisher.publish(record(1))
        fresh.trace()
        await publisher.publish(record(2))
    assert [span.name for span in fresh.spans] == ["send t"]


async def test_attempts_and_backoffs_are_events(sdk: Sdk) -> None:
    """In their order and at their times; an error that was retried is none of the span's."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        broker.reject_next(19)
        broker.reject_next(6)
        await publisher.publish(record(1))
    (span,) = sdk.spans
    assert event_names(span) == [f"eventpub.{name}" for name in ("attempt", "backoff", "attempt", "backoff", "attempt")]
    first, pause, *_, last = (dict(event.attributes or {}) for event in span.events)
    assert (first["eventpub.attempt.outcome"], first["eventpub.attempt.error"]) == (
        "not appended",
        "NOT_ENOUGH_REPLICAS",
    )
    assert pause["eventpub.backoff.duration"] == pytest.approx(0.1, abs=0.02)
    assert last["eventpub.attempt.outcome"] == "acked"
    assert span.status.status_code is StatusCode.UNSET
    assert names.ERROR_TYPE not in attributes(span)
    times = [event.timestamp for event in span.events]
    assert times == sorted(times)
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time <= times[0] <= times[-1] <= span.end_time


async def test_a_refusal(sdk: Sdk) -> None:
    """ERROR, with the protocol's name and the error's text."""
    broker = one_partition()
    async with opened(broker) as publisher:
        broker.reject_next(87)
        error = await error_of(publisher.publish(record("secret")))
    (span,) = sdk.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == str(error)
    assert (attributes(span)[names.ERROR_TYPE], attributes(span)[names.OUTCOME]) == ("INVALID_RECORD", "not persisted")
    assert "secret" not in span.to_json()


async def test_what_never_left(sdk: Sdk) -> None:
    """An event without a form on the wire, and one for which there is no room, have spans that say so."""

    class Odd(Event, type="odd", topic="t", registry=EventRegistry()):
        number: float

    broker = one_partition()
    async with opened(broker, buffer=BufferLimits(max_records=1)) as publisher:
        with suppress(SerializationError):
            await publisher.publish(Odd(number=float("nan")))
        broker.pause()
        publisher.publish_nowait(record(1))
        with suppress(BufferFullError):
            publisher.publish_nowait(record(2))
        assert [attributes(span)[names.ERROR_TYPE] for span in sdk.spans] == ["SerializationError", "BufferFullError"]
        assert [span.name for span in sdk.spans] == ["send t", "send t"]


async def test_cancelled_before_it_was_sent(sdk: Sdk) -> None:
    """The span ends with the withdrawal and says so."""
    broker = one_partition()
    async with opened(broker) as publisher:
        broker.down()
        task = asyncio.create_task(publisher.publish(record(1)))
        await turns(3)
        task.cancel()
        await asyncio.wait([task])
        (span,) = sdk.spans
    assert (attributes(span)[names.OUTCOME], attributes(span)[names.ERROR_TYPE]) == ("withdrawn", "cancelled")


async def test_cancelled_while_it_was_sent(sdk: Sdk) -> None:
    """The span ends when the delivery does, not when its caller leaves."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("warm up"))
        sdk.exporter.clear()
        broker.latency(0.5)
        task = asyncio.create_task(publisher.publish(record(1)))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        assert sdk.spans == []
        await asyncio.sleep(1)
        (span,) = sdk.spans
    assert attributes(span)[names.OUTCOME] == "persisted"
    assert seconds(span) >= 0.5


async def test_a_late_outcome(sdk: Sdk) -> None:
    """An event on a span of its own, in the same trace and linked to the one that has ended."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("warm up"))
        sdk.exporter.clear()
        broker.hold_next(late_answer=True)
        await error_of(publisher.publish(record(1), timeout=1))
        (send,) = sdk.spans
        assert attributes(send)[names.OUTCOME] == "possibly persisted"
        broker.release()
        await turns(3)
    (late,) = sdk.named("late t")
    assert linked(late) == [context_of(send).span_id]
    assert context_of(late).trace_id == context_of(send).trace_id
    assert event_names(late) == ["eventpub.late_outcome"]
    assert dict(late.events[0].attributes or {})[names.OUTCOME] == "persisted"
    assert len(sdk.named("send t")) == 1


async def test_fire_and_forget(sdk: Sdk) -> None:
    """With acks=0 the span says what is known: possibly persisted, and no error."""
    async with opened(one_partition(), profile=TELEMETRY) as publisher:
        await publisher.publish(record(1))
    (span,) = sdk.spans
    assert (attributes(span)[names.OUTCOME], span.status.status_code) == ("possibly persisted", StatusCode.UNSET)
    assert names.OFFSET not in attributes(span)


async def test_many(sdk: Sdk) -> None:
    """A create span for each message, whose context its record carries, and one CLIENT send span linked to them."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish_many([record(n) for n in range(3)])
    creates, (send,) = sdk.named("create t"), sdk.named("send t")
    assert [span.kind for span in creates] == [SpanKind.PRODUCER] * 3
    assert attributes(creates[0])["messaging.operation.type"] == "create"
    assert send.kind is SpanKind.CLIENT
    assert attributes(send)["messaging.batch.message_count"] == 3
    assert attributes(send)["messaging.destination.name"] == "t"
    assert linked(send) == [context_of(span).span_id for span in creates]
    carried = [context_in(logged.headers) for logged in broker.records("t")]
    assert [context.span_id for context in carried if context] == linked(send)
    assert event_names(send) == ["eventpub.attempt"]  # one batch, told once
    assert [span.name for span in sdk.spans] == ["create t"] * 3 + ["send t"]


async def test_many_of_which_some_fail(sdk: Sdk) -> None:
    """The send span is an error, names it, and tells which; another topic takes the name's topic away."""
    broker = one_partition()
    broker.create_topic("u", 1)
    async with opened(broker) as publisher:
        broker.deny("u")
        broker.reject_next(32, topic="t")
        reports = await publisher.publish_many([record(1), Record("u", b"2", headers=[("traceparent", PARENT)])])
        assert len(reports) == 2
    (send,) = sdk.named("send")
    assert attributes(send)[names.ERROR_TYPE] == "_OTHER"
    assert attributes(send)[names.FAILED] == 2
    assert "messaging.destination.name" not in attributes(send)
    assert send.status.description == "2 of 2 events were not delivered"
    assert event_names(send).count("eventpub.failure") == 2
    assert len(sdk.named("create t")) == 1
    assert sdk.named("create u") == []
    assert 0x00F067AA0BA902B7 in linked(send)


async def test_many_that_have_no_form_on_the_wire(sdk: Sdk) -> None:
    """What was refused before the first one was taken in is counted among the failed."""

    class Uneven(Event, type="uneven", topic="t", registry=EventRegistry()):
        number: float

    async with opened(one_partition()) as publisher:
        await publisher.publish_many([Uneven(number=float("inf")), Uneven(number=1)])
    (send,) = sdk.named("send t")
    assert (attributes(send)[names.FAILED], attributes(send)[names.ERROR_TYPE]) == (1, "SerializationError")
    assert attributes(send)["messaging.batch.message_count"] == 2


async def test_many_that_is_cancelled(sdk: Sdk) -> None:
    """The send span ends with the last of those that were taken in."""
    broker = one_partition()
    async with opened(broker) as publisher:
        broker.down()
        task = asyncio.create_task(publisher.publish_many([record(n) for n in range(600)]))
        await turns(2)
        task.cancel()
        await asyncio.wait([task])
        (send,) = sdk.named("send t")
    count = attributes(send)["messaging.batch.message_count"]
    assert 0 < count < 600
    assert attributes(send)[names.ERROR_TYPE] == "cancelled"


async def test_dead_letters_in_a_topic(sdk: Sdk) -> None:
    """A CLIENT span linked to the creation context, which the dead letter carries on, once."""
    broker = one_partition()
    broker.create_topic("t.dlq", 1)
    async with opened(broker, dead_letters=DeadLetters(TopicSink())) as publisher:
        broker.reject_next(87)
        await error_of(publisher.publish(record(1)))
    (send,), (kept,) = sdk.named("send t"), sdk.named("send t.dlq")
    assert (kept.kind, linked(kept)) == (SpanKind.CLIENT, [context_of(send).span_id])
    assert attributes(send)[names.DEAD_LETTER_STATE] == "written"
    assert [len(each) for each in parents(broker, "t.dlq")] == [1]
    assert sdk.named("create t.dlq") == []


@pytest.mark.parametrize("fails", [False, True], ids=["taken", "refused"])
async def test_dead_letters_elsewhere(sdk: Sdk, fails: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Likewise, with the sink's name; a write that failed says so."""
    from eventpub import DeadLetterError

    broker = one_partition()
    sink = FakeSink(takes=0.5, fault=DeadLetterError("full") if fails else None)
    async with opened(broker, dead_letters=DeadLetters(sink)) as publisher:
        broker.reject_next(87)
        await error_of(publisher.publish(record(1)))
    (send,), (write,) = sdk.named("send t"), sdk.named("dead_letter")
    assert (write.kind, linked(write)) == (SpanKind.CLIENT, [context_of(send).span_id])
    assert attributes(write)[names.DEAD_LETTER_SINK] == "shelf"
    assert seconds(write) == pytest.approx(0.5, abs=0.05)
    assert (write.status.status_code is StatusCode.ERROR) is fails
    assert seconds(send) >= 0.5


async def test_a_replay(sdk: Sdk, tmp_path: Path) -> None:
    """A CLIENT span for each letter, linked to the creation context; the record goes out byte for byte."""
    broker, path = one_partition(), tmp_path / "spool.db"
    async with opened(broker, dead_letters=DeadLetters(SpoolSink(path))) as publisher:
        broker.deny("t")
        await error_of(publisher.publish(record(1)))
    broker.allow("t")
    (send,) = sdk.named("send t")
    sdk.exporter.clear()
    await replay(path, broker)
    (again,) = sdk.named("send t")
    assert (again.kind, linked(again)) == (SpanKind.CLIENT, [context_of(send).span_id])
    assert [len(each) for each in parents(broker)] == [1]
    assert attributes(again)[names.OUTCOME] == "persisted"


async def test_the_opening_span_is_nobodys_parent(sdk: Sdk) -> None:
    """A publisher that was opened within a span puts neither sends nor dead letters under it."""
    broker, sink = one_partition(), FakeSink()
    with trace.get_tracer("application").start_as_current_span("startup"):
        publisher = opened(broker, dead_letters=DeadLetters(sink))
        opened_publisher = await publisher.__aenter__()
    broker.reject_next(87)
    await error_of(opened_publisher.publish(record(1)))
    await publisher.__aexit__(None, None, None)
    assert all(span.parent is None for span in sdk.spans)


async def test_aiokafkas_instrumentation(sdk: Sdk) -> None:
    """Installed and active, it adds neither a span nor a second header."""
    instrumentor = AIOKafkaInstrumentor()
    instrumentor.instrument()
    try:
        broker = one_partition()
        async with opened(broker) as publisher:
            await publisher.publish(record(1))
    finally:
        instrumentor.uninstrument()
    assert [span.name for span in sdk.spans] == ["send t"]
    assert [len(each) for each in parents(broker)] == [1]


async def test_structured_and_bare_events(sdk: Sdk) -> None:
    """Where the attributes are not in headers they are the event's; without an envelope there are none."""

    class Inside(Event, type="inside", topic="t", envelope="structured", subject="s", registry=EventRegistry()):
        n: int

    class Bare(Event, type="bare", topic="t", envelope="none", registry=EventRegistry()):
        n: int

    async with opened(one_partition()) as publisher:
        await publisher.publish(Inside(n=1))
        await publisher.publish(Bare(n=1))
        await publisher.publish(Record("t", None, key=b"k", partition=0))
    inside, bare, tombstone = (attributes(span) for span in sdk.spans)
    assert inside["cloudevents.event_type"] == "inside"
    assert inside["cloudevents.event_source"] == "/tests"
    assert not [name for name in bare if name.startswith("cloudevents.")]
    assert names.MESSAGE_ID in bare
    assert tombstone["messaging.kafka.message.tombstone"] is True


async def test_too_many_topics(sdk: Sdk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a span is called by its operation alone; the topic is still among its attributes."""
    monkeypatch.setattr(meters, "TOPICS", 3)
    async with opened("memory://") as publisher:
        for n in range(5):
            await publisher.publish(Record(f"topic-{n}", b"x"))
    assert [span.name for span in sdk.spans] == ["send topic-0", "send topic-1", "send topic-2", "send", "send"]
    assert [attributes(span)[names.DESTINATION] for span in sdk.spans] == [f"topic-{n}" for n in range(5)]
