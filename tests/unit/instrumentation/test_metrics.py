"""Metrics of a publisher, collected by the real SDK."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics.export import HistogramDataPoint

from eventpub import BufferLimits, Record
from eventpub.deadletter import DeadLetters
from eventpub.instrumentation import meters, names, table
from eventpub.instrumentation.instruments import process_instruments
from tests.publisher.kit import STEADY, Noted, error_of, one_partition, opened, record, turns
from tests.publisher.sinks import FakeSink

if TYPE_CHECKING:
    from support.telemetry import Sdk

SEND = {"messaging.system": "kafka", "messaging.operation.name": "send", "messaging.destination.name": "t"}


def under(**attributes: str) -> frozenset[tuple[str, str]]:
    """Return attributes as `Sdk.values` has them, with the topic."""
    return frozenset(
        {names.DESTINATION: "t", **{f"eventpub.{name}": value for name, value in attributes.items()}}.items()
    )


def failing(error: str) -> frozenset[tuple[str, str]]:
    """Return the attributes of an operation that failed so."""
    return frozenset((SEND | {names.ERROR_TYPE: error}).items())


async def test_duration(sdk: Sdk) -> None:
    """One histogram for successes and failures, with the advised buckets; the same seconds as the span."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("warm up"))
        broker.latency(0.2)
        await publisher.publish(record(1))
        broker.reject_next(87)
        await error_of(publisher.publish(record(2)))
    points = sdk.collect()["messaging.client.operation.duration"].data.data_points
    counts = {point.attributes.get(names.ERROR_TYPE): point for point in points}
    good, bad = counts[None], counts["INVALID_RECORD"]
    assert isinstance(good, HistogramDataPoint)
    assert dict(good.attributes or {}) == SEND | {"messaging.operation.type": "send"}
    assert good.explicit_bounds == table.DURATION.buckets
    assert (good.count, bad.count) == (2, 1)
    spans = [((span.end_time or 0) - (span.start_time or 0)) / 1e9 for span in sdk.spans]
    assert good.sum + bad.sum == pytest.approx(sum(spans), abs=0.02)


async def test_sent_and_outcomes(sdk: Sdk) -> None:
    """What was never attempted is an outcome, and is not counted as sent."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish_many([record(n) for n in range(3)])
        broker.reject_next(87)
        await error_of(publisher.publish(record("refused")))
        broker.down()
        await error_of(publisher.publish(record("away"), timeout=1))
        task = asyncio.create_task(publisher.publish(record("cancelled")))
        await turns(3)
        task.cancel()
        await asyncio.wait([task])
    assert sdk.values("messaging.client.sent.messages") == {frozenset(SEND.items()): 3, failing("INVALID_RECORD"): 1}
    assert sdk.values("eventpub.outcomes") == {
        under(outcome="persisted"): 3,
        under(outcome="not persisted"): 2,
        under(outcome="withdrawn"): 1,
    }


async def test_attempts_retries_and_batches(sdk: Sdk) -> None:
    """Attempts by what they did, retries by what made them necessary, batches once and not once per attempt."""
    broker = one_partition()
    async with opened(broker, profile=STEADY) as publisher:
        await publisher.publish(record("warm up"))
        broker.reject_next(19, times=2)
        await publisher.publish_many([record(n) for n in range(10)])
    assert sdk.values("eventpub.attempts") == {
        under(**{"attempt.outcome": "acked"}): 2,
        under(**{"attempt.outcome": "not appended"}): 2,
    }
    retried = frozenset({names.DESTINATION: "t", names.ERROR_TYPE: "NOT_ENOUGH_REPLICAS"}.items())
    assert sdk.values("eventpub.retries") == {retried: 2}
    (records,) = sdk.collect()["eventpub.batch.records"].data.data_points
    assert (records.count, records.sum) == (2, 11)
    (fill,) = sdk.collect()["eventpub.batch.fill"].data.data_points
    assert 0 < fill.sum < 0.1


async def test_stages(sdk: Sdk) -> None:
    """Each stage that time was spent in: admission, metadata, linger, wire, back-off."""
    broker = one_partition()
    lingering = STEADY.replace(linger=0.3)
    async with opened(broker, profile=lingering, buffer=BufferLimits(max_records=1)) as publisher:
        broker.reject_next(19)
        await asyncio.gather(*(publisher.publish(record(n)) for n in range(2)))
    points = sdk.collect()["eventpub.stage.duration"].data.data_points
    stages = {point.attributes[names.STAGE]: point for point in points}
    assert set(stages) == {"admission", "metadata", "linger", "wire", "backoff"}
    assert (stages["linger"].count, stages["wire"].count, stages["backoff"].count) == (2, 3, 1)
    assert stages["backoff"].sum == pytest.approx(0.1, abs=0.02)
    assert stages["admission"].sum >= 0.4  # the other one's linger and back-off
    assert 0.3 <= stages["linger"].sum < 0.9  # admission is not counted as linger once more


async def test_queue_depth(sdk: Sdk) -> None:
    """What is in the buffer when somebody collects, of all publishers of the process together."""
    broker = one_partition()
    limits = BufferLimits(max_records=2)
    async with opened(broker, buffer=limits) as first, opened(broker) as second:
        broker.down()
        tasks = [asyncio.create_task(each.publish(record(n))) for n in range(3) for each in (first, second)]
        await turns(3)
        assert sdk.values("eventpub.queue.records") == {frozenset(): 5}
        assert sdk.values("eventpub.queue.waiting") == {frozenset(): 1}
        (size,) = sdk.values("eventpub.queue.bytes").values()
        assert size > 5 * 22
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sdk.values("eventpub.queue.records") == {}


async def test_counts_outlive_their_publisher(sdk: Sdk) -> None:
    """A counter never goes back when a publisher is closed or collected as garbage."""
    broker = one_partition()
    for expected in (1, 2):
        async with opened(broker) as publisher:
            await publisher.publish(record(1))
            assert sdk.values("eventpub.outcomes") == {under(outcome="persisted"): expected}
        del publisher
        gc.collect()
        assert sdk.values("eventpub.outcomes") == {under(outcome="persisted"): expected}


async def test_epochs_and_mixed_cuts(sdk: Sdk) -> None:
    """Both are the engine's own counts, and stay after it was closed."""
    broker = one_partition()
    async with opened(broker) as publisher:
        await publisher.publish(record("warm up"))
        broker.hold_next(times=10)
        await error_of(publisher.publish(record(1), timeout=1))
        broker.heal()
        one, other = STEADY.replace(name="one"), STEADY.replace(name="other", linger=0.01)
        await asyncio.gather(*(publisher.publish(record(n), profile=(one, other)[n % 2]) for n in range(4)))
        statistics = publisher.statistics()
    assert statistics.epoch_bumps > 0
    assert statistics.mixed_cuts > 0
    assert sdk.values("eventpub.epochs.bumped") == {frozenset(): statistics.epoch_bumps}
    assert sdk.values("eventpub.cuts.mixed") == {frozenset(): statistics.mixed_cuts}


