"""Plays random schedules by their seeds, and says how the one that failed is played again.

``EVENTPUB_SEED=n`` plays one schedule; ``EVENTPUB_SCHEDULES=n`` changes how many are played.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def play(schedule: Callable[[int], object], count: int) -> None:
    """Call *schedule* with *count* seeds that no other run has used."""
    for seed in _seeds(count):
        try:
            schedule(seed)
        except BaseException as error:
            error.add_note(f"EVENTPUB_SEED={seed} plays this schedule again")
            raise


def _seeds(count: int) -> range:
    if (seed := os.environ.get("EVENTPUB_SEED")) is not None:
        return range(int(seed), int(seed) + 1)
    # Not from `random` itself: pytest-randomly seeds that, and would repeat its own runs only.
    first = random.SystemRandom().randrange(2**40)
    return range(first, first + int(os.environ.get("EVENTPUB_SCHEDULES", str(count))))
