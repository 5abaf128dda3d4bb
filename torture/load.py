"""The events that episodes publish, out of their descriptions in a plan."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Any

from eventpub import Event, EventRegistry, Record

SOURCE = "/torture"
SECRET = "canary"
"""Every payload holds it, and no message may."""

_TWO_HOURS = 2 * 60 * 60 * 1000


class Filed(Event, type="torture.filed", registry=EventRegistry()):
    """An event whose envelope travels in headers."""

    text: str
    weight: float = 1.0


class Enclosed(Event, type="torture.enclosed", envelope="structured", registry=EventRegistry()):
    """An event whose envelope travels in its value."""

    text: str
    weight: float = 1.0


class Mint:
    """Makes events that no other episode has."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._numbers = itertools.count()

    def make(self, described: Mapping[str, Any]) -> tuple[Event | Record, dict[str, Any]]:
        """Return an event and the options to publish it with."""
        number = next(self._numbers)
        text = f"{SECRET} {self._seed}-{number} ".ljust(described["size"], ".")
        flaw = described.get("flaw")
        # Two hours ahead, brokers refuse it (one hour is the limit); NaN has no JSON form.
        timestamp = int(time.time() * 1000) + _TWO_HOURS if flaw == "late" else None
        if described["kind"] == "record":
            record = Record(
                described["topic"],
                text.encode(),
                described["key"].encode() if "key" in described else None,
                [("ce_id", f"{self._seed}-{number}".encode()), ("empty", b""), ("none", None)],
                described.get("partition"),
                timestamp,
            )
            return record, {}
        kind = Filed if described["kind"] == "event" else Enclosed
        event = kind(text=text, weight=float("nan") if flaw == "nan" else 1.0)
        options = {name: described[name] for name in ("topic", "key", "partition") if name in described}
        return event, options | ({"timestamp": timestamp} if timestamp is not None else {})
