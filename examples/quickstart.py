"""Publish one event and see where it is: ``python examples/quickstart.py``."""

import asyncio

from eventpub import Event, Publisher


class TaskCreated(Event, type="task.created", topic="tasks", key="task_id"):
    """A task was created."""

    task_id: str
    title: str


async def main() -> None:
    """Publish."""
    async with Publisher("memory://", source="/task-api") as publisher:
        print(await publisher.publish(TaskCreated(task_id="42", title="Write docs")))


asyncio.run(main())
