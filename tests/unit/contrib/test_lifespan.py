"""The publisher lives as long as the application, whatever else the application's lifespan does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from eventpub import CRITICAL, Publisher, PublisherState, StartError, UsageError
from eventpub.contrib.fastapi import get_publisher, lifespan
from eventpub.transports.memory import MemoryBroker
from tests.unit.contrib.kit import TaskCreated, client_of, publisher_to, serving


@pytest.fixture
def broker() -> MemoryBroker:
    """Return the broker behind the application."""
    return MemoryBroker()


async def create(request: Request) -> PlainTextResponse:
    """Publish, and say where it lies."""
    delivery = await (await get_publisher(request)).publish(TaskCreated())
    return PlainTextResponse(f"{delivery.topic}@{delivery.offset}")


async def test_it_is_open_while_the_application_runs_and_closed_afterwards(broker: MemoryBroker) -> None:
    """A handler publishes with it; after the application's end it is closed."""
    publisher = publisher_to(broker)
    app = Starlette(routes=[Route("/", create)], lifespan=lifespan(publisher))
    assert repr(publisher) == "<Publisher new>"
    async with serving(app) as client:
        assert (await client.get("/")).text == "tasks@0"
    assert publisher.state is PublisherState.CLOSED


async def test_the_end_drains_what_nobody_waits_for(broker: MemoryBroker) -> None:
    """An event published without waiting, just before the end, is in the log after it."""
    publisher = publisher_to(broker)
    broker.latency(2)
    async with serving(Starlette(lifespan=lifespan(publisher))):
        publisher.publish_nowait(TaskCreated())
        assert broker.records("tasks") == ()
    assert len(broker.records("tasks")) == 1


async def test_the_drain_has_the_time_it_was_given(broker: MemoryBroker) -> None:
    """With drain_timeout=0 an event that cannot be delivered ends at once, instead of after its budget."""
    publisher = publisher_to(broker)
    broker.down()
    async with serving(Starlette(lifespan=lifespan(publisher, drain_timeout=0))):
        pending = publisher.publish_nowait(TaskCreated())
    assert pending.done()
    (unconfirmed,) = (await publisher.aclose()).unconfirmed
    assert unconfirmed.elapsed < 1


async def test_the_own_lifespan_runs_inside_and_its_state_is_merged(broker: MemoryBroker) -> None:
    """It may publish when it begins and when it ends, and requests see what it yields."""
    publisher = publisher_to(broker)
    seen: list[Any] = []

    @asynccontextmanager
    async def inner(app: Starlette) -> AsyncIterator[dict[str, str]]:
        seen.append(app)
        await publisher.publish(TaskCreated(title="began"))
        yield {"greeting": "hello"}
        await publisher.publish(TaskCreated(title="ended"))

    async def greet(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.state.greeting} {request.state.publisher.state.value}")

    app = Starlette(routes=[Route("/", greet)], lifespan=lifespan(publisher, inner))
    async with serving(app) as client:
        assert (await client.get("/")).text == "hello open"
    assert seen == [app]
    assert [b'"ended"' in (record.value or b"") for record in broker.records("tasks")] == [False, True]


async def test_an_own_lifespan_may_yield_nothing(broker: MemoryBroker) -> None:
    """A stateless lifespan is wrapped likewise."""

    @asynccontextmanager
    async def inner(app: Starlette) -> AsyncIterator[None]:
        yield

    app = Starlette(routes=[Route("/", create)], lifespan=lifespan(publisher_to(broker), inner))
    async with serving(app) as client:
        assert (await client.get("/")).text == "tasks@0"


async def test_an_own_lifespan_that_fails_closes_the_publisher(broker: MemoryBroker) -> None:
    """Its error ends the start, and nothing stays open behind it."""
    publisher = publisher_to(broker)

    @asynccontextmanager
    async def inner(app: Starlette) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    with pytest.raises(OSError, match="no database"):
        async with serving(Starlette(lifespan=lifespan(publisher, inner))):
            pytest.fail("it started")
    assert publisher.state is PublisherState.CLOSED


async def test_an_own_lifespan_cannot_replace_the_publisher(broker: MemoryBroker) -> None:
    """A state that holds a `publisher` already is refused, instead of one of the two being lost."""

    @asynccontextmanager
    async def inner(app: Starlette) -> AsyncIterator[dict[str, str]]:
        yield {"publisher": "O'Reilly"}

    with pytest.raises(UsageError, match="give it another name"):
        async with serving(Starlette(lifespan=lifespan(publisher_to(broker), inner))):
            pytest.fail("it started")


