"""Where a replay takes letters from: the seam, and a spool as one of them.

Decides how letters are got, and where what became of them is noted besides the journal. Every
call blocks. A topic as a source is in ``topic_source``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from eventpub.deadletter.spooling.store import Store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from eventpub.config import KafkaConfig
    from eventpub.deadletter.spooling.store import StoredLetter
    from eventpub.letter import DeadLetter, Resolution
    from eventpub.record import Record
    from eventpub.transports.memory import MemoryBroker


_PAGE = 200


class Source(Protocol):
    """A place that holds letters; between `open` and `close` it belongs to one thread at a time."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def journal(self) -> Path | None:
        """The journal's file where it lies in the place itself, ``None`` if one has to be named."""

    @property
    def config(self) -> KafkaConfig | MemoryBroker | None:
        """The cluster that `failed` and `resolved` return records for."""

    @property
    def unreadable(self) -> int:
        """How many entries nobody can read, as far as it was read."""

    def open(self) -> None:
        """Look at it for the first time.

        Raises:
            ConfigurationError: there is no such place, or nothing to read it with.
        """

    def read(self, *, open_only: bool = True) -> Iterator[StoredLetter]:
        """Yield each letter once, those of one key in the order published, with what became of it."""

    def find(self, ids: Collection[str]) -> dict[str, DeadLetter]:
        """Return those letters of *ids* that are here."""

    def failed(self, letters: Sequence[DeadLetter]) -> list[Record]:
        """Count one more failed replay of *letters*; return what has to be published for that."""

    def resolved(self, resolutions: Sequence[Resolution]) -> list[Record]:
        """Return what has to be published so that other readers learn what the journal knows."""

    def close(self) -> None:
        """Give up what it holds. Safe to call twice."""


class SpoolSource:
    """The letters of a spool. The journal lies in it, and so does all that becomes of them.

    Args:
        path: of the spool's file, which must exist.
    """

    config = None

    def __init__(self, path: Path) -> None:
        self.name = f"spool {path}"
        self.journal: Path | None = path
        self._store: Store | None = None

    @property
    def unreadable(self) -> int:
        """How many entries are damaged. Reads all of them."""
        return len(self._opened.quarantined())

    def open(self) -> None:
        """Open the file."""
        assert self.journal is not None  # noqa: S101 - set above
        self._store = Store(self.journal)

    def read(self, *, open_only: bool = True) -> Iterator[StoredLetter]:
        """Yield the letters that are there now, page by page."""
        positions = self._opened.in_order(open_only=open_only)
        for start in range(0, len(positions), _PAGE):
            yield from self._opened.read_at(positions[start : start + _PAGE])

    def find(self, ids: Collection[str]) -> dict[str, DeadLetter]:
        """Return those letters of *ids* that are here."""
        found = [self._opened.find(letter_id) for letter_id in ids]
        return {stored.letter.id: stored.letter for stored in found if stored is not None}

    def failed(self, letters: Sequence[DeadLetter]) -> list[Record]:
        """Count one more failed replay of *letters*."""
        self._opened.count_failed_replay([letter.id for letter in letters])
        return []

    def resolved(self, _resolutions: Sequence[Resolution]) -> list[Record]:
        """Do nothing: the journal has written it into this very file."""
        return []

    def close(self) -> None:
        """Close the file."""
        if self._store is not None:
            self._store.close()

    @property
    def _opened(self) -> Store:
        assert self._store is not None  # noqa: S101 - a replay opens its source first
        return self._store
