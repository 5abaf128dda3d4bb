"""The ways to publish that are compared, each as its users write it: one class for each.

The peers are wrapped alike: tenacity tries three times (for librdkafka also without, since it
retries by itself), and ``asyncio.timeout`` bounds what the caller waits. Beside that each gets the settings that its documentation advises for
events that matter, with time limits that fit the budget. An exception of theirs says that a
publish failed; none of them says whether the event is in the log.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
from collections.abc import Callable
from typing import Any, Protocol

import confluent_kafka
import tenacity
from aiokafka import AIOKafkaProducer
from confluent_kafka.aio import AIOProducer

from eventpub import CRITICAL, Publisher, PublishError, Record
from eventpub.testing import Word

ATTEMPTS = 3
"""How often the wrapped peers are tried; each gets that part of the budget for one request."""

three_times = tenacity.retry(
    stop=tenacity.stop_after_attempt(ATTEMPTS),
    wait=tenacity.wait_exponential(multiplier=0.1, max=1),
    reraise=True,
)


class Contender(Protocol):
    """Publishes to one topic. ``publish`` raises if it cannot, within *budget* seconds."""

    def __init__(self, bootstrap_servers: str, topic: str, budget: float) -> None: ...

    async def open(self) -> None:
        """Connect."""

    async def publish(self, key: bytes, value: bytes) -> object:
        """Return once the event is acknowledged."""

    async def close(self, timeout: float) -> None:
        """Deliver what is under way and end."""


class Aiokafka:
    """aiokafka with idempotence and acks=all."""

    def __init__(self, bootstrap_servers: str, topic: str, budget: float) -> None:
        self._topic = topic
        self._budget = budget
        self._settings = {"bootstrap_servers": bootstrap_servers, **self.settings(budget)}

    @staticmethod
    def settings(budget: float) -> dict[str, Any]:
        """Return what its constructor gets beside the brokers."""
        return {"enable_idempotence": True, "acks": "all", "request_timeout_ms": int(budget / ATTEMPTS * 1000)}

    async def open(self) -> None:
        """Connect."""
        self._producer = AIOKafkaProducer(**self._settings)
        await self._producer.start()

    async def publish(self, key: bytes, value: bytes) -> object:
        """Return once the event is acknowledged."""
        async with asyncio.timeout(self._budget):
            return await self._send(key, value)

    @three_times
    async def _send(self, key: bytes, value: bytes) -> object:
        return await self._producer.send_and_wait(self._topic, value, key=key)

    async def close(self, timeout: float) -> None:  # noqa: ARG002 - stop() knows none
        """Deliver what is under way and end."""
        await self._producer.stop()


class AiokafkaDefaults(Aiokafka):
    """aiokafka as its constructor gives it: acks=1, not idempotent, 40 s a request."""

    @staticmethod
    def settings(budget: float) -> dict[str, Any]:  # noqa: ARG004
        """Return nothing."""
        return {}


class Confluent:
    """confluent-kafka's AIOProducer with idempotence and acks=all; librdkafka retries inside ``delivery.timeout.ms``."""

    def __init__(self, bootstrap_servers: str, topic: str, budget: float) -> None:
        self._topic = topic
        self._budget = budget
        request = int(budget / ATTEMPTS * 1000)
        self._settings = {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "acks": "all",
            # Before the budget, so that the caller hears librdkafka's own word.
            "delivery.timeout.ms": int(budget * 1000) - 500,
            "request.timeout.ms": request,
            "socket.timeout.ms": request,
        }

    async def open(self) -> None:
        """Connect."""
        # Its buffer waits for 1,000 events or a second of silence, unless it is told otherwise.
        self._producer = AIOProducer(self._settings, buffer_timeout=0.05)

    async def publish(self, key: bytes, value: bytes) -> object:
        """Return once the event is acknowledged."""
        async with asyncio.timeout(self._budget):
            return await self._send(key, value)

    @three_times
    async def _send(self, key: bytes, value: bytes) -> object:
        delivery = await self._producer.produce(self._topic, value=value, key=key)
        return await delivery

    async def close(self, timeout: float) -> None:  # noqa: ARG002 - close() knows none
        """Deliver what is under way and end."""
        await self._producer.close()


class ConfluentAlone(Confluent):
    """The same without tenacity: only librdkafka retries, as its documentation advises."""

    async def publish(self, key: bytes, value: bytes) -> object:
        """Return once the event is acknowledged."""
        async with asyncio.timeout(self._budget):
            delivery = await self._producer.produce(self._topic, value=value, key=key)
            return await delivery


class FastStream:
    """FastStream's KafkaBroker with idempotence and acks=all."""

    def __init__(self, bootstrap_servers: str, topic: str, budget: float) -> None:
        self._bootstrap_servers = bootstrap_servers.split(",")
        self._topic = topic
        self._budget = budget

    async def open(self) -> None:
        """Connect."""
        from faststream.kafka import KafkaBroker

        self._broker = KafkaBroker(
            self._bootstrap_servers,
            enable_idempotence=True,
            acks="all",
            request_timeout_ms=int(self._budget / ATTEMPTS * 1000),
            logger=None,
        )
        await self._broker.start()

    async def publish(self, key: bytes, value: bytes) -> object:
        """Return once the event is acknowledged."""
        async with asyncio.timeout(self._budget):
            return await self._send(key, value)

    @three_times
    async def _send(self, key: bytes, value: bytes) -> object:
        return await self._broker.publish(value, topic=self._topic, key=key)

    async def close(self, timeout: float) -> None:  # noqa: ARG002 - stop() knows none
        """Deliver what is under way and end."""
        await self._broker.stop()


class Eventpub:
    """eventpub's default profile, with the budget of the others."""

    def __init__(self, bootstrap_servers: str, topic: str, budget: float) -> None:
        self._topic = topic
        self._publisher = Publisher(f"kafka://{bootstrap_servers}", profile=CRITICAL.replace(delivery_timeout=budget))

    async def open(self) -> None:
        """Start."""
        await self._publisher.open()

    async def publish(self, key: bytes, value: bytes) -> object:
        """Return once the event is acknowledged."""
        return await self._publisher.publish(Record(self._topic, value, key))

    async def close(self, timeout: float) -> None:
        """Deliver what is under way and end."""
        await self._publisher.aclose(timeout)


CONTENDERS: dict[str, Callable[[str, str, float], Contender]] = {
    "aiokafka": Aiokafka,
    "aiokafka defaults": AiokafkaDefaults,
    "confluent-kafka": Confluent,
    "confluent-kafka alone": ConfluentAlone,
    "FastStream": FastStream,
    "eventpub": Eventpub,
}


def word_of(error: BaseException) -> Word:
    """Return what *error* says about the log. Whoever knows no "possibly" says that the publish failed."""
    if isinstance(error, PublishError):
        return Word(error.status.value)
    return Word.CANCELLED if isinstance(error, asyncio.CancelledError) else Word.NOT_PERSISTED


def versions() -> str:
    """Return what was compared, in one line."""
    packages = ("eventpub", "aiokafka", "confluent-kafka", "faststream", "tenacity")
    named = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    return f"{named}, librdkafka {confluent_kafka.libversion()[0]}, CPython {platform.python_version()}"
