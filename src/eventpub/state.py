"""Where a publisher is in its life, and whether it can deliver now."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class PublisherState(enum.Enum):
    """new → opening → open → draining → closed. Readiness is a property of *open*, not a state."""

    NEW = "new"
    OPENING = "opening"
    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Health:
    """Whether an event published now could be delivered now, and if not, why.

    ``bool(health)`` is its readiness, so that a probe can say ``if publisher.health(): ...``.
    """

    ready: bool
    reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.ready

    def __str__(self) -> str:
        return "ready" if self.ready else f"not ready: {'; '.join(self.reasons)}"
