"""What type checkers see of `Publisher` and what it returns. Checked, never run."""

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from eventpub import (
    CRITICAL,
    BufferLimits,
    Delivery,
    DeliveryProfile,
    DeliveryReports,
    DrainReport,
    Event,
    Health,
    KafkaConfig,
    PendingDelivery,
    PersistenceStatus,
    Publisher,
    PublishError,
    PublisherState,
    PublisherStatistics,
    Record,
    RetryPolicy,
    UnavailableError,
    delivery_budget,
)


class TaskCreated(Event, type="task.created", topic="tasks", key="task_id"):
    task_id: str


event = TaskCreated(task_id="42")
record = Record("tasks", b"value", b"key", headers=[("a", b"b"), ("c", None)])


async def life() -> None:
    publisher = Publisher(
        "kafka://localhost:9092",
        source="/task-api",
        profile="critical",
        profiles={"mine": CRITICAL.replace(delivery_timeout=timedelta(seconds=5))},
        buffer=BufferLimits(max_records=10),
        connect="eager",
        start_timeout=3,
        topic_for=lambda event_class: event_class.__name__,
    )
    assert_type(publisher, Publisher)
    assert_type(await publisher.open(), None)
    assert_type(await publisher.aclose(), DrainReport)
    assert_type(await publisher.aclose(timeout=timedelta(seconds=1)), DrainReport)
    async with Publisher(KafkaConfig(bootstrap_servers="h:9092")) as entered:
        assert_type(entered, Publisher)


async def publishing(publisher: Publisher) -> None:
    assert_type(await publisher.publish(event), Delivery)
    assert_type(await publisher.publish(record), Delivery)
    await publisher.publish(
        event,
        key="k",
        topic="t",
        headers=[("a", b"b")],
        partition=1,
        timestamp=datetime.now(UTC),
        profile=CRITICAL,
        timeout=1.5,
    )
    await publisher.publish(event, key=None, timestamp=5, profile="critical", timeout=timedelta(seconds=1))
    with delivery_budget(2.5):
        assert_type(await publisher.publish_many([event, record], timeout=1), DeliveryReports)


async def wrong_options(publisher: Publisher) -> None:
    await publisher.publish(event, budget=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await publisher.publish(event, partition="0")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await publisher.publish("text")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await publisher.publish_many([event], key="k")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    Publisher("memory://", connect="egaer")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def pending(publisher: Publisher) -> None:
    handle = publisher.publish_nowait(event, timeout=1)
    assert_type(handle, PendingDelivery)
    assert_type(await handle, Delivery)
    assert_type(handle.done(), bool)
    assert_type(handle.cancel(), bool)
    assert_type(handle.add_done_callback(lambda done: done.done()), None)
    await_it(handle)


def await_it(_awaitable: Awaitable[Delivery]) -> None: ...


async def reports(publisher: Publisher) -> None:
    outcomes = await publisher.publish_many([event])
    assert_type(outcomes[0], Delivery | PublishError)
    assert_type(outcomes.deliveries, tuple[Delivery, ...])
    assert_type(outcomes.failures, tuple[PublishError, ...])
    assert_type(outcomes.raise_for_failures(), None)


async def outcomes(publisher: Publisher) -> None:
    delivery = await publisher.publish(event)
    assert_type(delivery.topic, str)
    assert_type(delivery.partition, int)
    assert_type(delivery.offset, int | None)
    assert_type(delivery.timestamp, int)
    assert_type(delivery.event_id, str | None)
    assert_type(delivery.attempts, int)
    assert_type(delivery.elapsed, float)
    assert_type(delivery.status, PersistenceStatus)
    try:
        await publisher.publish(event)
    except UnavailableError as error:
        assert_type(error.status, PersistenceStatus)
        assert_type(error.attempts, int)
        assert_type(error.kafka_code, int | None)
        assert_type(error.topic, str | None)
        assert_type(error.record, Any)


async def looking_in(publisher: Publisher) -> None:
    report = await publisher.flush()
    assert_type(report, DrainReport)
    assert_type(report.confirmed, int)
    assert_type(report.unconfirmed, tuple[PublishError, ...])
    assert_type(publisher.state, PublisherState)
    assert_type(publisher.health(), Health)
    assert_type(publisher.health().reasons, tuple[str, ...])
    assert_type(await publisher.wait_ready(5), None)
    assert_type(publisher.statistics(), PublisherStatistics)


def profiles() -> None:
    policy = RetryPolicy(wait=lambda state: 1.0, stop=lambda state: False, retry=lambda state: True)
    profile = DeliveryProfile("mine", retry=policy, request_timeout=timedelta(seconds=1))
    assert_type(profile, DeliveryProfile)
    assert_type(CRITICAL.replace(delivery_timeout=5), DeliveryProfile)