async def test_a_start_without_broker_fails_where_that_was_asked_for(broker: MemoryBroker) -> None:
    """An eager publisher's StartError says what kept it, and ends the start of the application."""
    broker.down()
    publisher = publisher_to(broker, connect="eager", start_timeout=1)
    with pytest.raises(StartError, match=r"not connected within start_timeout \(1 s\): memory:1 is down"):
        async with serving(Starlette(lifespan=lifespan(publisher))):
            pytest.fail("it started")
    assert publisher.state is PublisherState.CLOSED


async def test_a_mounted_application_sees_the_publisher_of_the_outer_one(broker: MemoryBroker) -> None:
    """Only the outermost lifespan runs, and its state is everywhere below."""
    inside = FastAPI()

    @inside.get("/create")
    async def create_there(publisher: Annotated[Publisher, Depends(get_publisher)]) -> int | None:
        return (await publisher.publish(TaskCreated())).offset

    app = Starlette(routes=[Mount("/inside", inside), Route("/", create)], lifespan=lifespan(publisher_to(broker)))
    async with serving(app) as client:
        assert (await client.get("/")).text == "tasks@0"
        assert (await client.get("/inside/create")).json() == 1


async def test_several_applications_share_a_publisher_that_is_open(broker: MemoryBroker) -> None:
    """Who opened it closes it: the end of one application takes nothing from the other."""
    async with publisher_to(broker) as publisher, AsyncExitStack() as stack:
        apps = [Starlette(routes=[Route("/", create)], lifespan=lifespan(publisher)) for _ in range(2)]
        async with serving(apps[0]) as first:
            second = await stack.enter_async_context(serving(apps[1]))
            assert (await first.get("/")).text == "tasks@0"
        assert (await second.get("/")).text == "tasks@1"
        assert publisher.state is PublisherState.OPEN


async def test_a_function_makes_a_publisher_for_each_start(broker: MemoryBroker) -> None:
    """An application that starts twice, as in tests, has a new publisher the second time."""
    app = Starlette(routes=[Route("/", create)], lifespan=lifespan(lambda: publisher_to(broker)))
    for expected in ("tasks@0", "tasks@1"):
        async with serving(app) as client:
            assert (await client.get("/")).text == expected


async def test_a_second_start_with_the_same_publisher_says_what_to_do(broker: MemoryBroker) -> None:
    """A publisher opens once: the message names the function to give instead."""
    app = Starlette(lifespan=lifespan(publisher_to(broker)))
    async with serving(app):
        pass
    with pytest.raises(UsageError, match=r"is closed, .* lifespan\(lambda: Publisher\(\.\.\.\)\)"):
        async with serving(app):
            pytest.fail("it started")


@pytest.mark.parametrize("wrong", ["kafka://localhost:9092", None], ids=["url", "nothing"])
def test_a_lifespan_of_something_else_is_refused_where_it_is_written(wrong: Any) -> None:
    """A target is no publisher: the message says so before anything starts."""
    with pytest.raises(UsageError, match="takes a Publisher, or a function that makes one"):
        lifespan(wrong)


async def test_a_request_without_publisher_says_what_is_missing() -> None:
    """Without the lifespan the dependency names it."""
    app = Starlette(routes=[Route("/", create)])
    async with client_of(app, {}) as client:
        with pytest.raises(UsageError, match=r"lifespan=lifespan\(publisher\)"):
            await client.get("/")


def test_a_websocket_has_the_same_publisher(broker: MemoryBroker) -> None:
    """In FastAPI by the same dependency, in Starlette by the same call."""

    async def plain(websocket: WebSocket) -> None:
        await websocket.accept()
        delivery = await (await get_publisher(websocket)).publish(TaskCreated())
        await websocket.send_json(delivery.offset)
        await websocket.close()

    app = FastAPI(
        lifespan=lifespan(Publisher(broker, source="/tests", profile=CRITICAL.replace(delivery_timeout=5))),
        routes=[WebSocketRoute("/plain", plain)],
    )

    @app.websocket("/injected")
    async def injected(websocket: WebSocket, publisher: Annotated[Publisher, Depends(get_publisher)]) -> None:
        await websocket.accept()
        delivery = await publisher.publish(TaskCreated())
        await websocket.send_json(delivery.offset)
        await websocket.close()

    with TestClient(app) as client:
        for offset, path in enumerate(("/plain", "/injected")):
            with client.websocket_connect(path) as websocket:
                assert websocket.receive_json() == offset
