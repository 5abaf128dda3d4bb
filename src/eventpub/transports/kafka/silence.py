"""Notices brokers that keep somebody waiting, and asks whether others lead by now.

A frozen broker takes connections and requests, and answers none: nothing fails, so nothing
would make anybody look for the new leader before a timeout has passed. Meanwhile metadata
knows it, seconds earlier.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

from eventpub.abc import TopicPartition
from eventpub.transports.kafka.pool import Pool

_SILENT_AFTER = 1.0  # seconds; a second is also how long a question waits for a broker
_LOOK_EVERY = 0.5


class Asking(Protocol):
    """What this needs of `metadata.Metadata`."""

    def refresh(self, topics: Iterable[str], /) -> None:
        """Ask for *topics* soon."""


class SilenceWatch:
    """Looks at the connections twice a second while any is waited for. One timer, none while all is quiet."""

    def __init__(self, pool: Pool, leaders: Mapping[TopicPartition, int], metadata: Asking) -> None:
        self._pool = pool
        self._leaders = leaders
        self._metadata = metadata
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def begin(self) -> None:
        """Look from now on: somebody waits for a broker."""
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(_LOOK_EVERY, self._look)

    @property
    def looking(self) -> bool:
        """Whether somebody is, or was just now, waited for."""
        return self._timer is not None

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        now, awaited, silent = self._loop.time(), False, set[int]()
        for node, outbox in self._pool.outboxes():
            since = outbox.line.awaited_since
            if since is None:
                continue
            awaited = True
            if now - since >= _SILENT_AFTER:
                silent.add(node)
                outbox.leave(self._led_by_others(node))
        if silent:
            self._metadata.refresh({partition.topic for partition, node in self._leaders.items() if node in silent})
        if awaited:
            self.begin()

    def _led_by_others(self, node: int) -> set[TopicPartition]:
        return {partition for partition, leader in self._leaders.items() if leader != node}
