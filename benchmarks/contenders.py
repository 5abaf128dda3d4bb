"""The ways to publish that are compared: the same event, the same bytes, the same settings."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import uuid_utils
from aiokafka import AIOKafkaProducer

from eventpub import Event, Publisher
from eventpub.cloudevents import Encoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SOURCE = "/benchmark"
FILLER = "x" * 850  # makes the record about 1 kB with its headers


class TaskCreated(Event, type="task.created", key="task_id"):
    """What every contender publishes."""

    task_id: str
    title: str
    done: bool
    estimate: int


def new_event() -> TaskCreated:
    """Return an event of about 1 kB under a key of its own."""
    return TaskCreated(task_id=str(uuid_utils.uuid4()), title=FILLER, done=False, estimate=3)


@asynccontextmanager
async def eventpub(bootstrap_servers: str, topic: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """``await publisher.publish(event)``, the default profile: idempotent, acks=all."""
    async with Publisher(f"kafka://{bootstrap_servers}", source=SOURCE, topic_for=lambda _: topic) as publisher:

        async def publish() -> object:
            return await publisher.publish(new_event())

        yield publish


@asynccontextmanager
async def aiokafka(bootstrap_servers: str, topic: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """``await producer.send_and_wait(...)`` of the same bytes: idempotent, acks=all, else its defaults."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, enable_idempotence=True, acks="all")
    encoder = Encoder(SOURCE, topic_for=lambda _: topic)
    await producer.start()

    async def publish() -> object:
        record = encoder.encode(new_event())
        return await producer.send_and_wait(
            record.topic,
            record.value,
            key=record.key,
            timestamp_ms=record.timestamp,
            headers=list(record.headers),
        )

    try:
        yield publish
    finally:
        await producer.stop()


CONTENDERS = {"eventpub": eventpub, "aiokafka": aiokafka}
