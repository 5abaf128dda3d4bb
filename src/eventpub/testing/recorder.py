"""A publisher's calls, each with its intent and its outcome in a ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, cast

from anyio import current_effective_deadline

from eventpub._engine.drain import DrainReport
from eventpub._engine.pending import PendingDelivery
from eventpub._engine.reports import DeliveryReports
from eventpub.budget import ENCLOSING_DEADLINE
from eventpub.delivery import Delivery
from eventpub.event import Event
from eventpub.exceptions import EventPubError, PublishError
from eventpub.profile import CRITICAL, DeliveryProfile, Seconds, as_seconds
from eventpub.publisher import Publisher
from eventpub.record import Record, new_record
from eventpub.testing.ledger import Closed, Intent, Ledger, Room, Word

_BEFORE_CANCELLATION = 0.1  # what a publish leaves of an enclosing cancel scope


class _Plan(NamedTuple):
    """What is about to be published, as the ledger wants it."""

    record: Record
    event_id: str | None
    profile: DeliveryProfile
    budget: float | None
    keeping: float | None
    has_form: bool

    def within(self, seconds: float | None) -> _Plan:
        """Return it as part of a call that takes *seconds*, because it waits for others too."""
        return self._replace(budget=seconds, keeping=None if self.keeping is None else seconds)


class Recorder:
    """Publishes through *publisher* and writes down, before and after each call, what was meant and what was said.

    Its methods take what `Publisher`'s take. Give the publisher the ledger as a hook too
    (``hooks=[ledger]``): what a cancelled call came to is heard there only.
    """

    def __init__(self, publisher: Publisher, ledger: Ledger) -> None:
        self.publisher = publisher
        self.ledger = ledger
        self._highest = (0, 0)

    async def publish(self, event: Event | Record, **options: Any) -> Delivery:
        """Publish *event* as `Publisher.publish` does."""
        _keep_headers(options)
        intent = self._intend(self._plan(event, options, scoped=True))
        try:
            delivery = await self.publisher.publish(event, **options)
        except BaseException as error:
            self.ledger.settle(intent, error)
            raise
        self.ledger.settle(intent, delivery)
        return delivery

    def publish_nowait(self, event: Event | Record, **options: Any) -> PendingDelivery:
        """Publish *event* as `Publisher.publish_nowait` does; the handle's outcome is the call's."""
        _keep_headers(options)
        intent = self._intend(self._plan(event, options, scoped=False))
        try:
            pending = self.publisher.publish_nowait(event, **options)
        except EventPubError as error:
            self.ledger.settle(intent, error)
            raise
        pending.add_done_callback(lambda handle: self._settle_pending(intent, handle))
        return pending

    def _settle_pending(self, intent: Intent, handle: PendingDelivery) -> None:
        waiting = handle.__await__()  # done, so it ends in its first step
        try:
            waiting.send(None)
        except StopIteration as done:
            self.ledger.settle(intent, cast("Delivery", done.value))
        except (PublishError, asyncio.CancelledError) as error:
            self.ledger.settle(intent, error)

    async def publish_many(self, events: Iterable[Event | Record], **options: Any) -> DeliveryReports:
        """Publish *events* as `Publisher.publish_many` does; each may take as long as the longest of them."""
        _keep_headers(options)
        events = list(events)
        plans = [self._plan(event, options, scoped=True) for event in events]
        longest = max(
            (time for plan in plans for time in (plan.budget, plan.keeping) if time is not None), default=None
        )
        intents = [self._intend(plan.within(longest)) for plan in plans]
        try:
            reports = await self.publisher.publish_many(events, **options)
        except BaseException:
            for intent in intents:  # what was not written is withdrawn; of the rest, hooks tell
                self.ledger.say(intent, Word.CANCELLED)
            raise
        for intent, report in zip(intents, reports, strict=True):
            self.ledger.settle(intent, report)
        return reports

    async def aclose(self, timeout: Seconds = 30.0) -> DrainReport:
        """Close the publisher, and write down what it reports."""
        ledger = self.ledger
        began = ledger.now()
        report = await self.publisher.aclose(timeout)
        ledger.add(
            Closed(
                at=ledger.now(),
                timeout=as_seconds("timeout", timeout, zero=True),
                elapsed=ledger.now() - began,
                confirmed=report.confirmed,
                failed=_words(report.failed),
                unconfirmed=_words(report.unconfirmed),
                held=self.publisher.statistics().unconfirmed,
            )
        )
        return report

    def measure(self) -> None:
        """Write down how much the buffer holds, if that is more than ever before. Call it as often as you like."""
        statistics, limits = self.publisher.statistics(), self.publisher._buffer  # noqa: SLF001 - told by nobody else
        records, size = statistics.unconfirmed, statistics.unconfirmed_bytes
        if records > self._highest[0] or size > self._highest[1]:
            self._highest = max(records, self._highest[0]), max(size, self._highest[1])
            self.ledger.add(Room(self.ledger.now(), records, size, limits.max_records, limits.max_bytes))

    def _intend(self, plan: _Plan) -> Intent:
        profile = plan.profile
        return self.ledger.intend(
            plan.record,
            event_id=plan.event_id,
            budget=plan.budget,
            acks=profile.acks,
            idempotent=profile.idempotence,
            may_repeat=profile.allow_duplicates,
            keeping=plan.keeping,
            has_form=plan.has_form,
        )

    def _plan(self, event: Event | Record, options: dict[str, Any], *, scoped: bool) -> _Plan:
        # What the publisher's own encoder makes of it, because that is what has to lie in the
        # log; the budget is worked out here once more, because it is what the call is held to.
        now = asyncio.get_running_loop().time()
        intake = self.publisher._intake  # noqa: SLF001 - shows the bytes before they are sent
        try:
            entry = intake.entry(event, dict(options), now, scoped=False)  # type: ignore[arg-type]  # the caller's
        except EventPubError as error:
            event_id = event.envelope.id if isinstance(event, Event) else None
            topic = getattr(error, "topic", None) or options.get("topic") or getattr(event, "topic", None)
            nothing = new_record((str(topic or "unknown"), None, None, (), None, None))
            return _Plan(nothing, event_id, CRITICAL, None, None, has_form=False)
        profile, limit = entry.profile, _limit(now, scoped=scoped)
        budget = min(limit, _budget(profile, options))
        keeps = profile.dead_lettered and self.publisher._dead_letters is not None  # noqa: SLF001 - told by nobody else
        keeping = min(limit, budget + profile.dead_letter_timeout) if keeps else None
        return _Plan(entry.record, entry.event_id, profile, budget, keeping, has_form=True)


def _budget(profile: DeliveryProfile, options: dict[str, Any]) -> float:
    timeout = options.get("timeout")
    own = profile.delivery_timeout
    return own if timeout is None else min(own, as_seconds("timeout", timeout))


def _limit(now: float, *, scoped: bool) -> float:
    """Return the seconds after which the caller must have been told, whatever the profile says."""
    enclosing = ENCLOSING_DEADLINE.get()
    limit = float("inf") if enclosing is None else enclosing - now
    return min(limit, current_effective_deadline() - _BEFORE_CANCELLATION - now) if scoped else limit


def _keep_headers(options: dict[str, Any]) -> None:
    if isinstance(headers := options.get("headers"), Iterator):  # they are read twice
        options["headers"] = tuple(headers)


def _words(errors: Iterable[PublishError]) -> tuple[tuple[str | None, str], ...]:
    return tuple((error.event_id, error.status.value) for error in errors)
