"""A transport of the kind that users write: with coroutines only, and none of what is optional."""

from __future__ import annotations

from typing import Any

from eventpub.abc import Transport

_OPTIONAL = ("known_producer_id", "is_ready", "call_when_ready", "post")


class NoCallbacks:
    """*transport*, without `CallbackTransport`'s methods."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"<NoCallbacks {self._transport!r}>"

    def __getattr__(self, name: str) -> Any:
        if name in _OPTIONAL:
            raise AttributeError(name)
        return getattr(self._transport, name)
