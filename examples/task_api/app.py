"""A small Task API: whoever creates a task is told what became of its event.

::

    TASK_API_BROKER=kafka://localhost:9092 uvicorn --factory examples.task_api.app:create_app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict
from uuid import uuid4

from fastapi import APIRouter, Depends, FastAPI, Request, status
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from eventpub import CRITICAL, NotPersistedError, PossiblyPersistedError, Publisher, RejectedError
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


class State(TypedDict):
    """What lives from the application's start to its end."""

    publisher: Publisher


async def get_publisher(request: Request) -> Publisher:
    """Return the publisher that the lifespan opened."""
    publisher: Publisher = request.state.publisher
    return publisher


AnyPublisher = Annotated[Publisher, Depends(get_publisher)]


def create_app(target: str | MemoryBroker | None = None) -> FastAPI:
    """Make the application; *target* is where its events go, by default ``TASK_API_BROKER``."""
    broker = target or os.environ.get("TASK_API_BROKER", "kafka://localhost:9092")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        # Opens without waiting for a broker, and drains at the end: the server stops taking
        # requests first.
        async with Publisher(broker, source="/task-api", profile=PROFILE, client_id="task-api") as publisher:
            yield State(publisher=publisher)

    app = FastAPI(title="Task API", lifespan=lifespan)
    app.add_exception_handler(NotPersistedError, not_persisted)
    app.add_exception_handler(PossiblyPersistedError, possibly_persisted)
    app.include_router(router)
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


async def not_persisted(_request: Request, error: Exception) -> JSONResponse:
    """503: the event is certainly not in the log, so the client may send its request again."""
    # A rejection stays one until somebody changes the event, the topic or a permission.
    headers = {} if isinstance(error, RejectedError) else {"Retry-After": "1"}
    return JSONResponse({"status": "not persisted", "detail": str(error)}, 503, headers)


async def possibly_persisted(_request: Request, error: Exception) -> JSONResponse:
    """202: the event may be in the log. A repeated request could write it twice; its id tells them apart."""
    event_id = error.event_id if isinstance(error, PossiblyPersistedError) else None
    return JSONResponse({"status": "possibly persisted", "event_id": event_id, "detail": str(error)}, 202)


@router.get("/ready")
async def ready(publisher: AnyPublisher) -> JSONResponse:
    """200 when an event published now could be delivered, else 503 with the reasons."""
    health = publisher.health()
    return JSONResponse({"ready": health.ready, "reasons": health.reasons}, 200 if health else 503)
