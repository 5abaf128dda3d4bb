"""A place for dead letters that does as the test says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventpub.exceptions import DeadLetterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpub.letter import DeadLetter, Resolution


class FakeSink:
    """Keeps letters in a list, after ``takes`` seconds, unless ``fault`` says otherwise."""

    def __init__(self, name: str = "shelf", takes: float = 0.0, fault: DeadLetterError | None = None) -> None:
        self.name = name
        self.takes = takes
        self.fault = fault
        self.known_trouble: str | None = None
        self.resolving_takes = 0.0
        self.closing_takes = 0.0
        self.closing_fault: Exception | None = None
        self.letters: list[DeadLetter] = []
        self.resolutions: list[Resolution] = []
        self.groups: list[int] = []
        self.given: list[tuple[float, float]] = []  # when, and until when
        self.state = "new"

    async def open(self) -> None:
        """Note it."""
        self.state = "open"

    def trouble(self) -> str | None:
        """Say what the test says."""
        return self.known_trouble

    async def write(self, letters: Sequence[DeadLetter], deadline: float, /) -> Sequence[DeadLetterError | None]:
        """Keep them, or not."""
        self.groups.append(len(letters))
        self.given.append((asyncio.get_running_loop().time(), deadline))
        await asyncio.sleep(self.takes)
        if self.fault is not None:
            return [self.fault] * len(letters)
        self.letters += letters
        return [None] * len(letters)

    async def resolve(self, resolutions: Sequence[Resolution], deadline: float, /) -> None:
        """Keep them."""
        assert self.state == "open"
        await asyncio.sleep(self.resolving_takes)
        self.resolutions += resolutions

    async def aclose(self, deadline: float, /) -> None:
        """Note it, unless told to fail."""
        await asyncio.sleep(self.closing_takes)
        if self.closing_fault is not None:
            raise self.closing_fault
        self.state = "closed"