async def test_dead_letters_and_late_outcomes(sdk: Sdk) -> None:
    """Dead letters by reason and sink; late outcomes by what they say."""
    broker = one_partition()
    async with opened(broker, dead_letters=DeadLetters(FakeSink())) as publisher:
        await publisher.publish(record("warm up"))
        broker.hold_next(late_answer=True)
        await error_of(publisher.publish(record(1), timeout=1))
        broker.release()
        await turns(5)
    kept = {names.DEAD_LETTER_REASON: "budget", names.DEAD_LETTER_SINK: "shelf", names.DEAD_LETTER_STATE: "written"}
    assert sdk.values("eventpub.dead_letters") == {frozenset(kept.items()): 1}
    assert sdk.values("eventpub.late_outcomes") == {under(outcome="persisted"): 1}


async def test_a_provider_that_is_set_late(fresh: Sdk) -> None:
    """Counters have counted all along; histograms begin then."""
    async with opened(one_partition()) as publisher:
        await publisher.publish(record(1))
        fresh.meter()
        await publisher.publish(record(2))
    assert fresh.values("eventpub.outcomes") == {under(outcome="persisted"): 2}
    assert list(fresh.values("messaging.client.operation.duration").values()) == [1]


async def test_every_metric_is_in_the_table(sdk: Sdk) -> None:
    """With its unit, and with no attribute that the table does not name."""
    broker = one_partition()
    async with opened(broker, profile=STEADY, dead_letters=DeadLetters(FakeSink())) as publisher:
        broker.reject_next(19)
        broker.latency(0.01)
        await publisher.publish(Noted(key="secret-key", text="secret-text"), topic="t")
        broker.reject_next(87)
        await error_of(publisher.publish(record("secret")))
        known = {metric.name: metric for metric in table.METRICS}
        seen: dict[str, Any] = sdk.collect()
        assert set(seen) <= set(known)
        assert len(seen) >= len(known) - 2
        for name, metric in seen.items():
            assert (metric.unit, metric.description) == (known[name].unit, known[name].description)
            for point in metric.data.data_points:
                assert set(point.attributes or {}) <= set(known[name].attributes)
        assert "secret" not in str(seen)


async def test_too_many_topics(sdk: Sdk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the rest is counted together."""
    monkeypatch.setattr(meters, "TOPICS", 3)
    async with opened("memory://") as publisher:
        await publisher.publish_many([Record(f"topic-{n}", b"") for n in range(5)])
    values = sdk.values("eventpub.outcomes")
    named = frozenset({names.OUTCOME: "persisted"}.items())
    assert values.pop(named) == 2
    assert sorted(dict(key)[names.DESTINATION] for key in values) == ["topic-0", "topic-1", "topic-2"]
    assert set(values.values()) == {1}


async def test_collected_in_another_thread(sdk: Sdk) -> None:
    """A reader's thread may collect at any moment."""
    stop, failures = threading.Event(), []

    def collect() -> None:
        while not stop.is_set():
            try:
                sdk.collect()
            except Exception as error:  # noqa: BLE001 - whatever a race could raise
                failures.append(error)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for _ in range(2):
            async with opened("memory://", profile=STEADY.replace(delivery_timeout=0.2)) as publisher:
                await publisher.publish_many([Record(f"t{n % 20}", b"") for n in range(100)])
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert process_instruments() is process_instruments()


async def test_examples_name_the_publishs_trace(sdk: Sdk) -> None:
    """An exemplar of the duration leads to the span of the event it measures, not to who opened the publisher."""
    async with opened(one_partition()) as publisher:
        await publisher.publish(record(1))
    (point,) = sdk.collect()["messaging.client.operation.duration"].data.data_points
    (span,) = sdk.spans
    context = span.get_span_context()
    assert context is not None
    assert [exemplar.span_id for exemplar in point.exemplars] == [context.span_id]
