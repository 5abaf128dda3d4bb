"""The Task API of the examples: each outcome is an answer of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx2
import pytest
from starlette.testclient import TestClient

from eventpub.transports.memory import MemoryBroker
from examples.task_api import app as task_api


@pytest.fixture
def broker() -> MemoryBroker:
    """Return the broker behind the API."""
    return MemoryBroker()


@pytest.fixture
def client(broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Run the API, with a budget that a test can wait for."""
    monkeypatch.setattr(task_api, "PROFILE", task_api.PROFILE.replace(delivery_timeout=0.3))
    with TestClient(task_api.create_app(broker)) as client:
        yield client


def on_loop(client: TestClient, verb: Callable[[], object]) -> None:
    """Do something to the broker, on the loop that the API runs on."""
    assert client.portal is not None
    client.portal.call(verb)


def create(client: TestClient, title: str = "Write docs") -> httpx2.Response:
    """Ask for a task."""
    return client.post("/tasks", json={"title": title})


def test_a_confirmed_task_is_answered_with_where_its_event_lies(client: TestClient, broker: MemoryBroker) -> None:
    """201 names topic, partition and offset, and the record is there."""
    answer = create(client)
    assert answer.status_code == 201
    (record,) = broker.records("tasks")
    told = answer.json()
    assert (told["topic"], told["partition"], told["offset"]) == ("tasks", record.partition, record.offset)
    assert (record.key or b"").decode() == told["task_id"]
    assert dict(record.headers)["ce_id"] == told["event_id"].encode()


def test_what_is_certainly_not_persisted_may_be_sent_again(client: TestClient, broker: MemoryBroker) -> None:
    """With the brokers away the answer is 503 with Retry-After; the repetition is confirmed, once."""
    on_loop(client, broker.down)
    answer = create(client)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["persistence"] == "not persisted"
    on_loop(client, broker.up)
    assert create(client).status_code == 201
    assert len(broker.records("tasks")) == 1


def test_a_rejection_does_not_ask_to_be_tried_again(client: TestClient, broker: MemoryBroker) -> None:
    """Without the right to write, a repetition changes nothing: 500, and no Retry-After."""
    broker.reject_next(29)
    answer = create(client)
    assert answer.status_code == 500
    assert "Retry-After" not in answer.headers
    assert "grant this client WRITE" in answer.json()["detail"]


def test_doubt_is_an_answer_of_its_own(client: TestClient, broker: MemoryBroker) -> None:
    """An event whose acknowledgements are lost is 202 with the id that is in the log."""
    broker.lose_next_ack(times=1000)
    answer = create(client)
    assert answer.status_code == 202
    (record,) = broker.records("tasks")
    assert answer.json()["event_id"].encode() == dict(record.headers)["ce_id"]


def test_a_task_without_title_is_no_event(client: TestClient, broker: MemoryBroker) -> None:
    """What the API refuses is not published."""
    assert create(client, title="").status_code == 422
    assert broker.records("tasks") == ()


def test_readiness_follows_the_brokers(client: TestClient, broker: MemoryBroker) -> None:
    """GET /ready is 200 while an event could be delivered, and 503 with reasons while not."""
    assert create(client).status_code == 201
    assert client.get("/ready").json() == {"ready": True, "reasons": []}
    on_loop(client, broker.down)
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["reasons"]
