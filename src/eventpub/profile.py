"""Delivery profiles: how much it matters that an event arrives, said once per event type."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, get_args

from eventpub.abc import Acks, Compression
from eventpub.exceptions import ConfigurationError, Finding

Seconds = float | timedelta
_Checks = Iterator[tuple[bool, str, str, str]]

MAX_REQUEST_BYTES = 8 * 1024 * 1024
DEFAULT_BATCH_SIZE = 1024 * 1024
_BATCH_OVERHEAD = 61  # header of a record batch, magic 2

DEFAULT_DELIVERY_TIMEOUT = 30.0
LONGEST_DEFAULT_REQUEST = 10.0
DEFAULT_DEAD_LETTER_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again, in tenacity's own objects: ``RetryPolicy(stop=stop_after_attempt(3))``.

    Consulted per batch, only after a failed attempt, and only where another attempt is
    safe; the profile's budget ends it in any case. A predicate sees the `PublishError`
    the batch would end with. Times come from the event loop's clock.

    Args:
        wait: seconds to pause before the next attempt; default: exponential with jitter, 100 ms to 1 s.
        stop: when to give up; default: never before the budget ends.
        retry: whether this failure deserves another attempt; default: it does.
    """

    wait: Callable[[Any], float] | None = None
    stop: Callable[[Any], bool] | None = None
    retry: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        findings = [
            Finding(f"retry.{f.name}", "is not callable", f"give one of tenacity's {f.name}_* objects, or None")
            for f in fields(self)
            if getattr(self, f.name) is not None and not callable(getattr(self, f.name))
        ]
        if findings:
            raise ConfigurationError(findings)


