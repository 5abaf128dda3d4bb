"""The outcomes of several publishes, one entry per event, in the order of the call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventpub.delivery import Delivery
from eventpub.exceptions import PublishError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventpub._rules.entry import Entry

Report = Delivery | PublishError


class DeliveryReports(tuple[Report, ...]):
    """What ``publish_many`` returns: a `Delivery` or a `PublishError` for each event, in order."""

    __slots__ = ()

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """Those that were acknowledged."""
        return tuple(report for report in self if isinstance(report, Delivery))

    @property
    def failures(self) -> tuple[PublishError, ...]:
        """Those that were not."""
        return tuple(report for report in self if isinstance(report, PublishError))

    def raise_for_failures(self) -> None:
        """Raise if any event was not acknowledged.

        Raises:
            ExceptionGroup: of every `PublishError`, in order.
        """
        if failures := self.failures:
            message = f"{len(failures)} of {len(self)} events were not confirmed"
            raise ExceptionGroup(message, failures)

    def __repr__(self) -> str:
        return f"<DeliveryReports {len(self.deliveries)} confirmed, {len(self.failures)} failed>"


class Group:
    """Counts down the open entries of one ``publish_many``; its caller is woken once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._open = 1  # the call itself, until `wait`
        self._all_ended = loop.create_future()

    def add(self, entry: Entry) -> None:
        """Wait for *entry* too."""
        self._open += 1
        entry.waiter = self.note

    def note(self, _outcome: object = None) -> None:
        """One of them has ended."""
        self._open -= 1
        if not self._open and not self._all_ended.done():
            self._all_ended.set_result(None)

    async def wait(self) -> None:
        """Return when every entry added has ended."""
        self.note()
        await self._all_ended


def reports_of(entries: Iterable[Entry | PublishError]) -> DeliveryReports:
    """Return the outcomes of *entries*, all ended; those refused before they became entries as they are."""
    return DeliveryReports(entry if isinstance(entry, PublishError) else entry.outcome for entry in entries)
