"""How much may be unconfirmed at once."""

from __future__ import annotations

from dataclasses import dataclass

from eventpub.exceptions import ConfigurationError, Finding


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """Bounds on unconfirmed events of one publisher; beyond them ``publish`` waits for room.

    Args:
        max_records: events at once (default 20,000).
        max_bytes: bytes of their keys, values and headers (default 32 MiB, Kafka's ``buffer.memory``).
            One event larger than that is let through when nothing else is unconfirmed.

    Raises:
        ConfigurationError: a limit below 1.
    """

    max_records: int = 20_000
    max_bytes: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        findings = [
            Finding(f"buffer.{name}", f"{value!r} lets nothing through", "give a whole number of at least 1")
            for name, value in (("max_records", self.max_records), ("max_bytes", self.max_bytes))
            if type(value) is not int or value < 1
        ]
        if findings:
            raise ConfigurationError(findings)
