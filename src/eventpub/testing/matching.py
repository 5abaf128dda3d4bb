"""Which of the expected is which of the found, so that as many as possible have their own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

Fits = Callable[[int, int], bool]


def matched(wanted: int, places: int, fits: Fits) -> dict[int, int]:
    """Return for as many as possible of the numbers below *wanted* a place below *places* that fits.

    No place is given twice. Something vague ("any task.created") makes room for something exact
    that fits in one place only; taking the first that fits would not.
    """
    holders: dict[int, int] = {}  # who has the place

    def settle(number: int, tried: set[int]) -> bool:
        # Mostly the log has the order of the expected, so its own place is looked at first.
        for place in chain(range(number, places), range(min(number, places))):
            if place in tried or not fits(number, place):
                continue
            tried.add(place)
            if place not in holders or settle(holders[place], tried):
                holders[place] = number
                return True
        return False

    for number in range(wanted):
        settle(number, set())
    return {number: place for place, number in holders.items()}
