"""A place for dead letters with moods: what a user's own sink may do to its publisher."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

from eventpub.exceptions import DeadLetterError
from eventpub.letter import DeadLetter, Resolution

_FOR_EVER = 3_600.0  # seconds

TEMPERS: Mapping[str, Mapping[str, int]] = {
    "steady": {"keeps": 1},
    "slow": {"keeps": 1, "dawdles": 3, "hangs": 1},
    "moody": {
        "keeps": 4,
        "dawdles": 2,
        "refuses": 2,
        "picks": 2,
        "doubts": 2,
        "keeps in doubt": 2,
        "hangs": 1,
        "keeps and hangs": 1,
        "raises": 1,
        "miscounts": 1,
    },
    "away": {"refuses": 3, "doubts": 1, "hangs": 1},
}
"""By temper, how likely each mood is."""


class Shelf:
    """Keeps letters in memory, as its mood of the moment says."""

    def __init__(self, name: str, temper: str, chance: random.Random) -> None:
        self.name = name
        self.kept: list[DeadLetter | Resolution] = []
        self._temper = temper
        self._chance = chance
        self._open = False

    async def open(self) -> None:
        """Begin."""
        self._open = True

    def trouble(self) -> str | None:
        """Say now and then that a write would fail."""
        often = {"steady": 0.0, "away": 0.5}.get(self._temper, 0.05)
        return "it is known to be away" if self._chance.random() < often else None

    async def write(self, letters: Sequence[DeadLetter], deadline: float, /) -> Sequence[DeadLetterError | None]:
        """Keep *letters*, some of them, or none, soon, late or never."""
        if not self._open:
            raise RuntimeError("a letter was given to a closed sink")
        moods = TEMPERS[self._temper]
        mood = self._chance.choices(list(moods), list(moods.values()))[0]
        refused, doubtful = DeadLetterError("it is full"), DeadLetterError("no answer came", in_doubt=True)
        if mood in {"keeps in doubt", "keeps and hangs", "miscounts"}:
            self.kept += letters
        if mood == "raises":
            raise OSError("the disk is gone")
        if mood == "picks":
            taken = [self._chance.random() < 0.5 for _ in letters]
            self.kept += (letter for letter, took in zip(letters, taken, strict=True) if took)
            return [None if took else refused for took in taken]
        if mood in {"refuses", "doubts", "keeps in doubt"}:
            return [refused if mood == "refuses" else doubtful] * len(letters)
        if mood == "miscounts":
            return [None] * (len(letters) + 1)
        await asyncio.sleep(self._takes(mood, deadline))
        self.kept += letters
        return [None] * len(letters)

    def _takes(self, mood: str, deadline: float) -> float:
        if mood in {"hangs", "keeps and hangs"}:
            return _FOR_EVER
        if mood == "keeps":
            return self._chance.choice([0.0, 0.0, 0.001, 0.02])
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        return left * self._chance.choice([0.1, 0.5, 0.9, 1.0, 1.1])

    async def resolve(self, resolutions: Sequence[Resolution], _deadline: float, /) -> None:
        """Keep what became of letters, mostly."""
        if self._temper != "steady" and self._chance.random() < 0.1:
            raise DeadLetterError("it takes nothing now")
        self.kept += resolutions

    async def aclose(self, _deadline: float, /) -> None:
        """End."""
        self._open = False
