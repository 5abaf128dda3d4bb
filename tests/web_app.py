"""An application whose process the tests end: ``uvicorn --factory tests.web_app:create_app``."""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI

from eventpub import CRITICAL, Event, EventRegistry, Publisher
from eventpub.contrib.fastapi import DeliveryBudgetMiddleware, error_responses, get_publisher, lifespan, readiness

TOPIC = "WEB_APP_TOPIC"  # in the environment; default: tasks

AnyPublisher = Annotated[Publisher, Depends(get_publisher)]


class TaskCreated(Event, type="task.created", registry=EventRegistry()):
    """A small event."""

    title: str = "Write docs"


def create_app(**settings: Any) -> FastAPI:
    """Make an application that starts without a broker."""
    topic, profile = os.environ.get(TOPIC, "tasks"), CRITICAL.replace(delivery_timeout=10)
    broker = os.environ["TASK_API_BROKER"]
    return _app(Publisher(broker, source="/web-app", profile=profile, topic_for=lambda _: topic, **settings))


def create_eager_app() -> FastAPI:
    """Make an application that does not."""
    return create_app(connect="eager", start_timeout=1)


def _app(publisher: Publisher) -> FastAPI:
    app = FastAPI(lifespan=lifespan(publisher), exception_handlers=error_responses(details=True))
    app.add_middleware(DeliveryBudgetMiddleware, default=5)
    app.add_route("/ready", readiness)
    app.add_api_route("/tasks", create, methods=["POST"], status_code=201)
    app.add_api_route("/later", create_later, methods=["POST"])
    app.add_api_route("/background", create_in_background, methods=["POST"])
    return app


async def create(publisher: AnyPublisher) -> dict[str, str | None]:
    """Answer when the event is in the log."""
    return {"event_id": (await publisher.publish(TaskCreated())).event_id}


async def create_later(publisher: AnyPublisher, background: BackgroundTasks) -> dict[str, str]:
    """Answer at once, and leave the event to the publisher afterwards."""
    event = TaskCreated()
    background.add_task(leave, publisher, event)
    return {"event_id": event.envelope.id}


async def leave(publisher: Publisher, event: Event) -> None:
    """Publish, and do not wait."""
    publisher.publish_nowait(event)


async def create_in_background(publisher: AnyPublisher, background: BackgroundTasks) -> dict[str, str]:
    """Answer at once, and publish afterwards."""
    event = TaskCreated()
    background.add_task(publisher.publish, event)
    return {"event_id": event.envelope.id}
