"""A retry policy in tenacity's own objects: ``python examples/retry_policy.py``.

A policy is asked after a failed attempt, and only where another one is safe. It may give up
early and choose the pause; what the caller is told is made of all attempts, not of its words.
"""

import asyncio
from typing import cast

from tenacity import RetryCallState, stop_after_attempt, wait_fixed, wait_random

from eventpub import CRITICAL, STANDARD, DeliveryProfile, Event, Publisher, PublishError, RetryPolicy
from eventpub.transports.memory import MemoryBroker

NOT_ENOUGH_REPLICAS = 19
MESSAGE_TOO_LARGE = 10


class TaskCreated(Event, type="task.created", topic="tasks", key="task_id"):
    """A task was created."""

    task_id: str


def asked(state: RetryCallState) -> bool:
    """Tell what the policy is asked about, and want another attempt whatever it is."""
    error = cast("PublishError", state.outcome.exception() if state.outcome else None)
    code = error.kafka_error or "no answer"
    print(f"  asked after attempt {state.attempt_number}: {code}, so far {error.status.value}")
    return True


THREE_TIMES = RetryPolicy(
    retry=asked,
    wait=wait_fixed(0.05) + wait_random(0, 0.05),
    stop=stop_after_attempt(3),
)


async def publish(publisher: Publisher, profile: DeliveryProfile) -> None:
    """Publish an event, and print what is known of it afterwards."""
    try:
        print(f"  -> {await publisher.publish(TaskCreated(task_id='42'), profile=profile)}")
    except PublishError as error:
        print(f"  -> {error.status.value}: {type(error).__name__}, reason {error.reason}, attempts {error.attempts}")


async def main() -> None:
    """Let the same policy meet one fault after the other."""
    broker = MemoryBroker()
    thrice = CRITICAL.replace(retry=THREE_TIMES)
    async with Publisher(broker, source="/task-api") as publisher:
        print("Two refusals that pass, and the third attempt is the last one:")
        broker.reject_next(NOT_ENOUGH_REPLICAS, times=2)
        await publish(publisher, thrice)

        print("More of them: stop_after_attempt(3) ends it, and nothing was written:")
        broker.reject_next(NOT_ENOUGH_REPLICAS, times=3)
        await publish(publisher, thrice)

        print("Three acknowledgements lost: it ends after as many attempts, and the event may be in the log:")
        broker.lose_next_ack(times=3)
        await publish(publisher, thrice)

        print("Too large stays too large: the policy would go on, and is not asked:")
        broker.reject_next(MESSAGE_TOO_LARGE)
        await publish(publisher, thrice)

        print("No idempotence, so another attempt could write it twice: not asked either:")
        broker.lose_next_ack()
        await publish(publisher, STANDARD.replace(retry=THREE_TIMES))


asyncio.run(main())
