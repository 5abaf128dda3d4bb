"""Hands the publisher of the lifespan to a handler."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from eventpub.contrib.fastapi.lifespan import KEY
from eventpub.exceptions import UsageError
from eventpub.publisher import Publisher


async def get_publisher(connection: HTTPConnection) -> Publisher:
    """Return the publisher that the lifespan opened, for an HTTP request or a WebSocket.

    In FastAPI a dependency, ``Annotated[Publisher, Depends(get_publisher)]``; in Starlette
    ``await get_publisher(request)``.

    Raises:
        UsageError: the application was started without `lifespan`, or without any.
    """
    publisher: Publisher | None = getattr(connection.state, KEY, None)
    if publisher is None:
        raise UsageError(
            "no publisher in the state of this request: give the application lifespan=lifespan(publisher),"
            " and in tests enter its lifespan (`with TestClient(app) as client`)"
        )
    return publisher
