"""The largest batch that a topic takes, as far as its refusals have shown."""

from __future__ import annotations


class SizeLimit:
    """What a topic was seen to refuse, shared by its partitions: later cuts stay below."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 1 << 62

    def refused(self, size: int) -> None:
        """Remember that a batch of *size* bytes was too large."""
        self.bytes = min(self.bytes, size - 1)
