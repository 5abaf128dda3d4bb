"""The counters of all publishers of a process, added up when somebody collects them.

OpenTelemetry has no way to take a callback back, and an SDK ignores the callbacks of a second
instrument of the same name. So there is one set of instruments per process, and publishers
come and go behind it.
"""

from __future__ import annotations

from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakMethod

from opentelemetry import metrics
from opentelemetry.metrics import Observation

from eventpub.instrumentation import names, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, Histogram, Meter

    from eventpub.abc import Levels
    from eventpub.instrumentation.table import Metric

Attributes = tuple[tuple[str, str], ...]


class Count:
    """How often something happened, under one set of attributes."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Counters:
    """The counts of one publisher. Written on its event loop; read by whoever collects, in any thread."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Metric, Attributes], Count] = {}
        self._levels: WeakMethod[Callable[[], Levels]] | None = None

    def count(self, metric: Metric, attributes: Mapping[str, str]) -> Count:
        """Return the count of *metric* under *attributes*."""
        return self._counts.setdefault((metric, tuple(sorted(attributes.items()))), Count())

    def watch(self, levels: Callable[[], Levels]) -> None:
        """Read what the engine counts by itself from *levels*, a bound method, for as long as the engine lives."""
        self._levels = WeakMethod(levels)

    def read(self, metric: Metric) -> Iterable[tuple[Attributes, int]]:
        """Yield the values of *metric* as of now."""
        for (counted, attributes), count in list(self._counts.items()):  # a copy: the loop's thread may be adding one
            if counted is metric and count.value:
                yield attributes, count.value
        levels = self._levels() if self._levels is not None and metric in table.LEVELS else None
        if levels is not None:
            yield (), getattr(levels(), table.LEVELS[metric])

    def close(self) -> None:
        """Keep the counts as they are now, and forget the engine; what is no count is gone with it."""
        for metric in table.LEVELS:
            if metric.kind == "counter":
                total = sum(value for _, value in self.read(metric))
                self._counts.setdefault((metric, ()), Count()).value = total
        self._levels = None

    def add(self, other: Counters) -> None:
        """Take over the counts of *other*."""
        for (metric, attributes), count in other._counts.items():
            self._counts.setdefault((metric, attributes), Count()).value += count.value


class Instruments:
    """One set of instruments, and the counters behind it."""

    def __init__(self, meter: Meter) -> None:
        self._all_counters: list[Counters] = []
        self._closed = Counters()
        self._lock = Lock()  # counters that are being closed must not be counted twice
        self._histograms: dict[Metric, Histogram] = {}
        self._instruments = [self._make(meter, metric) for metric in table.METRICS]

    def _make(self, meter: Meter, metric: Metric) -> object:
        name, kind, unit, _, description, buckets = metric
        if kind == "histogram":
            self._histograms[metric] = meter.create_histogram(
                name, unit, description, explicit_bucket_boundaries_advisory=buckets
            )
            return self._histograms[metric]
        create = meter.create_observable_counter if kind == "counter" else meter.create_observable_up_down_counter
        return create(name, [partial(self._observe, metric)], unit, description)

    def histogram(self, metric: Metric) -> Histogram:
        """Return the instrument of *metric*."""
        return self._histograms[metric]

    def open(self) -> Counters:
        """Return the counters of a new publisher."""
        counters = Counters()
        with self._lock:
            self._all_counters.append(counters)
        return counters

    def close(self, counters: Counters) -> None:
        """Keep the counts of a publisher that is closed, and let go of the rest. Safe to call twice."""
        with self._lock:
            if counters in self._all_counters:
                counters.close()
                self._closed.add(counters)
                self._all_counters.remove(counters)

    def _observe(self, metric: Metric, _options: CallbackOptions) -> Iterable[Observation]:
        totals: dict[Attributes, int] = {}
        with self._lock:
            for counters in (self._closed, *self._all_counters):
                for attributes, value in counters.read(metric):
                    totals[attributes] = totals.get(attributes, 0) + value
        return [Observation(value, dict(attributes)) for attributes, value in totals.items()]


@cache
def process_instruments() -> Instruments:
    """Return the instruments on the global meter provider, the one of now or the one that will be set."""
    return Instruments(metrics.get_meter(names.SCOPE, names.VERSION, schema_url=names.SCHEMA_URL))
