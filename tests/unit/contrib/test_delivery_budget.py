"""The time a client waits is the budget of what its request publishes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from eventpub import ConfigurationError, Publisher, PublishError, UnavailableError, delivery_budget
from eventpub.contrib.fastapi import DeliveryBudgetMiddleware, error_responses, get_publisher, lifespan
from eventpub.transports.memory import MemoryBroker
from tests.unit.contrib.kit import TaskCreated, now, publisher_to, serving


async def create(request: Request) -> PlainTextResponse:
    """Publish, and say how long it took to fail."""
    try:
        await (await get_publisher(request)).publish(TaskCreated())
    except UnavailableError as error:
        return PlainTextResponse(f"{error.elapsed:.2f}")
    return PlainTextResponse("published")


def app_of(broker: MemoryBroker, *routes: Any, **settings: Any) -> Starlette:
    """Return an application under the middleware."""
    return Starlette(
        routes=[Route("/", create), *routes],
        lifespan=lifespan(publisher_to(broker), drain_timeout=0),
        middleware=[Middleware(DeliveryBudgetMiddleware, **settings)],
        exception_handlers=error_responses(),
    )


@pytest.fixture
def away() -> MemoryBroker:
    """Return a broker that is down, so that publishes take all of their time."""
    broker = MemoryBroker()
    broker.down()
    return broker


@pytest.mark.parametrize(
    "settings, headers, budget",
    [
        ({}, {"X-Request-Timeout": "2"}, 1.75),
        ({}, {"X-Request-Timeout": "0.4"}, 0.2),
        ({"default": 3}, {}, 2.75),
        ({"default": 3}, {"x-request-timeout": "1.5"}, 1.25),
        ({"default": 1}, {"X-Request-Timeout": "4"}, 3.75),
        ({"header": "X-Deadline"}, {"X-Deadline": "2", "X-Request-Timeout": "1"}, 1.75),
        ({}, {}, 5),
        ({}, {"X-Request-Timeout": "3600"}, 5),
    ],
    ids=["header", "short", "default", "header first", "longer than default", "own header", "neither", "too long"],
)
async def test_a_publish_ends_within_the_time_of_its_request(
    away: MemoryBroker, settings: dict[str, Any], headers: dict[str, str], budget: float
) -> None:
    """The header, else the default, else the profile; never more than the profile, and the answer has time left."""
    async with serving(app_of(away, **settings)) as client:
        answer = await client.get("/", headers=headers)
    assert budget <= float(answer.text) <= budget + 0.25


@pytest.mark.parametrize("value", ["soon", "", "0", "-1", "nan", "inf", "1e999"])
async def test_a_value_that_is_no_duration_is_refused(value: str) -> None:
    """400 as a problem that names the header; nothing is published."""
    broker = MemoryBroker()
    async with serving(app_of(broker)) as client:
        answer = await client.get("/", headers={"X-Request-Timeout": value})
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["title"] == "Invalid X-Request-Timeout"
    assert broker.records("tasks") == ()


def test_a_default_that_is_no_duration_is_refused_at_the_start() -> None:
    """Wrong settings are found before the first request."""
    with pytest.raises(ConfigurationError, match="default"):
        DeliveryBudgetMiddleware(Starlette(), default=-1)


async def test_all_of_a_request_shares_the_time(away: MemoryBroker) -> None:
    """Two publishes one after the other have what is left, not the whole time each."""

    async def twice(request: Request) -> PlainTextResponse:
        began, publisher = now(), await get_publisher(request)
        for _ in range(2):
            with pytest.raises(UnavailableError):
                await publisher.publish(TaskCreated())
        return PlainTextResponse(str(now() - began))

    async with serving(app_of(away, Route("/twice", twice))) as client:
        answer = await client.get("/twice", headers={"X-Request-Timeout": "2"})
    assert 1.75 <= float(answer.text) <= 2


async def test_requests_do_not_share_their_time(away: MemoryBroker) -> None:
    """Each of two concurrent requests has its own."""
    async with serving(app_of(away)) as client:
        answers = await asyncio.gather(
            *(client.get("/", headers={"X-Request-Timeout": seconds}) for seconds in ("1", "3"))
        )
    assert [round(float(answer.text), 1) for answer in answers] == pytest.approx([0.75, 2.75], abs=0.3)


@pytest.mark.parametrize("around, budget", [(None, 5), (3, 3)], ids=["the profile's", "the server's"])
async def test_background_tasks_have_the_time_there_was_before(
    away: MemoryBroker, around: float | None, budget: float
) -> None:
    """Once the answer is out nobody waits any more: what counts is the profile, or what encloses the server."""
    took: list[float] = []
    app = FastAPI(lifespan=lifespan(publisher_to(away), drain_timeout=0))
    app.add_middleware(DeliveryBudgetMiddleware, default=1)

    async def announce(publisher: Publisher) -> None:
        with pytest.raises(PublishError) as failed:
            await publisher.publish(TaskCreated())
        took.append(failed.value.elapsed)

    @app.get("/")
    async def handler(background: BackgroundTasks, publisher: Annotated[Publisher, Depends(get_publisher)]) -> None:
        background.add_task(announce, publisher)

    async with serving(app) as client:
        with contextlib.nullcontext() if around is None else delivery_budget(around):
            assert (await client.get("/")).status_code == 200
    assert took == [pytest.approx(budget, abs=0.25)]


async def test_a_stream_keeps_its_time_until_its_last_part(away: MemoryBroker) -> None:
    """While parts of the answer are still to come, the client still waits."""

    async def stream(request: Request) -> StreamingResponse:
        publisher = await get_publisher(request)

        async def parts() -> Any:
            yield "began "
            with pytest.raises(UnavailableError) as failed:
                await publisher.publish(TaskCreated())
            yield f"{failed.value.elapsed:.2f}"

        return StreamingResponse(parts())

    async with serving(app_of(away, Route("/stream", stream), default=2)) as client:
        answer = await client.get("/stream")
    assert 1.75 <= float(answer.text.removeprefix("began ")) <= 2


def test_a_websocket_has_no_deadline_of_a_request() -> None:
    """A connection outlives any request: the middleware lets it through, header or not."""

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json((await (await get_publisher(websocket)).publish(TaskCreated())).offset)
        await websocket.close()

    app = app_of(MemoryBroker(), WebSocketRoute("/talk", talk), default=0.001)
    with TestClient(app) as client, client.websocket_connect("/talk", headers={"X-Request-Timeout": "x"}) as websocket:
        assert websocket.receive_json() == 0


def test_a_plain_function_has_the_time_of_its_request_too(away: MemoryBroker) -> None:
    """It runs in a thread, in a copy of the request's context: the portal sees the budget there."""
    app = FastAPI(lifespan=lifespan(publisher_to(away), drain_timeout=0))
    app.add_middleware(DeliveryBudgetMiddleware)

    @app.get("/")
    def handler(publisher: Annotated[Publisher, Depends(get_publisher)]) -> float:
        with pytest.raises(UnavailableError) as failed:
            publisher.portal().publish(TaskCreated())
        return failed.value.elapsed

    with TestClient(app) as client:
        answer = client.get("/", headers={"X-Request-Timeout": "0.4"})
    assert answer.json() == pytest.approx(0.2, abs=0.2)
