"""The `Recorder` of an engine that nobody watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventpub.record import Headers


class NoOpRecorder:
    """Notes nothing."""

    def _nothing(self, *_: object) -> None:
        return None

    def started(self, *_: object) -> tuple[Headers, None]:
        """See `Recorder.started`."""
        return (), None

    watch = refused = many = many_cut = waited = attempt = _nothing
    ended = delivered = late = writing = written = dead_letter = close = _nothing
