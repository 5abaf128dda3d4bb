"""Log lines that would repeat: the first of a kind at once, then at most one a minute that counts the others.

Decides when a line is due and keeps no clock and no text. A line that is not due is counted, and told
with the next one that is: nothing waits for a timer.
"""

from __future__ import annotations

from collections.abc import Hashable

PAUSE = 60.0  # seconds between two lines of one kind
KINDS = 200  # told apart; what comes beyond them shares one line a minute

_OTHERS = object()


class _Kind:
    __slots__ = ("told_at", "untold")

    def __init__(self) -> None:
        self.told_at = float("-inf")
        self.untold = 0


class LogLimiter:
    """When each kind of line was told last, and how many were not told since."""

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[Hashable, _Kind] = {}

    def due(self, kind: Hashable, now: float) -> int | None:
        """Return how many of *kind* were not told since its last line, ``None`` if this one is not to be told either."""
        known = self._kinds.get(kind) or self._new(kind, now)
        if now - known.told_at < PAUSE:
            known.untold += 1
            return None
        untold, known.untold, known.told_at = known.untold, 0, now
        return untold

    def _new(self, kind: Hashable, now: float) -> _Kind:
        if len(self._kinds) >= KINDS:
            self._kinds = {name: known for name, known in self._kinds.items() if now - known.told_at < PAUSE}
        if len(self._kinds) >= KINDS:
            kind = _OTHERS
        return self._kinds.setdefault(kind, _Kind())


def and_more(untold: int) -> str:
    """Return the words for *untold* lines that were kept back."""
    return f" (and {untold} more since the last such line)" if untold else ""
