"""Brokers for tests, with faults on demand and nothing to install; a ledger of what was promised, and its checker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpub.testing.checker import check_ledger
from eventpub.testing.embedded import EmbeddedKafka
from eventpub.testing.ledger import Ledger, Word
from eventpub.testing.recorder import Recorder
from eventpub.testing.verdict import Verdict
from eventpub.testing.violation import Invariant, Violation

if TYPE_CHECKING:
    from eventpub.transports.memory import MemoryBroker

__all__ = [
    "EmbeddedKafka",
    "Invariant",
    "Ledger",
    "MemoryBroker",
    "Recorder",
    "Verdict",
    "Violation",
    "Word",
    "check_ledger",
]


def __getattr__(name: str) -> object:
    """Import `MemoryBroker` when it is asked for: whoever tests on another broker need not load it."""
    if name == "MemoryBroker":
        from eventpub.transports.memory import MemoryBroker

        return MemoryBroker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
