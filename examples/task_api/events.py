"""What the Task API says about its tasks."""

from eventpub import Event


class TaskCreated(Event, type="task.created", topic="tasks", key="task_id"):
    """A task was created. Events of one task keep their order: they share its id as their key."""

    task_id: str
    title: str
