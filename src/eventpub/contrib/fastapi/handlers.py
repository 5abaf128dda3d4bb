"""Turns a `PublishError` that leaves a handler into an answer; what it says is decided in `problem`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketState

from eventpub.contrib.fastapi.problem import body_of, problem_of
from eventpub.exceptions import PublishError, RejectedError

_log = logging.getLogger("eventpub.contrib.fastapi")

MEDIA_TYPE = "application/problem+json"

_TRY_AGAIN_LATER, _INTERNAL_ERROR = 1013, 1011  # WebSocket close codes
_LONGEST_REASON = 123  # bytes, RFC 6455

# What FastAPI asks for; `Any`, because one handler serves requests and WebSockets.
Handlers = dict[int | type[Exception], Callable[[Any, Any], Coroutine[Any, Any, Any]]]


def error_responses(*, retry_after: int = 1, details: bool = False) -> Handlers:
    """Return handlers for ``FastAPI(exception_handlers=...)`` that tell a client what became of its event.

    =========================================  ====  ============================
    error                                      code  send the request again?
    =========================================  ====  ============================
    `RejectedError`                            500   no: something must change
    other `NotPersistedError`                  503   yes, after ``Retry-After``
    the same, kept as a dead letter            202   no: it may be written later
    `PossiblyPersistedError`                   202   not blindly
    =========================================  ====  ============================

    The body is a problem of RFC 9457, ``application/problem+json``, with ``persistence``,
    ``retryable``, ``event_id`` and, where there is one, ``dead_letter`` (id, sink, state). It holds
    no key and no payload. Why these codes: the docstring of `eventpub.contrib.fastapi.problem`.

    Each error is logged, since nobody else will see it. A WebSocket is closed with code 1013
    (try again later) for a 503, else with 1011. An application's own handler for a subclass
    (``EventTooLargeError: ...``, say, to answer 413) goes before these.

    Args:
        retry_after: seconds that a 503 asks the client to wait.
        details: put the error's own message into the body. It names topics, settings and brokers:
            for clients that may know them.
    """

    async def answer(connection: HTTPConnection, error: Exception) -> Response | None:
        assert isinstance(error, PublishError)  # noqa: S101 - it is what this is registered for
        problem = problem_of(error)
        level = logging.ERROR if isinstance(error, RejectedError) else logging.WARNING
        facts = {"line": "http.answered", "event_id": error.event_id, "topic": error.topic, "status": problem.status}
        _log.log(level, "answered %d, event %s: %s", problem.status, error.event_id, error, extra=facts)
        if isinstance(connection, WebSocket):
            await _close(connection, error)
            return None
        headers = {"Retry-After": str(retry_after)} if problem.retryable else None
        return JSONResponse(body_of(error, details=details), problem.status, headers, MEDIA_TYPE)

    return {PublishError: answer}


def install_error_responses(app: Starlette, *, retry_after: int = 1, details: bool = False) -> None:
    """Give an application that exists already the handlers of `error_responses`."""
    for kind, handler in error_responses(retry_after=retry_after, details=details).items():
        app.add_exception_handler(kind, handler)


async def _close(websocket: WebSocket, error: PublishError) -> None:
    if WebSocketState.DISCONNECTED in {websocket.client_state, websocket.application_state}:
        return
    problem = problem_of(error)
    reason = f"{problem.title}: {error.event_id}".encode()[:_LONGEST_REASON].decode(errors="ignore")
    await websocket.close(_TRY_AGAIN_LATER if problem.retryable else _INTERNAL_ERROR, reason)
