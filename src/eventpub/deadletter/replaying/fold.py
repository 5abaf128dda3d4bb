"""What became of each letter: letters and resolutions, read in any order, folded by id.

Decides which of several resolutions counts. What that makes of a letter is said by
`eventpub.deadletter.spooling.store.StoredLetter`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventpub.letter import DeadLetter, Resolution

_RANKS = {"not persisted": 1, "replayed": 2, "persisted": 3}


def stronger(one: Resolution | None, other: Resolution | None) -> Resolution | None:
    """Return the resolution that counts: *persisted* beats *replayed* beats *not persisted* beats none.

    Of two alike it is the one that names an offset, and else the first.
    """
    return max(one, other, key=_weight)


def _weight(resolution: Resolution | None) -> tuple[int, bool]:
    return (0, False) if resolution is None else (_RANKS[resolution.verdict], resolution.offset is not None)


class Fold:
    """What was said of each letter so far, by id. It keeps ids and resolutions, and no letter."""

    def __init__(self) -> None:
        self._resolutions: dict[str, Resolution] = {}
        self._replays: dict[str, int] = {}

    def note(self, letter: DeadLetter) -> None:
        """Take in a letter, perhaps written again because a replay of it has failed."""
        self._replays[letter.id] = max(letter.replays, self._replays.get(letter.id, 0))

    def resolve(self, resolution: Resolution) -> None:
        """Take in what became of a letter that may not have been read yet."""
        found = stronger(self._resolutions.get(resolution.id), resolution)
        if found is not None:
            self._resolutions[resolution.id] = found

    def resolution(self, letter_id: str) -> Resolution | None:
        """Return what became of a letter, ``None`` while nothing did."""
        return self._resolutions.get(letter_id)

    def replays(self, letter_id: str) -> int:
        """Return how many replays of a letter have failed."""
        return self._replays.get(letter_id, 0)
