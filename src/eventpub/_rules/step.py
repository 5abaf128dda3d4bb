"""What a partition says has to happen next."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from eventpub.profile import DeliveryProfile


class Wait(NamedTuple):
    """Nothing to send before *until* (linger or back-off)."""

    until: float


class Send(NamedTuple):
    """A batch of *profile* is to be sent as soon as it could be written."""

    profile: DeliveryProfile
