"""A small Task API: whoever creates a task is told what became of its event.

::

    TASK_API_BROKER=kafka://localhost:9092 uvicorn --factory examples.task_api.app:create_app
"""

import os
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, FastAPI, status
from pydantic import BaseModel, Field

from eventpub import CRITICAL, Publisher
from eventpub.contrib.fastapi import (
    DeliveryBudgetMiddleware,
    error_responses,
    get_publisher,
    lifespan,
    readiness,
)
from eventpub.transports.memory import MemoryBroker
from examples.task_api.events import TaskCreated

# All of `CRITICAL`, but an HTTP client waits for the answer.
PROFILE = CRITICAL.replace(delivery_timeout=5)

router = APIRouter()


class NewTask(BaseModel):
    """What a client sends."""

    title: str = Field(min_length=1, max_length=200)


class Receipt(BaseModel):
    """What it gets back: the task's id, and where its event lies in the log."""

    task_id: str
    event_id: str | None
    topic: str
    partition: int
    offset: int | None
    attempts: int
    elapsed: float


AnyPublisher = Annotated[Publisher, Depends(get_publisher)]


def create_app(target: str | MemoryBroker | None = None) -> FastAPI:
    """Make the application; *target* is where its events go, by default ``TASK_API_BROKER``."""
    broker = target or os.environ.get("TASK_API_BROKER", "kafka://localhost:9092")
    # Opens without waiting for a broker, and drains at the end: the server stops taking
    # requests first.
    publisher = Publisher(broker, source="/task-api", profile=PROFILE, client_id="task-api")
    # Its clients may know why an event was not delivered: they are tests and a demo.
    app = FastAPI(title="Task API", lifespan=lifespan(publisher), exception_handlers=error_responses(details=True))
    app.add_middleware(DeliveryBudgetMiddleware)
    app.include_router(router)
    app.add_route("/ready", readiness)
    return app


@router.post("/tasks", status_code=status.HTTP_201_CREATED)
async def create_task(task: NewTask, publisher: AnyPublisher) -> Receipt:
    """Create a task; 201 says that its event is in the log, and where."""
    task_id = uuid4().hex
    delivery = await publisher.publish(TaskCreated(task_id=task_id, title=task.title))
    return Receipt(
        task_id=task_id,
        event_id=delivery.event_id,
        topic=delivery.topic,
        partition=delivery.partition,
        offset=delivery.offset,
        attempts=delivery.attempts,
        elapsed=delivery.elapsed,
    )
