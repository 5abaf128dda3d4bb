"""One little service twice, before and after migrating: ``python examples/migrating.py``.

First as one writes it with aiokafka and tenacity, then with eventpub. The broker goes away for
longer than the service can wait, and comes back. Printed is what the service was told, and how
often each task is in the log, which another client reads when all is over. A send that has
timed out is still in aiokafka's buffer, and so are those of tenacity's other attempts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from eventpub import CRITICAL, Event, NotPersistedError, PossiblyPersistedError, Publisher
from eventpub.testing import EmbeddedKafka

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # `support` reads back what was written

from support.readback import read_topic  # noqa: E402 - needs the line above

BUDGET = 1.5
"""Seconds that a request of the service may wait for its event."""
ATTEMPTS = 3
PUBLISHED = "published"

Publish = Callable[[str], Awaitable[str]]
Story = Callable[[Publish], Awaitable[None]]
Service = Callable[[str, Story], Coroutine[object, object, None]]


# --- before ------------------------------------------------------------------------------


async def before(bootstrap_servers: str, story: Story) -> None:
    """Run the service on aiokafka, with the settings for events that matter."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, enable_idempotence=True, acks="all")
    await producer.start()

    @retry(
        retry=retry_if_exception_type((KafkaError, TimeoutError)),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_fixed(0.1),
        reraise=True,
    )
    async def send(task_id: str) -> None:
        async with asyncio.timeout(BUDGET / ATTEMPTS):
            value = json.dumps({"task_id": task_id}).encode()
            await producer.send_and_wait("before", value, key=task_id.encode())

    async def publish(task_id: str) -> str:
        try:
            await send(task_id)
        except (KafkaError, TimeoutError) as error:
            return f"failed, {type(error).__name__}"
        return PUBLISHED

    try:
        await story(publish)
    finally:
        await producer.stop()


# --- after -------------------------------------------------------------------------------


class TaskCreated(Event, type="task.created", topic="after", key="task_id"):
    """A task was created."""

    task_id: str


async def after(bootstrap_servers: str, story: Story) -> None:
    """Run the service on eventpub: its defaults, and nothing kept of what cannot be delivered."""
    profile = CRITICAL.replace(dead_letter=False, delivery_timeout=BUDGET)
    async with Publisher(f"kafka://{bootstrap_servers}", source="/task-api", profile=profile) as publisher:

        async def publish(task_id: str) -> str:
            try:
                await publisher.publish(TaskCreated(task_id=task_id))
            except NotPersistedError:
                return "not persisted, try again later"
            except PossiblyPersistedError as error:
                return f"possibly persisted, with the id {error.event_id}"
            return PUBLISHED

        await story(publish)


# --- both --------------------------------------------------------------------------------


def main() -> int:
    """Tell the story of both; return 0 if every word of eventpub's is true."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its lines about the outage would hide ours
    with EmbeddedKafka() as kafka:
        print("aiokafka and tenacity:")
        play(kafka, "before", before)
        print("eventpub:")
        lines = play(kafka, "after", after)
    return 0 if all(copies == (told == PUBLISHED) for told, copies in lines) else 1


def play(kafka: EmbeddedKafka, topic: str, service: Service) -> list[tuple[str, int]]:
    """Let a service live through the outage; print and return what it was told, and how often each task was written."""
    told: dict[str, str] = {}
    kafka.create_topic(topic)
    asyncio.run(service(kafka.bootstrap_servers, lambda publish: outage(kafka, publish, told)))
    written = Counter((record.key or b"").decode() for record in read_topic(kafka.bootstrap_servers, topic))
    for task_id, words in told.items():
        print(f"  task {task_id}: {words:<32} {written[task_id]} in the log")
    return [(words, written[task_id]) for task_id, words in told.items()]


async def outage(kafka: EmbeddedKafka, publish: Publish, told: dict[str, str]) -> None:
    """Publish one task, two more while no broker is there, and one when it is back; note what was told."""
    told["1"] = await publish("1")
    kafka.down()
    await asyncio.sleep(0.2)  # until both clients have noticed: what is under way just then is in doubt
    told["2"], told["3"] = await asyncio.gather(publish("2"), publish("3"))
    kafka.up()
    told["4"] = await publish("4")


if __name__ == "__main__":
    sys.exit(main())
