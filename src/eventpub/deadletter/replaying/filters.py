"""Which letters an operator means: by topic, type, reason, status, age, key or id.

Decides whether one letter is among them. Whether it may be replayed is decided in ``plan``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from eventpub.delivery import PersistenceStatus
from eventpub.exceptions import ConfigurationError, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventpub.deadletter.spooling.store import StoredLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """A letter passes if it passes every filter that is set; an empty collection is none.

    Args:
        topics: the topics that events were meant for.
        types: CloudEvents types.
        reasons: why they were not delivered, such as ``"budget"`` or ``"rejected"``.
        statuses: whether the event is in the log, as far as is known by now (`StoredLetter.status`).
        keys: record keys, byte for byte.
        ids: of the letters themselves. One that is named so is replayed however often that has failed.
        older_than: seconds at least since it was given up.
        newer_than: seconds at most since then.

    Raises:
        ConfigurationError: a filter of the wrong kind, or one that no letter could pass.
    """

    topics: Collection[str] = ()
    types: Collection[str] = ()
    reasons: Collection[str] = ()
    statuses: Collection[PersistenceStatus] = ()
    keys: Collection[bytes] = ()
    ids: Collection[str] = ()
    older_than: float | None = None
    newer_than: float | None = None

    def __post_init__(self) -> None:
        if findings := [*self._faults()]:
            raise ConfigurationError(findings)

    def _faults(self) -> Iterator[Finding]:
        for name in ("topics", "types", "reasons", "statuses", "keys", "ids"):
            if isinstance(getattr(self, name), (str, bytes)):  # each character would be one
                yield Finding(f"filters.{name}", "is a single text", "give a list of them")
        if not all(isinstance(status, PersistenceStatus) for status in self.statuses):
            yield Finding("filters.statuses", "holds something else", "use members of PersistenceStatus")
        if self.older_than is not None and self.newer_than is not None and self.older_than > self.newer_than:
            yield Finding("filters.older_than", "is more than newer_than, which no letter passes", "swap the two")

    def match(self, stored: StoredLetter, now: float) -> bool:
        """Whether *stored* is meant at *now* (seconds since the epoch)."""
        letter = stored.letter
        age = now - letter.failed_at
        return (
            _among(letter.record.topic, self.topics)
            and _among(letter.event_type, self.types)
            and _among(letter.reason, self.reasons)
            and _among(stored.status, self.statuses)
            and _among(letter.record.key, self.keys)
            and _among(letter.id, self.ids)
            and (self.older_than is None or age >= self.older_than)
            and (self.newer_than is None or age <= self.newer_than)
        )

    def __repr__(self) -> str:
        # Keys may be personal data: their number is shown.
        shown = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in ((), None)}
        if self.keys:
            shown["keys"] = f"<{len(self.keys)}>"
        return f"Filters({', '.join(f'{name}={value}' for name, value in shown.items())})"


def _among(value: object, wanted: Collection[object]) -> bool:
    return not wanted or value in wanted
