"""Telemetry over a real socket, beside aiokafka's own instrumentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.aiokafka import AIOKafkaInstrumentor
from opentelemetry.trace import SpanKind

from eventpub import CRITICAL, Publisher, Record, RetryPolicy
from eventpub.instrumentation.context import context_in
from eventpub.testing import EmbeddedKafka
from support import readback, telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.wire


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    """Run one broker with the topic ``t`` of one partition."""
    with EmbeddedKafka() as embedded:
        embedded.create_topic("t", 1)
        yield embedded


@pytest.fixture
def sdk() -> Iterator[telemetry.Sdk]:
    """Record every span and metric, with aiokafka's instrumentation active."""
    with telemetry.sdk() as kept:
        kept.trace()
        kept.meter()
        AIOKafkaInstrumentor().instrument()
        try:
            yield kept
        finally:
            AIOKafkaInstrumentor().uninstrument()


async def test_a_span_lasts_until_the_acknowledgement(kafka: EmbeddedKafka, sdk: telemetry.Sdk) -> None:
    """With a broker that takes 200 ms, and one retry, the span holds both attempts and ends after the second."""
    profile = CRITICAL.replace(retry=RetryPolicy(wait=lambda _state: 0.1))
    async with Publisher(f"kafka://{kafka.bootstrap_servers}", source="/tests", profile=profile) as publisher:
        await publisher.publish(Record("t", b"warm up"))
        sdk.exporter.clear()
        kafka.latency(0.2)
        kafka.reject_next(6)
        with trace.get_tracer("application").start_as_current_span("request"):
            delivery = await publisher.publish(Record("t", b"1"))
    send, request = sdk.spans
    assert (send.name, send.kind, request.name) == ("send t", SpanKind.PRODUCER, "request")
    assert send.end_time is not None
    assert send.start_time is not None
    assert send.parent == request.get_span_context()
    assert delivery.attempts == 2
    assert (send.end_time - send.start_time) / 1e9 == pytest.approx(delivery.elapsed, abs=0.02)
    first, pause, last = send.events
    assert [event.name for event in send.events] == ["eventpub.attempt", "eventpub.backoff", "eventpub.attempt"]
    assert (last.attributes or {})["server.port"] == int(kafka.bootstrap_servers.rpartition(":")[2])
    assert send.end_time - last.timestamp >= 0.19e9
    assert first.timestamp < pause.timestamp < last.timestamp
    (duration,) = sdk.collect()["messaging.client.operation.duration"].data.data_points
    assert duration.max == pytest.approx(delivery.elapsed, abs=0.02)
    logged = readback.read_topic(kafka.bootstrap_servers, "t")[1]
    headers = tuple(logged.headers)
    assert [name for name, _ in headers] == ["traceparent"]
    carried, context = context_in(headers), send.get_span_context()
    assert carried is not None
    assert context is not None
    assert (carried.trace_id, carried.span_id) == (context.trace_id, context.span_id)
