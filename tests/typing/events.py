"""What type checkers see of event classes. Checked, never run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import assert_type

from pydantic import BaseModel

from eventpub import CRITICAL, Envelope, Event, EventRegistry


class Base(Event, topic="tasks", profile=CRITICAL, registry=EventRegistry()):
    """An abstract base: no type."""

    tenant: str


class TaskCreated(Base, type="task.created", key="task_id", subject="tasks/{task_id}", envelope="structured"):
    task_id: str
    title: str = "untitled"
    id: int = 0


def number(event: Strict) -> int:
    return event.n


class Strict(Event, type="strict", key=number, strict=True, title="pydantic's own keywords"):
    n: int


event = TaskCreated(tenant="a", task_id="42")
assert_type(event, TaskCreated)
assert_type(event.task_id, str)
assert_type(event.id, int)
assert_type(event.envelope, Envelope)
assert_type(event.envelope.id, str)
assert_type(event.envelope.time, datetime)
assert_type(event.envelope.subject, str | None)
assert_type(event.with_envelope(id="x", time=datetime.now(UTC), subject=None, extensions={"a": 1}), TaskCreated)
assert_type(event.model_copy(update={"title": "x"}), TaskCreated)
registry: Mapping[str, type[BaseModel]] = EventRegistry()

# What a checker is to refuse; an ignore that is not needed is itself an error.
TaskCreated(tenant="a", task_id=42)  # type: ignore[arg-type]
TaskCreated(tenant="a", task_id="42", owner="x")  # type: ignore[call-arg]
event.envelope = event.envelope  # type: ignore[misc]
