"""The ways to publish that are compared: the same event, the same bytes, idempotent, acks=all.

Each is an async context manager that yields a function without arguments, which makes a new
event, publishes it and returns once it is acknowledged. Beside what is said of each, all keep
their defaults. The peers get the bytes from eventpub's encoder, and each event a UUID as its key.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.metadata
import platform
import threading
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import confluent_kafka
import uuid_utils
from aiokafka import AIOKafkaProducer
from confluent_kafka.aio import AIOProducer

from benchmarks.floor import connected
from eventpub import Event, Publisher, Record
from eventpub.cloudevents import Encoder
from eventpub.registry import EventRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    Publish = Callable[[], Awaitable[object]]
    Contender = Callable[[str, str], AbstractAsyncContextManager[Publish]]

SOURCE = "/benchmark"
FILLER = "x" * 850  # makes the record about 1 kB with its headers


class TaskCreated(Event, type="task.created", key="task_id", registry=EventRegistry()):
    """What every contender publishes."""

    task_id: str
    title: str
    done: bool
    estimate: int


def new_event() -> TaskCreated:
    """Return an event of about 1 kB under a key of its own."""
    return TaskCreated(task_id=str(uuid_utils.uuid4()), title=FILLER, done=False, estimate=3)


def records(topic: str) -> Callable[[], Record]:
    """Return a function that makes a new event and encodes it for *topic*, as a CloudEvent."""
    encoder = Encoder(SOURCE, topic_for=lambda _: topic)
    return lambda: encoder.encode(new_event())


@asynccontextmanager
async def eventpub(bootstrap_servers: str, topic: str) -> AsyncIterator[Publish]:
    """``await publisher.publish(event)``, the default profile."""
    async with Publisher(f"kafka://{bootstrap_servers}", source=SOURCE, topic_for=lambda _: topic) as publisher:

        async def publish() -> object:
            return await publisher.publish(new_event())

        yield publish


@asynccontextmanager
async def aiokafka(bootstrap_servers: str, topic: str) -> AsyncIterator[Publish]:
    """``await producer.send_and_wait(...)``."""
    next_record = records(topic)
    async with _aiokafka_producer(bootstrap_servers) as producer:

        async def publish() -> object:
            return await producer.send_and_wait(**_arguments(next_record()))

        yield publish


@asynccontextmanager
async def aiokafka_one_task(bootstrap_servers: str, topic: str) -> AsyncIterator[Publish]:
    """One task calls aiokafka's ``send``, out of a queue; so nobody else waits for room in a batch."""
    next_record = records(topic)
    queue: asyncio.Queue[tuple[Record, asyncio.Future[object]]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def feed(producer: AIOKafkaProducer) -> None:
        while True:
            record, waiter = await queue.get()
            sent = await producer.send(**_arguments(record))
            sent.add_done_callback(functools.partial(_pass_on, waiter))

    async def publish() -> object:
        waiter = loop.create_future()
        queue.put_nowait((next_record(), waiter))
        return await waiter

    async with _aiokafka_producer(bootstrap_servers) as producer:
        feeder = asyncio.create_task(feed(producer))
        try:
            yield publish
        finally:
            feeder.cancel()
            await asyncio.wait([feeder])


@asynccontextmanager
async def confluent(
    bootstrap_servers: str, topic: str, settings: Mapping[str, object] = MappingProxyType({})
) -> AsyncIterator[Publish]:
    """``Producer.produce`` with a thread that polls, and a future that each report settles."""
    next_record = records(topic)
    loop = asyncio.get_running_loop()
    producer = confluent_kafka.Producer({**_librdkafka(bootstrap_servers), **settings})

    async def publish() -> object:
        record, waiter = next_record(), loop.create_future()

        def report(error: confluent_kafka.KafkaError | None, message: object) -> None:
            loop.call_soon_threadsafe(_settle, waiter, error, message)

        producer.produce(
            record.topic,
            record.value,
            record.key,
            headers=list(record.headers),
            timestamp=record.timestamp or 0,
            on_delivery=report,
        )
        return await waiter

    with _polled(producer):
        yield publish


confluent_no_linger: Contender = functools.partial(confluent, settings={"linger.ms": 0})


@asynccontextmanager
async def confluent_aio(bootstrap_servers: str, topic: str) -> AsyncIterator[Publish]:
    """``await (await AIOProducer.produce(...))``, without headers and timestamp: it refuses both.

    It keeps events until 1,000 are together or none has come for a second, and looks for that
    twice in the time: two seconds for an event that is alone. It hears reports when it looks.
    So it gets what served it best of what was tried: 100, and a look as often as it can, each 0.1 s.
    """
    next_record = records(topic)
    producer = AIOProducer(_librdkafka(bootstrap_servers), batch_size=100, buffer_timeout=0.05)

    async def publish() -> object:
        record = next_record()
        reported = await producer.produce(record.topic, record.value, record.key)
        return await reported

    try:
        yield publish
    finally:
        await producer.close()


@asynccontextmanager
async def faststream(bootstrap_servers: str, topic: str) -> AsyncIterator[Publish]:
    """``await broker.publish(...)``, which waits for the acknowledgement."""
    from faststream.kafka import KafkaBroker

    next_record = records(topic)
    broker = KafkaBroker(bootstrap_servers, enable_idempotence=True, acks="all", logger=None)

    async def publish() -> object:
        record = next_record()
        return await broker.publish(
            record.value,
            topic=record.topic,
            key=record.key,
            headers={name: value.decode() for name, value in record.headers if value is not None},
            timestamp_ms=record.timestamp,
        )

    await broker.start()
    try:
        yield publish
    finally:
        await broker.stop()


@asynccontextmanager
async def floor(bootstrap_servers: str, topic: str) -> AsyncIterator[Publish]:
    """No client: what none on this event loop could leave out (`benchmarks.floor`)."""
    next_record = records(topic)
    async with connected(bootstrap_servers, topic) as publish_record:

        async def publish() -> object:
            return await publish_record(next_record())

        yield publish


FLOOR = "floor"
CONTENDERS: dict[str, Contender] = {
    "eventpub": eventpub,
    "aiokafka": aiokafka,
    "aiokafka, one task": aiokafka_one_task,
    "confluent-kafka": confluent,
    "confluent-kafka, linger 0": confluent_no_linger,
    "confluent-kafka AIO": confluent_aio,
    "FastStream": faststream,
    FLOOR: floor,
}


def versions() -> str:
    """Return what is compared, in one line."""
    packages = ("aiokafka", "confluent-kafka", "faststream")
    named = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    return f"{named}, librdkafka {confluent_kafka.libversion()[0]}, CPython {platform.python_version()}"


@asynccontextmanager
async def _aiokafka_producer(bootstrap_servers: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, enable_idempotence=True, acks="all")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def _arguments(record: Record) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "value": record.value,
        "key": record.key,
        "timestamp_ms": record.timestamp,
        "headers": list(record.headers),
    }


def _pass_on(waiter: asyncio.Future[object], sent: asyncio.Future[object]) -> None:
    if waiter.done():  # cancelled
        return
    if error := sent.exception():
        waiter.set_exception(error)
    else:
        waiter.set_result(sent.result())


def _librdkafka(bootstrap_servers: str) -> dict[str, Any]:
    return {"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, "acks": "all"}


def _settle(waiter: asyncio.Future[object], error: confluent_kafka.KafkaError | None, message: object) -> None:
    if waiter.done():  # cancelled
        return
    if error is None:
        waiter.set_result(message)
    else:
        waiter.set_exception(confluent_kafka.KafkaException(error))


@contextlib.contextmanager
def _polled(producer: confluent_kafka.Producer) -> Iterator[None]:
    """Let a thread hear the reports of *producer*."""
    ended = threading.Event()

    def poll() -> None:
        while not ended.is_set():
            producer.poll(0.1)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        producer.flush()
