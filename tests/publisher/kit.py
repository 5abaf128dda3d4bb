"""What the tests of this folder share: an event class, a listening hook, and opened publishers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from eventpub import CRITICAL, Event, EventRegistry, Publisher, PublishError, Record, RetryPolicy
from eventpub.transports.memory import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from eventpub import Delivery, PublisherState
    from eventpub.abc import AttemptDetails, OutcomeDetails

NO_PAUSE = RetryPolicy(wait=lambda _state: 0.0)
STEADY = CRITICAL.replace(retry=RetryPolicy(wait=lambda _state: 0.1))  # retries at known times


class Noted(Event, type="noted", topic="notes", key="key", registry=EventRegistry()):
    """An event with a key."""

    key: str
    text: str = ""


class Listener:
    """A hook that keeps what it hears."""

    def __init__(self) -> None:
        self.attempts: list[AttemptDetails] = []
        self.outcomes: list[OutcomeDetails] = []
        self.late: list[OutcomeDetails] = []
        self.states: list[PublisherState] = []
        self.on_attempt = self.attempts.append
        self.on_outcome = self.outcomes.append
        self.on_late_outcome = self.late.append
        self.on_state = self.states.append


def one_partition(**config: Any) -> MemoryBroker:
    """Return a broker whose topic ``t`` has a single partition."""
    broker = MemoryBroker()
    broker.create_topic("t", 1, **config)
    return broker


def record(value: object, key: bytes | None = None, **more: Any) -> Record:
    """Return a record of topic ``t``."""
    return Record("t", str(value).encode(), key, **more)


def values(broker: MemoryBroker, topic: str = "t", partition: int | None = None) -> list[str]:
    """Return the values in the log, in order."""
    return [(logged.value or b"").decode() for logged in broker.records(topic, partition)]


@asynccontextmanager
async def opened(target: Any, **settings: Any) -> AsyncIterator[Publisher]:
    """Run a publisher that closes at once where a test leaves something undeliverable."""
    publisher = Publisher(target, **{"source": "/tests", **settings})
    await publisher.open()
    try:
        yield publisher
    finally:
        await publisher.aclose(0)


async def outcome(publish: Awaitable[Delivery]) -> Delivery | PublishError:
    """Return what a publish came to, errors too."""
    try:
        return await publish
    except PublishError as error:
        return error


async def error_of(publish: Awaitable[Delivery]) -> PublishError:
    """Return the error that a publish ends with."""
    result = await outcome(publish)
    assert isinstance(result, PublishError), result
    return result


async def turns(count: int) -> None:
    """Let the event loop have *count* turns."""
    for _ in range(count):
        await asyncio.sleep(0)


def now() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()
