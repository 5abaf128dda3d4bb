"""OpenTelemetry's real SDK, with everything kept in memory, for as long as a test runs.

Its global providers can be set once per process; what a test sets is taken back by hand.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as metrics_globals
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.util._once import Once

from eventpub.instrumentation.instruments import process_instruments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Sdk:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()

    def trace(self, sampler: Sampler = ALWAYS_ON, processors: Sequence[SpanProcessor] = ()) -> None:
        """Set the tracer provider."""
        provider = TracerProvider(sampler=sampler)
        for processor in (*processors, SimpleSpanProcessor(self.exporter)):
            provider.add_span_processor(processor)
        trace.set_tracer_provider(provider)

    def meter(self) -> None:
        """Set the meter provider."""
        metrics.set_meter_provider(MeterProvider([self.reader]))

    @property
    def spans(self) -> list[ReadableSpan]:
        """Every span that has ended, in the order of their ends."""
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans called *name*."""
        return [span for span in self.spans if span.name == name]

    def collect(self) -> dict[str, Any]:
        """Return every metric that has a value now, by name."""
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def values(self, name: str) -> dict[frozenset[tuple[str, Any]], float]:
        """Return a metric's values (of a histogram: the counts) by their attributes."""
        metric = self.collect().get(name)
        return {} if metric is None else {_key(point): _value(point) for point in metric.data.data_points}


def _key(point: Any) -> frozenset[tuple[str, Any]]:
    return frozenset((point.attributes or {}).items())


def _value(point: NumberDataPoint | HistogramDataPoint) -> float:
    return point.count if isinstance(point, HistogramDataPoint) else point.value


@contextmanager
def sdk() -> Iterator[Sdk]:
    """Give OpenTelemetry as a fresh process has it, and put it back."""
    _forget()
    try:
        yield Sdk()
    finally:
        for provider in (trace._TRACER_PROVIDER, metrics_globals._METER_PROVIDER):  # noqa: SLF001 - no public way back
            if provider is not None:
                provider.shutdown()  # type: ignore[union-attr]  # the SDK's
        _forget()


def _forget() -> None:
    process_instruments.cache_clear()
    trace._TRACER_PROVIDER = None  # noqa: SLF001 - no public way back
    trace._TRACER_PROVIDER_SET_ONCE = Once()  # noqa: SLF001 - as above
    metrics_globals._METER_PROVIDER = None  # noqa: SLF001 - as above
    metrics_globals._METER_PROVIDER_SET_ONCE = Once()  # noqa: SLF001 - as above
    metrics_globals._PROXY_METER_PROVIDER = metrics_globals._ProxyMeterProvider()  # noqa: SLF001 - as above
