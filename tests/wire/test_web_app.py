"""A web application as a process of its own, before a broker that is paused, away, and back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator

import httpx2
import psutil
import pytest

from eventpub.testing import EmbeddedKafka
from examples.task_api.server import Server, ServerFailedError, running_server
from support.readback import read_topic

pytestmark = pytest.mark.wire

APP = "tests.web_app:create_app"


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    """Run a broker with a topic."""
    with EmbeddedKafka() as kafka:
        kafka.create_topic("tasks", 2)
        yield kafka


@pytest.fixture
def server(kafka: EmbeddedKafka) -> Iterator[Server]:
    """Run the application."""
    with running_server(kafka.url, APP) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx2.AsyncClient]:
    """Return a client of an application that is ready."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=20) as client:
        await readiness(client, 200)
        yield client


async def readiness(client: httpx2.AsyncClient, status: int) -> httpx2.Response:
    """Wait until the probe is answered with *status*; return that answer."""
    patience = time.monotonic() + 10
    while (answer := await client.get("/ready")).status_code != status:
        assert time.monotonic() < patience, answer.text
        await asyncio.sleep(0.02)
    return answer


def ids_in(kafka: EmbeddedKafka) -> list[str]:
    """Return the id of each record in the topic."""
    records = read_topic(kafka.bootstrap_servers, "tasks")
    return sorted((dict(record.headers)["ce_id"] or b"").decode() for record in records)


async def tell_to_end(server: Server) -> None:
    """Send SIGTERM, and wait until nobody can connect any more."""
    os.kill(server.pid, signal.SIGTERM)
    port = httpx2.URL(server.url).port
    patience = time.monotonic() + 10
    with contextlib.suppress(ConnectionRefusedError):
        while True:
            with contextlib.suppress(ConnectionResetError):  # it was not accepted yet when the listener closed
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
            assert time.monotonic() < patience, "it still takes connections"
            await asyncio.sleep(0.02)


async def until_gone(server: Server) -> None:
    """Wait for the end of the process, which its parent has yet to hear of."""
    patience = time.monotonic() + 15
    while psutil.Process(server.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < patience, "it did not end"
        await asyncio.sleep(0.05)


async def test_an_event_is_confirmed_and_there(kafka: EmbeddedKafka, client: httpx2.AsyncClient) -> None:
    """201 has the id of the one record in the topic."""
    answer = await client.post("/tasks")
    assert answer.status_code == 201
    assert ids_in(kafka) == [answer.json()["event_id"]]


async def test_while_the_broker_is_away_the_answer_is_503(kafka: EmbeddedKafka, client: httpx2.AsyncClient) -> None:
    """Within the time of the request, and with Retry-After; afterwards the repetition is there, once."""
    kafka.down()
    answer = await client.post("/tasks", headers={"X-Request-Timeout": "1"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["persistence"] == "not persisted"
    assert re.search(r" of 0\.7\d* s", answer.json()["detail"])
    assert (await readiness(client, 503)).json()["reasons"]
    kafka.up()
    await readiness(client, 200)
    again = await client.post("/tasks")
    assert again.status_code == 201
    assert ids_in(kafka) == [again.json()["event_id"]]


async def test_an_unanswered_request_is_202_with_the_id(kafka: EmbeddedKafka, client: httpx2.AsyncClient) -> None:
    """The broker wrote the event and says nothing: the id of the answer is found in the topic."""
    assert (await client.post("/tasks")).status_code == 201  # connects, and learns of the topic
    kafka.pause()
    answer = await client.post("/tasks", headers={"X-Request-Timeout": "1"})
    kafka.resume()
    assert answer.status_code == 202
    assert answer.json()["persistence"] == "possibly persisted"
    assert answer.json()["event_id"] in ids_in(kafka)


@pytest.mark.parametrize("path", ["/later", "/background"])
async def test_what_was_accepted_is_drained_at_the_end(
    path: str, kafka: EmbeddedKafka, server: Server, client: httpx2.AsyncClient
) -> None:
    """SIGTERM while the broker is away: what was answered before is in the topic afterwards, once."""
    kafka.down()
    answers = [await client.post(path) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    await tell_to_end(server)
    await asyncio.sleep(0.5)  # a server without anything to wait for would be gone by now
    kafka.up()
    await until_gone(server)
    assert ids_in(kafka) == sorted(answer.json()["event_id"] for answer in answers)


async def test_who_asked_before_the_end_is_answered(
    kafka: EmbeddedKafka, server: Server, client: httpx2.AsyncClient
) -> None:
    """A request that waits for its acknowledgement when SIGTERM comes gets its 201."""
    assert (await client.post("/tasks")).status_code == 201  # connects, and learns of the topic
    kafka.pause()
    waiting = asyncio.create_task(client.post("/tasks"))
    await asyncio.sleep(0.3)  # until it is on its way
    await tell_to_end(server)
    kafka.resume()
    answer = await waiting
    assert answer.status_code == 201
    assert answer.json()["event_id"] in ids_in(kafka)


def test_an_eager_application_does_not_start_without_broker() -> None:
    """The server ends by itself, and its log says what kept it."""
    with (
        pytest.raises(ServerFailedError) as failed,
        running_server("kafka://127.0.0.1:1", "tests.web_app:create_eager_app"),
    ):
        pytest.fail("it started")
    assert "StartError: not connected within start_timeout (1 s)" in str(failed.value)
    assert "Application startup failed" in str(failed.value)