@dataclass(frozen=True, slots=True, init=False)
class DeliveryProfile:
    """How one kind of event is delivered. Start from `CRITICAL`, `STANDARD` or `TELEMETRY`.

    Durations are seconds or ``timedelta`` (kept as seconds), sizes are bytes. Time limits
    that are not given adapt to those that are; safety settings never adapt: a contradiction
    is refused with its reason.

    Args:
        name: what statistics, spans and messages call it.
        acks: ``"all"`` in-sync replicas, ``1`` the leader only, ``0`` nobody.
        idempotence: whether the broker drops a resend of what it already has. Needs ``acks="all"``.
        delivery_timeout: the whole budget from the call of ``publish`` to its outcome (30 s).
        request_timeout: limit of one Produce request; default ``min(10 s, delivery_timeout)``. While it is
            not given, an idempotent batch waits for one answer at most a third of its time (but a second).
        linger: how long an idle partition waits for more records before it cuts a batch (0).
        batch_size: largest batch, uncompressed. One record larger than that travels alone.
        compression: none, gzip, snappy, lz4 or zstd. The last three need the extra ``compression``.
        retry: when to try again.
        dead_letter: whether an event that was not delivered is kept, where the publisher has ``dead_letters``;
            ``True`` demands that it has. Default: it is, save with ``acks=0``, where nobody says what failed.
        dead_letter_timeout: how long keeping it may take, after the budget has ended (5 s).
        allow_duplicates: try again although the broker may have appended an earlier attempt
            and cannot recognise the resend. Only without idempotence.

    Raises:
        ConfigurationError: all contradictions at once, each with the setting, the reason and the fix.
    """

    name: str
    acks: Acks
    idempotence: bool
    delivery_timeout: float
    request_timeout: float
    linger: float
    batch_size: int
    compression: Compression
    retry: RetryPolicy
    dead_letter: bool | None
    dead_letter_timeout: float
    allow_duplicates: bool
    _given: dict[str, Any] = field(repr=False, compare=False)

    def __init__(
        self,
        name: str,
        *,
        acks: Acks = "all",
        idempotence: bool = True,
        delivery_timeout: Seconds | None = None,
        request_timeout: Seconds | None = None,
        linger: Seconds = 0.0,
        batch_size: int = DEFAULT_BATCH_SIZE,
        compression: Compression = "none",
        retry: RetryPolicy = RetryPolicy(),
        dead_letter: bool | None = None,
        dead_letter_timeout: Seconds | None = None,
        allow_duplicates: bool = False,
    ) -> None:
        given = {setting: value for setting, value in locals().items() if setting != "self"}
        for setting, value in given.items():
            self._set(setting, value)
        self._set("_given", given)
        findings = self._adopt_durations()
        if not findings:
            self._adapt_time_limits()
            findings += _found(self._time_contradictions())
        findings += _found(self._contradictions())
        if findings:
            raise ConfigurationError(findings)

    def replace(self, **changes: Any) -> DeliveryProfile:
        """Return a profile with *changes*; time limits not given here or before adapt to them.

        Raises:
            ConfigurationError: an unknown setting, or a contradiction with what stays.
        """
        unknown = [name for name in changes if name not in self._given]
        if unknown:
            known = ", ".join(self._given)
            raise ConfigurationError(Finding(name, "is no setting of a profile", f"use {known}") for name in unknown)
        return DeliveryProfile(**{**self._given, **changes})

    @property
    def dead_lettered(self) -> bool:
        """Whether events that were not delivered are kept, where the publisher has dead letters."""
        return self.dead_letter is not False and self.acks != 0

    @property
    def resends_early(self) -> bool:
        """Whether a batch may be sent again before ``request_timeout``: idempotent, and nobody set that limit."""
        return self.idempotence and self._given["request_timeout"] is None

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _adopt_durations(self) -> list[Finding]:
        """Turn durations into seconds."""
        findings: list[Finding] = []
        for name in ("delivery_timeout", "request_timeout", "linger", "dead_letter_timeout"):
            value = self._given[name]
            if value is None:
                continue
            try:
                self._set(name, as_seconds(name, value, zero=name == "linger"))
            except ConfigurationError as error:
                findings.extend(error.findings)
        return findings

    def _adapt_time_limits(self) -> None:
        """Fill in the limits that were not given."""
        if self._given["delivery_timeout"] is None:
            longest = (self.request_timeout or LONGEST_DEFAULT_REQUEST) + self.linger
            self._set("delivery_timeout", max(DEFAULT_DELIVERY_TIMEOUT, longest))
        if self._given["dead_letter_timeout"] is None:
            self._set("dead_letter_timeout", DEFAULT_DEAD_LETTER_TIMEOUT)
        if self._given["request_timeout"] is None:
            self._set("request_timeout", min(LONGEST_DEFAULT_REQUEST, self.delivery_timeout))

    def _time_contradictions(self) -> _Checks:
        delivery, request, linger = self.delivery_timeout, self.request_timeout, self.linger
        yield (
            request > delivery,
            "request_timeout",
            f"{request:g} s is longer than delivery_timeout {delivery:g} s, which ends first",
            "leave it out to adapt, lower it, or raise delivery_timeout",
        )
        yield (
            linger >= delivery,
            "linger",
            f"{linger:g} s leaves nothing of delivery_timeout {delivery:g} s for sending",
            "lower it, or raise delivery_timeout",
        )

    def _contradictions(self) -> _Checks:
        yield (
            not (isinstance(self.name, str) and self.name),
            "name",
            "is empty or no str",
            "give the profile a name for statistics and messages",
        )
        yield (
            type(self.acks) not in {int, str} or self.acks not in get_args(Acks),
            "acks",
            f"{self.acks!r} is not known to Kafka",
            'use "all", 1 or 0',
        )
        yield (
            not isinstance(self.idempotence, bool),
            "idempotence",
            f"{self.idempotence!r} is neither True nor False",
            "give one of them",
        )
        yield (
            self.idempotence is True and self.acks in (0, 1),
            "acks",
            f"acks={self.acks!r} contradicts idempotence=True, which needs every in-sync replica (KIP-98)",
            'use acks="all", or add idempotence=False, or start from STANDARD',
        )
        yield (
            not isinstance(self.allow_duplicates, bool),
            "allow_duplicates",
            f"{self.allow_duplicates!r} is neither True nor False",
            "give one of them",
        )
        yield (
            self.allow_duplicates is True and self.idempotence is True,
            "allow_duplicates",
            "never acts with idempotence=True, where the broker drops a resend",
            "leave it out, or add idempotence=False",
        )
        yield (
            self.allow_duplicates is True and self.acks == 0,
            "allow_duplicates",
            "never acts with acks=0, where no answer comes that a retry could follow",
            "leave it out, or use acks=1",
        )
        yield (
            self.dead_letter not in (None, True, False),
            "dead_letter",
            f"{self.dead_letter!r} is neither True nor False",
            "give one of them, or leave it out",
        )
        yield (
            self.dead_letter is True and self.acks == 0,
            "dead_letter",
            "never acts with acks=0, where nobody says what was not written",
            "leave it out, or use acks=1",
        )
        yield (
            self._given["dead_letter_timeout"] is not None and not self.dead_lettered,
            "dead_letter_timeout",
            "never acts where no dead letters are written",
            "leave it out, or keep dead letters (dead_letter=True, acks=1 or all)",
        )
        yield (
            type(self.batch_size) is not int or not _BATCH_OVERHEAD < self.batch_size <= MAX_REQUEST_BYTES,
            "batch_size",
            f"{self.batch_size!r} is not between {_BATCH_OVERHEAD + 1} and {MAX_REQUEST_BYTES}, the largest request",
            "give a whole number of bytes in that range",
        )
        yield (
            self.compression not in get_args(Compression),
            "compression",
            f"{self.compression!r} is not known to Kafka",
            f"use one of {', '.join(get_args(Compression))}",
        )
        yield (
            not isinstance(self.retry, RetryPolicy),
            "retry",
            f"got {type(self.retry).__name__}",
            "give a RetryPolicy(wait=, stop=, retry=)",
        )


def _found(checks: _Checks) -> list[Finding]:
    return [Finding(setting, reason, fix) for broken, setting, reason, fix in checks if broken]


def as_seconds(setting: str, value: Seconds, *, zero: bool = False) -> float:
    """Return *value* in seconds; *zero* says whether 0 is allowed.

    Raises:
        ConfigurationError: not a number or ``timedelta``, not finite, negative, or 0 where that is not allowed.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError.of(setting, f"got {type(value).__name__}", "give seconds or a timedelta")
    try:
        seconds = float(value)
    except OverflowError:  # an int beyond every float
        seconds = math.inf
    if not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not zero):
        limit = "0 or more" if zero else "more than 0"
        raise ConfigurationError.of(setting, f"{seconds!r} s is no usable duration", f"give {limit}, finite")
    return seconds


CRITICAL = DeliveryProfile("critical")
"""Must not be lost or doubled: all in-sync replicas, idempotent, 30 s budget, at most 10 s a request."""

STANDARD = DeliveryProfile("standard", acks=1, idempotence=False)
"""May be lost when a leader dies right after its answer."""

TELEMETRY = DeliveryProfile("telemetry", acks=0, idempotence=False)
"""May be lost silently; nobody answers."""
