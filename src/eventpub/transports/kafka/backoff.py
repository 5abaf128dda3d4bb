"""How long to wait before trying a broker again: growing, bounded, and never in step with others."""

from __future__ import annotations

import random
from typing import NamedTuple


class Backoff(NamedTuple):
    """Exponential from *first* to *longest* seconds, each pause ±20 % (KIP-580)."""

    first: float
    longest: float

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after that many failures in a row; none before the first."""
        if failures <= 0:
            return 0.0
        pause = min(self.longest, self.first * 2.0 ** min(failures - 1, 32))
        # Jitter keeps a fleet that lost one broker from coming back to it in one instant.
        return pause * random.uniform(0.8, 1.2)  # noqa: S311 - spread, not a secret


RECONNECT = Backoff(0.05, 1.0)
# Each refusal counts towards a lockout at some identity provider.
REFUSED = Backoff(0.5, 10.0)
