"""Makes the time a client is willing to wait the budget of what its request publishes."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventpub.budget import ENCLOSING_DEADLINE, delivery_budget
from eventpub.contrib.fastapi.handlers import MEDIA_TYPE
from eventpub.profile import Seconds, as_seconds

_FOR_THE_ANSWER = 0.25  # a publish may end that much after its budget


class DeliveryBudgetMiddleware:
    """Puts each HTTP request under a `delivery_budget`: ``app.add_middleware(DeliveryBudgetMiddleware, default=5)``.

    The client says in a header how many seconds it waits, ``X-Request-Timeout: 2.5``; every
    publish of the request ends so that the answer is there by then (250 ms before, or at half
    of a time that is shorter than 0.5 s). A budget only shortens: no client gets more than the
    profile's ``delivery_timeout``. A value that is no positive number is answered with 400.

    Once the answer is out the budget no longer counts, so that background tasks have that of
    their profile. (Not if a ``BaseHTTPMiddleware``, which runs the application in a task of its
    own, lies between: add this one before such, so that it is the inner one.) WebSockets have none.

    Args:
        app: the application.
        header: where the client says it.
        default: seconds, for requests without the header; ``None`` is no budget but the profile's.
    """

    def __init__(self, app: ASGIApp, *, header: str = "X-Request-Timeout", default: Seconds | None = None) -> None:
        self.app = app
        self._header = header
        self._default = None if default is None else as_seconds("default", default)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            seconds = self._seconds(scope)
        except ValueError:
            await self._refusal()(scope, receive, send)
            return
        if seconds is None:
            await self.app(scope, receive, send)
            return
        outside = ENCLOSING_DEADLINE.get()

        async def send_and_lift(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                ENCLOSING_DEADLINE.set(outside)

        with delivery_budget(seconds - min(_FOR_THE_ANSWER, seconds / 2)):
            await self.app(scope, receive, send_and_lift)

    def _seconds(self, scope: Scope) -> float | None:
        said = Headers(scope=scope).get(self._header)
        return self._default if said is None else as_seconds(self._header, float(said))

    def _refusal(self) -> JSONResponse:
        body = {
            "type": "urn:problem-type:eventpub:invalid-timeout",
            "title": f"Invalid {self._header}",
            "status": 400,
            "detail": f"{self._header} is a positive number of seconds, such as 2.5.",
        }
        return JSONResponse(body, 400, media_type=MEDIA_TYPE)
