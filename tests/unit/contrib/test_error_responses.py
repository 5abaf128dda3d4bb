"""Errors of `publish` that leave a handler reach the client as answers."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from eventpub import DeadLetterError, EventTooLargeError, PossiblyPersistedError, Publisher, PublishError, RejectedError
from eventpub.contrib.fastapi import error_responses, get_publisher, install_error_responses, lifespan
from eventpub.deadletter import DeadLetters
from eventpub.transports.memory import MemoryBroker
from tests.publisher.sinks import FakeSink
from tests.unit.contrib.kit import TaskCreated, publisher_to, serving

SECRET = "the title of a task"


async def create(request: Request) -> PlainTextResponse:
    """Publish, and say where it lies."""
    delivery = await (await get_publisher(request)).publish(TaskCreated(title=SECRET))
    return PlainTextResponse(str(delivery), 201)


def app_of(publisher: Publisher, **handlers: Any) -> Starlette:
    """Return an application that publishes, with error responses."""
    return Starlette(
        routes=[Route("/", create, methods=["POST"])],
        lifespan=lifespan(publisher, drain_timeout=0),
        exception_handlers=error_responses(**handlers),
    )


async def test_with_the_brokers_away_the_client_may_try_again() -> None:
    """503 with Retry-After as a problem; with the brokers back the repetition is confirmed, once."""
    broker = MemoryBroker()
    async with serving(app_of(publisher_to(broker), retry_after=7)) as client:
        broker.down()
        answer = await client.post("/")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["persistence"] == "not persisted"
        assert SECRET not in answer.text
        broker.up()
        assert (await client.post("/")).status_code == 201
    assert len(broker.records("tasks")) == 1


async def test_a_rejection_has_no_retry_after(caplog: pytest.LogCaptureFixture) -> None:
    """500, and one line of level ERROR that says what to change; the client is not told."""
    broker = MemoryBroker()
    broker.reject_next(29)
    async with serving(app_of(publisher_to(broker))) as client:
        answer = await client.post("/")
    assert answer.status_code == 500
    assert "Retry-After" not in answer.headers
    assert "WRITE" not in answer.text
    (line,) = [record for record in caplog.records if record.name == "eventpub.contrib.fastapi"]
    assert line.levelno == logging.ERROR
    assert "grant this client WRITE" in line.getMessage()
    assert SECRET not in caplog.text


async def test_doubt_names_the_id_that_is_in_the_log() -> None:
    """202, and whoever looks for the id finds it."""
    broker = MemoryBroker()
    async with serving(app_of(publisher_to(broker))) as client:
        broker.lose_next_ack(times=1000)
        answer = await client.post("/")
    assert answer.status_code == 202
    assert answer.json()["persistence"] == "possibly persisted"
    (record,) = broker.records("tasks")
    assert answer.json()["event_id"].encode() == dict(record.headers)["ce_id"]


async def test_an_event_kept_as_a_dead_letter_is_answered_with_the_letter() -> None:
    """202 without Retry-After: the letter's id is the one in the sink."""
    broker, sink = MemoryBroker(), FakeSink()
    async with serving(app_of(publisher_to(broker, dead_letters=DeadLetters(sink)))) as client:
        broker.down()
        answer = await client.post("/")
    (letter,) = sink.letters
    assert answer.status_code == 202
    assert "Retry-After" not in answer.headers
    assert answer.json()["persistence"] == "not persisted"
    assert answer.json()["dead_letter"] == {"id": letter.id, "sink": sink.name, "state": "written"}


async def test_a_sink_that_fails_leaves_the_event_with_the_client() -> None:
    """503 with Retry-After, and a receipt that says it is in no sink."""
    broker = MemoryBroker()
    async with serving(
        app_of(publisher_to(broker, dead_letters=DeadLetters(FakeSink(fault=DeadLetterError("full")))))
    ) as client:
        broker.down()
        answer = await client.post("/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["dead_letter"]["state"] == "failed"


async def test_an_application_that_exists_gets_the_same_handlers() -> None:
    """`install_error_responses` is the other way to say it; details are told on request."""
    broker = MemoryBroker()
    broker.down()
    app = FastAPI(lifespan=lifespan(publisher_to(broker)), routes=[Route("/", create, methods=["POST"])])
    install_error_responses(app, retry_after=3, details=True)
    async with serving(app) as client:
        answer = await client.post("/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")
    assert "memory:1 is down" in answer.json()["detail"]


async def test_an_own_handler_of_a_subclass_goes_first() -> None:
    """An application that passes on what clients send may answer 413."""

    async def too_large(request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("too large", 413)

    broker = MemoryBroker()
    app = app_of(publisher_to(broker))
    app.add_exception_handler(EventTooLargeError, too_large)
    async with serving(app) as client:
        broker.reject_next(10)
        assert (await client.post("/")).status_code == 413


def websocket_app(error: PublishError, *, accept: bool = True) -> Starlette:
    """Return an application whose WebSocket ends with *error*."""

    async def talk(websocket: WebSocket) -> None:
        if accept:
            await websocket.accept()
        raise error

    return Starlette(routes=[WebSocketRoute("/", talk)], exception_handlers=error_responses())


@pytest.mark.parametrize(
    "error, code, reason",
    [
        (PublishError("x", event_id="id-1"), 1013, "Event not persisted: id-1"),
        (RejectedError("x", event_id="id-1"), 1011, "Event rejected: id-1"),
        (PossiblyPersistedError("x", event_id="é" * 200), 1011, "Event possibly persisted: " + "é" * 48),
    ],
    ids=["later", "never", "long id"],
)
def test_a_websocket_is_closed_with_a_code_and_the_reason(error: PublishError, code: int, reason: str) -> None:
    """1013 says try again later, 1011 says do not; the reason fits into the 123 bytes of a close frame."""
    client = TestClient(websocket_app(error))
    with client.websocket_connect("/") as websocket, pytest.raises(WebSocketDisconnect) as closed:
        websocket.receive_text()
    assert (closed.value.code, closed.value.reason) == (code, reason)


def test_a_websocket_that_was_not_accepted_is_refused() -> None:
    """An error before the handshake's end is a refusal of it."""
    client = TestClient(websocket_app(RejectedError("x"), accept=False))
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/"):
        pytest.fail("it was accepted")
    assert closed.value.code == 1011


def test_a_websocket_whose_client_has_left_is_left_alone() -> None:
    """An outcome that comes after the client's goodbye is logged and nothing more."""

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive()
        raise RejectedError("x")

    client = TestClient(Starlette(routes=[WebSocketRoute("/", talk)], exception_handlers=error_responses()))
    with client.websocket_connect("/") as websocket:
        websocket.close()
