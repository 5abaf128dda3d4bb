"""A probe is told what `publisher.health()` says."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.routing import Route

from eventpub.contrib.fastapi import lifespan, readiness
from eventpub.transports.memory import MemoryBroker
from tests.unit.contrib.kit import client_of, publisher_to, serving


async def test_readiness_follows_the_brokers() -> None:
    """200 while an event could be delivered, 503 with the reasons while not, 200 again afterwards."""
    broker = MemoryBroker()
    publisher = publisher_to(broker)
    async with serving(FastAPI(lifespan=lifespan(publisher), routes=[Route("/ready", readiness)])) as client:
        await publisher.wait_ready(5)
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})
        broker.down()
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "reasons": ["memory:1 is down"]})
        broker.up()
        await publisher.wait_ready(5)
        assert (await client.get("/ready")).status_code == 200


async def test_a_publisher_that_drains_is_not_ready() -> None:
    """While the application ends, no new request shall come."""
    publisher = publisher_to(MemoryBroker())
    app = FastAPI()
    app.add_route("/ready", readiness)
    async with publisher:
        pass
    async with client_of(app, {"publisher": publisher}) as client:
        answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["the publisher is closed"])
