"""What type checkers see of the assertions for tests. Checked, never run."""

from typing import assert_type

from eventpub import Event, Record
from eventpub.testing import MemoryBroker, assert_published, published


class TaskCreated(Event, type="task.created", topic="tasks", key="task_id"):
    task_id: str


def check(broker: MemoryBroker) -> None:
    created = TaskCreated(task_id="42")
    assert_published(broker, created, TaskCreated, "task.created", {"task_id": "42"}, Record("tasks", b"{}"))
    assert_published(broker.records("tasks"), created, topic="tasks", ignore_order=True, exactly=False, same_id=True)
    assert_type(published(broker, TaskCreated), list[TaskCreated])
    assert_type(published([Record("tasks", b"{}")], TaskCreated), list[TaskCreated])
    assert_published(broker, 42)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
