"""The outcomes of several publishes, one entry per event, in the order of the call."""

from __future__ import annotations

from eventpub.delivery import Delivery
from eventpub.exceptions import PublishError

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
