"""Brokers for tests, with faults on demand; assertions about what was published; a ledger of promises, and its checker.

pytest finds the fixtures ``memory_broker``, ``memory_publisher`` and ``embedded_kafka`` by itself
(docs/guides/testing.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventpub.testing.assertion import assert_published
from eventpub.testing.checker import check_ledger
from eventpub.testing.embedded import EmbeddedKafka
from eventpub.testing.ledger import Ledger, Word
from eventpub.testing.published import published
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
    "assert_published",
    "check_ledger",
    "published",
]


def __getattr__(name: str) -> object:
    """Import `MemoryBroker` when it is asked for: whoever tests on another broker need not load it."""
    if name == "MemoryBroker":
        from eventpub.transports.memory import MemoryBroker

        return MemoryBroker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
