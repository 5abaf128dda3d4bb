"""Every outcome of a publish, and what its caller may do next: ``python examples/outcomes.py``.

The broker lives in memory and is told what to do wrong; the errors are those that Apache
Kafka causes.
"""

import asyncio

from eventpub import (
    CRITICAL,
    TELEMETRY,
    DeliveryProfile,
    Event,
    NotPersistedError,
    PossiblyPersistedError,
    Publisher,
    RejectedError,
)
from eventpub.transports.memory import MemoryBroker

# The default budget is 30 s; this one is for people who watch.
PATIENT = CRITICAL.replace(delivery_timeout=1)


class TaskCreated(Event, type="task.created", topic="tasks", key="task_id"):
    """A task was created."""

    task_id: str
    title: str


async def publish(publisher: Publisher, profile: DeliveryProfile = PATIENT) -> None:
    """Publish an event, and print what is known of it afterwards."""
    event = TaskCreated(task_id="42", title="Write docs")
    try:
        delivery = await publisher.publish(event, profile=profile)
    except RejectedError as error:
        print(f"  {type(error).__name__}: {error}\n  -> not in the log. Fix it, then publish again")
    except NotPersistedError as error:
        print(f"  {type(error).__name__}: {error}\n  -> not in the log. Publish again, later")
    except PossiblyPersistedError as error:
        print(f"  {type(error).__name__}: {error}\n  -> perhaps in the log, with the id {error.event_id}")
    else:
        print(f"  {delivery}\n  -> {delivery.status.value}")


async def main() -> None:
    """Let each outcome happen once."""
    broker = MemoryBroker()
    async with Publisher(broker, source="/task-api") as publisher:
        print("All is well:")
        await publish(publisher)

        print("The acknowledgement gets lost, and the broker recognises the resend:")
        broker.lose_next_ack()
        await publish(publisher)

        print("The broker finds the event too large:")
        broker.reject_next(10)
        await publish(publisher)

        print("No broker answers:")
        broker.down()
        await publish(publisher)
        broker.up()

        print("Every acknowledgement gets lost:")
        broker.lose_next_ack(times=1000)
        await publish(publisher)
        broker.heal()

        print("Nobody is asked for an acknowledgement:")
        await publish(publisher, TELEMETRY)


asyncio.run(main())
