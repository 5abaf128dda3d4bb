"""Whatever telemetry does, no outcome changes."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult

from eventpub import Delivery
from eventpub.deadletter import DeadLetters
from eventpub.instrumentation import Telemetry
from eventpub.instrumentation.instruments import process_instruments
from tests.publisher.kit import error_of, one_partition, opened, record, values
from tests.publisher.sinks import FakeSink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.telemetry import Sdk


class Broken(SpanProcessor):
    """Raises when a span starts, or when it ends."""

    def __init__(self, where: str) -> None:
        self._where = where

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Raise."""
        if self._where == "start":
            raise ZeroDivisionError

    def on_end(self, span: Any) -> None:
        """Raise."""
        if self._where == "end":
            raise ZeroDivisionError


class BrokenSampler(Sampler):
    """Raises when asked."""

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        """Raise."""
        raise ZeroDivisionError

    def get_description(self) -> str:
        """Say what it is."""
        return "broken"


@pytest.mark.parametrize("where", ["start", "end", "sampler"])
async def test_what_raises(fresh: Sdk, where: str, caplog: pytest.LogCaptureFixture) -> None:
    """A processor or sampler that raises changes no outcome, and is logged once."""
    if where == "sampler":
        fresh.trace(BrokenSampler())
    else:
        fresh.trace(processors=[Broken(where)])
    fresh.meter()
    broker = one_partition()
    with caplog.at_level(logging.ERROR, "eventpub.telemetry"):
        async with opened(broker, dead_letters=DeadLetters(FakeSink())) as publisher:
            for n in range(3):
                assert isinstance(await publisher.publish(record(n)), Delivery)
            reports = await publisher.publish_many([record(n) for n in range(3, 6)])
            broker.reject_next(87)
            error = await error_of(publisher.publish(record("refused")))
    assert all(isinstance(report, Delivery) for report in reports)
    assert error.kafka_code == 87
    assert values(broker) == [str(n) for n in range(6)]
    assert [entry.message for entry in caplog.records if entry.name == "eventpub.telemetry"] == [
        "telemetry raised; no delivery is affected, and more of it is not logged"
    ]
    assert sum(fresh.values("eventpub.outcomes").values()) >= (0 if where == "end" else 7)


class Stuck(SpanExporter):
    """Blocks until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.asked = threading.Event()

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """Block."""
        self.asked.set()
        self.let_go.wait(30)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Let go."""
        self.let_go.set()


async def test_an_exporter_that_blocks(fresh: Sdk) -> None:
    """Behind a batch processor it has a thread of its own; publishing goes on, and so does closing."""
    exporter = Stuck()
    fresh.trace(processors=[BatchSpanProcessor(exporter, schedule_delay_millis=1)])
    async with opened(one_partition()) as publisher:
        first = await publisher.publish(record(1))
        assert exporter.asked.wait(10)
        second = await publisher.publish(record(2))
    exporter.let_go.set()
    assert [first.offset, second.offset] == [0, 1]


class Slow(SpanProcessor):
    """Holds up whoever ends a span."""

    def on_end(self, span: Any) -> None:
        """Take a while."""
        time.sleep(0.5)


async def test_a_processor_that_blocks(fresh: Sdk) -> None:
    """Callers are told before their spans end: their outcomes and times are as without it."""
    fresh.trace(processors=[Slow()])
    async with opened(one_partition()) as publisher:
        pending = publisher.publish_nowait(record(1))
        delivery = await pending
    assert delivery.elapsed < 0.5


def test_a_token_of_somebody_else(fresh: Sdk) -> None:
    """What is no token of telemetry's is nothing, instead of an error."""
    telemetry = Telemetry("tests", None, process_instruments())
    fresh.trace()
    telemetry.ended("token", "t", None, (), 0.0, 1.0)
    telemetry.many_cut("group", 1, 0.0)
    telemetry.written(None, 0, 0.0)
    telemetry.close()
    telemetry.close()
    assert fresh.spans == []
