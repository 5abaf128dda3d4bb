"""What the tests of this folder share: an event, an application around a publisher, and a client inside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from starlette.applications import Starlette

from eventpub import CRITICAL, Event, EventRegistry, Publisher

URL = "http://app"


class TaskCreated(Event, type="task.created", topic="tasks", key="task_id", registry=EventRegistry()):
    """A small event."""

    task_id: str = "42"
    title: str = "Write docs"


def publisher_to(target: Any, **settings: Any) -> Publisher:
    """Return a publisher that is not open, with a budget of 5 s."""
    return Publisher(target, source="/tests", profile=CRITICAL.replace(delivery_timeout=5), **settings)


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    """Run an application as a server does, lifespan and its state included; yield a client of it."""
    async with app.router.lifespan_context(app) as state, client_of(app, state or {}) as client:
        yield client


def client_of(app: Starlette, state: Mapping[str, Any]) -> httpx2.AsyncClient:
    """Return a client whose requests see *state*, as a server hands it on from the lifespan."""

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return httpx2.AsyncClient(transport=httpx2.ASGITransport(with_state), base_url=URL)


def now() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()
