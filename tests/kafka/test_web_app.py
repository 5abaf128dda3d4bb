"""A web application that is told to end in the middle of its work: what it answered is true."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2
import pytest

from examples.task_api.server import Server, running_server
from support.readback import read_topic
from tests import web_app

if TYPE_CHECKING:
    from support.fault_proxy import FaultProxy
    from support.kafka_node import ApacheKafka
    from tests.fix_kafka import MakeTopic

USERS = 20
ENOUGH = 400  # confirmed, before the end begins


@dataclass
class Answers:
    """The event ids that were told, by what was said of them."""

    persisted: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)
    not_persisted: list[str] = field(default_factory=list)
    unanswered: int = 0

    def note(self, answer: httpx2.Response) -> None:
        """Sort one answer in."""
        body = answer.json()
        match answer.status_code:
            case 201:
                self.persisted.append(body["event_id"])
            case 200:
                self.accepted.append(body["event_id"])
            case 202:
                self.doubtful.append(body["event_id"])
            case 503:
                self.not_persisted.append(body["event_id"])
            case other:
                pytest.fail(f"{other}: {answer.text}")


async def use(client: httpx2.AsyncClient, path: str, answers: Answers) -> None:
    """Send one request after the other until the server is gone."""
    while True:
        try:
            answers.note(await client.post(path, headers={"X-Request-Timeout": "0.8"}))
        except httpx2.TransportError:
            answers.unanswered += 1
            return


async def load(server: Server, proxy: FaultProxy) -> Answers:
    """Let everybody work, lose acknowledgements, end the server while no broker answers; return what it said."""
    answers = Answers()
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as client, asyncio.TaskGroup() as group:
        for user in range(USERS):
            group.create_task(use(client, "/tasks" if user % 5 else "/later", answers))
        for _ in range(3):  # requests that time out are left in doubt, what was accepted is sent again
            seen = len(answers.persisted)
            await proxy.swallow_next_ack().happened()
            await reached(answers, seen + ENOUGH // 3)
        silence = proxy.stop_reading()
        await silence.happened()
        os.kill(server.pid, signal.SIGTERM)
        await asyncio.sleep(2)  # all requests have their answers by now, and what was accepted waits for the drain
        silence.stop()
    return answers


async def reached(answers: Answers, confirmed: int) -> None:
    """Wait until that many are confirmed."""
    async with asyncio.timeout(60):
        while len(answers.persisted) < confirmed:  # noqa: ASYNC110 - several users add to it
            await asyncio.sleep(0.01)


async def test_nothing_accepted_is_lost_at_the_end(
    kafka_node: ApacheKafka, kafka_proxy: FaultProxy, kafka_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM under load and lost acknowledgements: what was answered 2xx is in the topic once, 202 at most once.

    And 503 is in it never. Whoever got no answer may have been served or not.
    """
    topic = kafka_topic(4)
    monkeypatch.setenv(web_app.TOPIC, topic)
    with running_server(kafka_proxy.url, "tests.web_app:create_app") as server:
        answers = await load(server, kafka_proxy)
    found = Counter(
        (dict(record.headers)["ce_id"] or b"").decode() for record in read_topic(kafka_node.bootstrap_servers, topic)
    )
    assert set(found.values()) == {1}
    promised = answers.persisted + answers.accepted
    assert [id_ for id_ in promised if id_ not in found] == []
    assert [id_ for id_ in answers.not_persisted if id_ in found] == []
    assert answers.doubtful  # else the faults showed nothing
    unexplained = set(found) - set(promised) - set(answers.doubtful)
    assert len(unexplained) <= answers.unanswered
