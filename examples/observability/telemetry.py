"""OpenTelemetry's SDK as an application sets it up, with exporters that keep everything in memory."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.aiokafka import AIOKafkaInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind


class Line(NamedTuple):
    """One line of the log, and how many seconds after the start it came."""

    at: float
    level: str
    text: str


class Stage(NamedTuple):
    """A histogram: how often, how many seconds in all, and how many came up to each bound."""

    name: str
    times: int
    seconds: float
    buckets: tuple[tuple[float, int], ...]


class Row(NamedTuple):
    """A line of a trace: a span or an event on one, at how many seconds after the trace began."""

    depth: int
    text: str
    at: float
    took: float
    failed: bool


@dataclass(frozen=True)
class Trace:
    """The spans of one order."""

    spans: tuple[ReadableSpan, ...]

    @property
    def root(self) -> ReadableSpan:
        """The request that placed it."""
        return next(span for span in self.spans if span.parent is None)

    @property
    def is_complete(self) -> bool:
        """Whether it goes from the request over the broker to the consumer."""
        send = next((span for span in self.spans if span.kind is SpanKind.PRODUCER), None)
        children = [span for span in self.spans if send and span.parent and span.parent.span_id == _id(send)]
        return send is not None and {SpanKind.CONSUMER} == {span.kind for span in children} and len(children) > 1

    @property
    def began(self) -> int:
        """When, in nanoseconds since the epoch."""
        return self.root.start_time or 0

    @property
    def seconds(self) -> float:
        """How long the request took."""
        return ((self.root.end_time or 0) - self.began) / 1e9

    def rows(self) -> Iterator[Row]:
        """Give it from the top to the leaves, in the order of time."""
        yield from self._below(self.root, 0)

    def _below(self, span: ReadableSpan, depth: int) -> Iterator[Row]:
        start, end = span.start_time or 0, span.end_time or 0
        yield Row(depth, span.name, self._after(start), (end - start) / 1e9, not span.status.is_ok)
        for event in span.events:
            if (
                row := _row_of(event.name, dict(event.attributes or {}), depth + 1, self._after(event.timestamp))
            ) is not None:
                yield row
        children = [child for child in self.spans if child.parent and child.parent.span_id == _id(span)]
        for child in sorted(children, key=lambda child: child.start_time or 0):
            yield from self._below(child, depth + 1)

    def _after(self, time: int) -> float:
        return (time - self.began) / 1e9


class Telemetry(logging.Handler):
    """Everything that was recorded between ``with`` and its end."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self._tracing = TracerProvider()
        self._tracing.add_span_processor(BatchSpanProcessor(self._exporter))
        self._started = time.monotonic()
        self.lines: list[Line] = []

    def __enter__(self) -> Self:
        trace.set_tracer_provider(self._tracing)
        metrics.set_meter_provider(MeterProvider([self._reader]))
        AIOKafkaInstrumentor().instrument()  # for the consumer: eventpub makes its own spans
        logging.getLogger("eventpub").addHandler(self)
        logging.getLogger("eventpub").setLevel(logging.INFO)
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the consumer's outage is not what is looked at
        return self

    def __exit__(self, *_: object) -> None:
        AIOKafkaInstrumentor().uninstrument()
        self._tracing.shutdown()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line of the log."""
        self.lines.append(Line(time.monotonic() - self._started, record.levelname, record.getMessage()))

    def traces(self) -> list[Trace]:
        """Return the traces, in the order of their beginnings."""
        self._tracing.force_flush()
        spans = defaultdict[int, list[ReadableSpan]](list)
        for span in self._exporter.get_finished_spans():
            spans[span.context.trace_id if span.context else 0].append(span)
        found = [Trace(tuple(each)) for each in spans.values() if any(span.parent is None for span in each)]
        return sorted(found, key=lambda each: each.began)

    def stages(self) -> list[Stage]:
        """Return the histograms of ``eventpub.stage.duration``, in the order of an event's way."""
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        found = [metric for scope in scopes for metric in scope.metrics if metric.name == "eventpub.stage.duration"]
        points = [point for metric in found for point in metric.data.data_points]
        stages = {each.name: each for each in map(_stage, points)}
        return [stages[name] for name in ("admission", "metadata", "linger", "wire", "backoff") if name in stages]


def _stage(point: object) -> Stage:
    assert isinstance(point, HistogramDataPoint)
    bounds = (*point.explicit_bounds, float("inf"))
    name = str((point.attributes or {})["eventpub.stage"])
    return Stage(name, point.count, point.sum, tuple(zip(bounds, point.bucket_counts, strict=True)))


def _row_of(name: str, said: dict[str, object], depth: int, at: float) -> Row | None:
    if name == "eventpub.attempt":
        outcome = str(said["eventpub.attempt.outcome"])
        took, why = said["eventpub.attempt.duration"], said.get("eventpub.attempt.error", outcome)
        return Row(depth, f"attempt: {why}", at, float(str(took)), outcome != "acked")
    if name == "eventpub.backoff":
        return Row(depth, "back-off", at, float(str(said["eventpub.backoff.duration"])), failed=False)
    return None


def _id(span: ReadableSpan) -> int:
    return span.context.span_id if span.context else 0
