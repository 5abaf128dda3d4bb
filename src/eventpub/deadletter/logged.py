"""A record as it lies in a log, whoever read it there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from eventpub.record import Headers


class Logged(Protocol):
    """A record as a reader of some topic found it."""

    @property
    def topic(self) -> str:
        """The topic it was read from."""

    @property
    def partition(self) -> int:
        """The partition it was read from."""

    @property
    def offset(self) -> int:
        """Its place there."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its value."""

    @property
    def headers(self) -> Headers:
        """Its headers, in order."""

    @property
    def timestamp(self) -> int | None:
        """Milliseconds since the epoch; ``None`` where the topic sets times of its own."""
