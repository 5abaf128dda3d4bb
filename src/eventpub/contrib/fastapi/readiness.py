"""Tells a load balancer whether events can be delivered."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse

from eventpub.contrib.fastapi.dependency import get_publisher


async def readiness(request: Request) -> JSONResponse:
    """Answer 200 when an event published now could be delivered, else 503 with the reasons.

    A route: ``app.add_route("/ready", readiness)``. The reasons name brokers: keep the route
    inside the cluster. It says *ready*, not *alive*: a restart brings no broker back.
    """
    health = (await get_publisher(request)).health()
    return JSONResponse({"ready": health.ready, "reasons": health.reasons}, 200 if health else 503)
