"""Functions that publish what they return: ``python examples/decorator.py``.

The broker lives in memory; ``python examples/decorator.py kafka://localhost:9092`` takes another.
"""

import asyncio
import sys
from dataclasses import dataclass

import anyio

from eventpub import Event, Publisher, PublishError, emits
from eventpub.transports.memory import MemoryBroker


class TaskCreated(Event, type="task.created", topic="tasks", key="task_id"):
    """A task was created."""

    task_id: str
    title: str


class TaskClosed(Event, type="task.closed", topic="tasks", key="task_id"):
    """A task was closed."""

    task_id: str
    by: str


@dataclass
class Task:
    """A row of the application's own."""

    task_id: str
    title: str
    internal_note: str = "not in the event"


@emits("task.created")
async def create_task(task_id: str, title: str) -> Task:
    """Return a row; the event takes from it what its class has."""
    return Task(task_id, title)


@emits(TaskClosed, map=lambda tasks, by: [TaskClosed(task_id=task.task_id, by=by) for task in tasks])
async def close_tasks(by: str) -> list[Task]:
    """Return several rows; ``map`` makes an event of each, and sees the arguments."""
    note = f"closed by {by}"
    return [Task("1", "Write docs", note), Task("2", "Read docs", note)]


@emits("task.exported", topic="tasks", key="task_id", wait=False)
def export_task(task_id: str) -> dict[str, str]:
    """Work in a thread; no class stands for this type, and nobody waits for its event."""
    return {"task_id": task_id, "format": "pdf"}


async def main(target: str | MemoryBroker) -> None:
    """Call them; none of them knows the publisher, which is the one open on this loop."""
    async with Publisher(target, source="/task-api") as publisher:
        print(await create_task("1", "Write docs"))
        print(await close_tasks(by="anna"))
        print(await anyio.to_thread.run_sync(export_task, "1"))
        await publisher.flush()
        print(f"{publisher.statistics().persisted} events persisted")

        if isinstance(target, MemoryBroker):
            target.reject_next(10)
            try:
                await create_task("3", "a title that the broker finds too large")
            except PublishError as error:
                print(f"{type(error).__name__}, and yet the task is there: {error.result}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else MemoryBroker()))
